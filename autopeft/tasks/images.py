"""Images as data: in folders of classes, in Parquet, or as paths in a table."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autopeft.errors import DataError
from autopeft.records import digest
from autopeft.tasks.splits import PartName, part_named
from autopeft.tasks.table import Image, Table, present

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
IMAGE, LABEL, SPLIT = "image", "label", "split"
_LONGEST = 200
_LAYOUT = (
    "make one folder a class with its images inside, or such folders inside of train, validation "
    "and test"
)


def read_folder(path: str) -> Table:
    """Read a folder of images: a sub-folder a class, or such folders inside of the parts.

    The parts are there if every sub-folder is called after one, and train is among them. Files
    without an image's ending and hidden ones are passed over; folders inside of a class belong
    to it.

    Raises:
        DataError: There is no such folder, or no class in it has an image.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {path}: check the path")
    parts = {folder: part_named(folder.name) for folder in _folders(root)}
    found: list[tuple[Path, str, PartName | None]] = []
    if parts and all(parts.values()) and "train" in parts.values():
        for folder, part in parts.items():
            found += [(file, name, part) for file, name in _labelled(folder)]
    else:
        found = [(file, name, None) for file, name in _labelled(root)]
    if not found:
        raise DataError(f"{path} holds no images in folders named after their class: {_LAYOUT}")
    columns: dict[str, tuple[str, ...]] = {LABEL: tuple(name for _, name, _ in found)}
    given = tuple(part for *_, part in found if part is not None)
    if given:
        columns[SPLIT] = given
    return Table(
        path=path,
        columns=columns,
        nested=(IMAGE,),
        images={IMAGE: tuple(Image(name=str(file)) for file, *_ in found)},
        digest=digest([str(file.relative_to(root)) for file, *_ in found]),
    )


def holds_images(path: str) -> bool:
    """Tell whether a path is a folder with an image somewhere inside a sub-folder."""
    root = Path(path).expanduser()
    return root.is_dir() and any(_images(folder) for folder in _folders(root))


def images_of(table: Table, column: str) -> tuple[Image, ...]:
    """Return the images of a column; text in it is a path, seen from the table's own folder.

    Raises:
        DataError: There is no such column, it holds something else, or a row has no image.
    """
    table.check(column)
    if column in table.images:
        return present(table.images[column], table.path, column)
    folder = Path(table.path).expanduser().parent
    return tuple(Image(name=str(folder / cell)) for cell in table.filled(column))


def shows_images(table: Table, column: str) -> bool:
    """Tell whether a column holds images, or nothing but paths that end as those of images do."""
    if column in table.images:
        return True
    paths = [cell for cell in table.columns.get(column, ()) if cell is not None]
    return bool(paths) and all(Path(path).suffix.lower() in SUFFIXES for path in paths)


def digests_of(images: Sequence[Image]) -> tuple[str, ...]:
    """Return the SHA-256 of every image's bytes: equal bytes are the same image."""
    return tuple(hashlib.sha256(image.read()).hexdigest() for image in images)


def check_images(images: Sequence[Image]) -> None:
    """Decode every image once, so that a broken one is told before anything is trained.

    Raises:
        DataError: An image cannot be decoded, or is a strip that is far too long.
    """
    for image in images:
        decoded(image, shrink=True)


def decoded(image: Image, *, shrink: bool = False) -> Any:
    """Return an image in RGB, upright, as Pillow holds it; what is transparent becomes white.

    With ``shrink`` a JPEG may come smaller, which is enough to find out whether it is whole.

    Raises:
        DataError: The bytes are no image, or it is cut off, or a strip that is far too long.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(io.BytesIO(image.read())) as opened:
            _check_shape(image, *opened.size)
            if shrink:
                opened.draft("RGB", (32, 32))
            upright = PIL.ImageOps.exif_transpose(opened)
            return _in_colour(upright)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot read the image {image.name}: {_reason(error)}; repair or remove it"
        ) from None


def _check_shape(image: Image, wide: int, high: int) -> None:
    """Refuse a strip: a processor that fixes its short side would fill all memory with it."""
    if max(wide, high) > _LONGEST * min(wide, high):
        raise DataError(
            f"the image {image.name} has {wide:,} by {high:,} pixels, and one side may be at most "
            f"{_LONGEST} times the other: crop or remove it"
        )


def _in_colour(image: Any) -> Any:
    import PIL.Image

    if image.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel: Pillow would cut, not scale
        image = _to_eight_bits(image)
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "La", "RGBa"}:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_eight_bits(image: Any) -> Any:
    import numpy as np
    import PIL.Image

    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are no finite numbers")
    # 16 bits are scaled by what they can hold; of larger types nobody says what white is.
    white = 65535.0 if image.mode.startswith("I") and values.max() <= 65535 else values.max()
    scaled = np.clip(values / (white if white > 0 else 1.0), 0, 1) * 255
    return PIL.Image.fromarray(scaled.round().astype(np.uint8), "L")


def is_stored_image(value: Any) -> bool:
    """Tell whether a cell holds an image: bytes, or an object of bytes and a path."""
    if isinstance(value, dict):
        return set(value) == {"bytes", "path"}
    return value is None or isinstance(value, bytes)


def stored_images(path: str, values: Sequence[Any]) -> tuple[Image | None, ...]:
    """Return the images of a column of bytes, or of objects with bytes or else a path."""
    return tuple(_stored(path, row, value) for row, value in enumerate(values, start=1))


def _stored(path: str, row: int, value: Any) -> Image | None:
    content, file = (value["bytes"], value["path"]) if isinstance(value, dict) else (value, None)
    if content:
        named = f" ({file})" if file else ""
        return Image(name=f"in row {row} of {path}{named}", content=content)
    return Image(name=str(Path(path).expanduser().parent / file)) if file else None


def _labelled(root: Path) -> list[tuple[Path, str]]:
    return [(file, folder.name) for folder in _folders(root) for file in _images(folder)]


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _reason(error: Exception) -> str:
    import PIL

    if isinstance(error, PIL.UnidentifiedImageError):
        return "its bytes are no image"
    return str(error) or type(error).__name__
