"""Images as they come: every mode and shape that people have, and what is broken."""

import io
import shutil

import datasets
import numpy as np
import PIL.Image
import pytest

from autopeft.errors import DataError
from autopeft.study import Columns, DataFiles
from autopeft.tasks.files import read_table
from autopeft.tasks.images import decoded, holds_images, images_of, read_folder
from autopeft.tasks.reading import load_parts, read_task
from autopeft.tasks.table import Image, Table
from tests.kinds import picture, write_pictures

RED = (255, 0, 0)


def stored(image, form="PNG", **options):
    """Return an image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return Image(name="a file", content=stream.getvalue())


def corner(image):
    """Return the colour of the first pixel, as it is decoded."""
    found = decoded(image)
    assert found.mode == "RGB"
    return found.getpixel((0, 0))


class TestDecoding:
    @pytest.mark.parametrize(
        ("mode", "colour", "expected"),
        [
            ("RGB", RED, RED),
            ("L", 128, (128, 128, 128)),
            ("1", 1, (255, 255, 255)),
            ("RGBA", (*RED, 255), RED),
            ("RGBA", (*RED, 0), (255, 255, 255)),
            ("LA", (0, 255), (0, 0, 0)),
            ("I;16", 65535, (255, 255, 255)),
            ("I;16", 0, (0, 0, 0)),
        ],
    )
    def test_every_mode_becomes_rgb_on_white(self, mode, colour, expected):
        assert corner(stored(PIL.Image.new(mode, (5, 3), colour))) == expected

    def test_a_palette_and_its_transparent_colour_are_kept(self):
        image = PIL.Image.new("P", (4, 4), 1)
        image.putpalette([0, 0, 0, *RED])

        assert corner(stored(image)) == RED
        assert corner(stored(image, "GIF", transparency=1)) == (255, 255, 255)

    @pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 2)])
    def test_odd_shapes_are_no_error(self, size):
        assert decoded(stored(PIL.Image.new("RGB", size, RED))).size == size

    @pytest.mark.parametrize("size", [(1, 5000), (1001, 5)])
    def test_a_strip_is_refused(self, size):
        with pytest.raises(
            DataError, match=r"pixels, and one side may be at most 200 times the other: crop or"
        ):
            decoded(stored(PIL.Image.new("RGB", size, RED)))

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_pixels_that_are_no_numbers_are_refused(self, wrong):
        """Arithmetic on them ends in some colour, and in a warning that nobody reads."""
        pixels = np.ones((4, 4), dtype=np.float32)
        pixels[1, 2] = wrong

        with pytest.raises(
            DataError, match=r"cannot read the image a file: some of its pixels are no finite num"
        ):
            decoded(stored(PIL.Image.fromarray(pixels), "TIFF"))

    def test_pixels_below_zero_are_black(self):
        pixels = np.full((4, 4), -3, dtype=np.float32)

        assert corner(stored(PIL.Image.fromarray(pixels), "TIFF")) == (0, 0, 0)

    def test_an_image_is_turned_upright(self):
        """Phones store it lying, and say so in its EXIF data."""
        image = PIL.Image.new("RGB", (6, 2), RED)
        exif = image.getexif()
        exif[0x0112] = 6

        assert decoded(stored(image, "JPEG", exif=exif)).size == (2, 6)

    @pytest.mark.parametrize("form", ["PNG", "JPEG"])
    @pytest.mark.parametrize("shrink", [False, True])
    def test_an_image_that_is_cut_off_is_named(self, form, shrink):
        rng = np.random.default_rng(0)
        whole = stored(picture(rng, bright=True, size=(60, 60)), form)
        half = Image(name="cats/7.png", content=whole.content[: len(whole.content) // 2])

        with pytest.raises(DataError, match=r"cannot read the image cats/7\.png: .*; repair or"):
            decoded(half, shrink=shrink)

    def test_bytes_that_are_no_image_are_named(self):
        with pytest.raises(DataError, match=r"image a\.png: its bytes are no image; repair or re"):
            decoded(Image(name="a.png", content=b"hello"))

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"cannot read the image .*gone\.png: No such file"):
            decoded(Image(name=str(tmp_path / "gone.png")))


class TestFolders:
    def test_a_folder_a_class_is_a_table(self, tmp_path):
        write_pictures(tmp_path / "data", 6)
        (tmp_path / "data/bright/notes.txt").write_text("passed over")
        (tmp_path / "data/.hidden").mkdir()

        table = read_folder(str(tmp_path / "data"))

        assert table.columns == {"label": ("bright",) * 3 + ("dark",) * 3}
        assert next(image.name for image in table.images["image"]).endswith("bright/001.png")
        assert table.rows == 6

    def test_folders_inside_of_parts_give_the_split(self, tmp_path):
        for part in ("train", "val", "test"):
            write_pictures(tmp_path / part, 4)

        table = read_folder(str(tmp_path))

        assert table.columns["split"] == ("test",) * 4 + ("train",) * 4 + ("validation",) * 4

    def test_a_class_may_be_called_after_a_part(self, tmp_path):
        """Without a folder for train they are classes."""
        data = write_pictures(tmp_path, 4)
        shutil.move(tmp_path / "dark", tmp_path / "test")

        assert set(read_folder(data.train).columns["label"]) == {"bright", "test"}

    def test_a_folder_without_images_is_refused(self, tmp_path):
        (tmp_path / "cats").mkdir()

        assert not holds_images(str(tmp_path))
        with pytest.raises(DataError, match="holds no images in folders named after their class"):
            read_folder(str(tmp_path))

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"there is no folder .*gone: check the path"):
            read_folder(str(tmp_path / "gone"))


class TestTables:
    def parquet(self, file, rows):
        datasets.Dataset.from_list(rows).to_parquet(str(file))
        return str(file)

    def test_parquet_holds_bytes_or_objects_with_bytes(self, tmp_path):
        content = stored(PIL.Image.new("RGB", (3, 3), RED)).content
        plain = [{"image": content, "label": 1}]
        objects = [{"image": {"bytes": content, "path": "a.png"}, "label": 1}]

        for name, rows in (("plain", plain), ("objects", objects)):
            table = read_table(self.parquet(tmp_path / f"{name}.parquet", rows))
            (image,) = images_of(table, "image")
            assert corner(image) == RED
            assert image.name.startswith(f"in row 1 of {tmp_path}/{name}.parquet")

    def test_text_is_a_path_from_the_tables_own_folder(self, tmp_path):
        PIL.Image.new("RGB", (3, 3), RED).save(tmp_path / "a.png")
        (tmp_path / "data.csv").write_text("file,label\na.png,x\n")

        (image,) = images_of(read_table(str(tmp_path / "data.csv")), "file")

        assert corner(image) == RED

    def test_a_row_without_an_image_is_named(self):
        table = Table(
            path="a.parquet", columns={}, nested=("image",), images={"image": (None,)}, digest=""
        )

        with pytest.raises(DataError, match=r"column 'image' of a\.parquet is empty in row 1"):
            images_of(table, "image")


class TestTask:
    def test_a_folder_of_images_is_known_for_what_it_is(self, tmp_path):
        data = write_pictures(tmp_path / "data", 60)

        task = read_task(data)

        assert (task.kind, task.metric, task.head) == ("image", "accuracy", "mean")
        assert task.columns == Columns(text="image", label="label")
        assert task.labels == ("bright", "dark")
        assert task.examples == (36, 12, 12)

    @pytest.mark.parametrize("cell", ["bytes", "object", "path"])
    def test_a_table_of_images_is_known_for_what_it_is(self, tmp_path, cell):
        write_pictures(tmp_path / "data", 60)
        rows = []
        for file in sorted((tmp_path / "data").rglob("*.png")):
            content, path = file.read_bytes(), str(file.relative_to(tmp_path))
            forms = {"bytes": content, "object": {"bytes": content, "path": path}, "path": path}
            rows.append({"image": forms[cell], "label": file.parent.name})
        table = tmp_path / "data.parquet"
        datasets.Dataset.from_list(rows).to_parquet(str(table))

        task = read_task(DataFiles(train=str(table)))

        assert (task.kind, task.labels) == ("image", ("bright", "dark"))
        assert task.columns == Columns(text="image", label="label")
        assert task.examples == (36, 12, 12)

    def test_a_class_that_stands_for_no_label_is_refused(self, tmp_path):
        data = write_pictures(tmp_path / "data", 40)
        (tmp_path / "data/dark").rename(tmp_path / "data/-100")

        with pytest.raises(DataError, match=r"column 'label' has the label -100 in 20 of 40 rows"):
            read_task(data)

    def test_equal_bytes_never_land_in_two_parts(self, tmp_path):
        data = write_pictures(tmp_path / "data", 40)
        for file in sorted((tmp_path / "data").rglob("*.png")):
            shutil.copy(file, file.with_stem(file.stem + "-copy"))

        parts = load_parts(read_task(data), data, ["train", "validation", "test"])

        contents = [{image.read() for image in part.images} for part in parts.values()]
        assert sum(map(len, contents)) == len(set.union(*contents)) == 40

    def test_a_broken_image_is_refused_when_the_data_is_read(self, tmp_path):
        data = write_pictures(tmp_path / "data", 40)
        (tmp_path / "data/dark/000.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")

        with pytest.raises(DataError, match=r"cannot read the image .*dark/000\.png"):
            read_task(data)

    def test_an_image_that_changed_since_the_study_began_is_noticed(self, tmp_path):
        data = write_pictures(tmp_path / "data", 40)
        task = read_task(data)
        picture(np.random.default_rng(9), bright=False).save(tmp_path / "data/dark/000.png")

        with pytest.raises(DataError, match="the data has changed since the study began"):
            load_parts(task, data, ["train"])

    def test_folders_of_their_own_give_the_parts(self, tmp_path):
        files = DataFiles(
            train=write_pictures(tmp_path / "a", 20).train,
            validation=write_pictures(tmp_path / "b", 6, seed=1).train,
            test=write_pictures(tmp_path / "c", 8, seed=2).train,
        )

        assert read_task(files, kind="image").examples == (20, 6, 8)
