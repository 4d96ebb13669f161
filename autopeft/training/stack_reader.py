"""The sites of one stack of a model, where an architecture says that they are."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from autopeft.architectures.reading import SitePlace, StackPlace
from autopeft.backbone import NormPlace, Site, Stack
from autopeft.errors import BackboneError
from autopeft.training.widths import Widths, widths_of


class StackReader:
    """Reads the sites of one stack; ``first`` is its first row, ``where`` names the model."""

    def __init__(self, model: Any, place: StackPlace, first: int, where: str) -> None:
        self._model = model
        self._place = place
        self._first = first
        self._where = where
        self._config = getattr(model.config, place.config) if place.config else model.config
        self._blocks = len(self._list_of_blocks())
        self._heads = self._config_value(place.heads)
        found = [site for p in place.places if (site := self._site(p)) is not None]
        self._by_place = {site.place: site for site in found}
        self.sites = (*map(self._with_keys_and_values, found), *self._composites())

    def stack(self) -> Stack:
        """Return the stack as a value."""
        return Stack(
            name=self._place.name,
            first=self._first,
            blocks=self._blocks,
            width=self._width(),
            heads=self._heads,
            norm=self._norm(),
        )

    def _list_of_blocks(self) -> Any:
        try:
            return self._model.get_submodule(self._place.blocks)
        except AttributeError:
            raise BackboneError(
                f"the model {self._where} has no blocks at {self._place.blocks!r}, where its "
                "architecture expects them"
            ) from None

    def _config_value(self, setting: str) -> int:
        if isinstance(value := getattr(self._config, setting, None), int):
            return value
        raise BackboneError(f"the config.json of {self._where} does not say {setting}")

    def _norm(self) -> NormPlace:
        norm = self._place.norm
        if not self._place.norm_if or getattr(self._config, self._place.norm_if):
            return norm
        return "post" if norm == "pre" else "pre"

    def _width(self) -> int:
        """What a block adds to the stream of activations is as wide as the stream."""
        return self._by_place["attention.output"].outputs

    def _site(self, place: SitePlace) -> Site | None:
        """Read a site, the same in every block; None where an optional one is absent."""
        path = self._existing(place)
        if path is None:
            return None
        rows = self._rows(place, path)
        whole = self._whole(place, path, rows)
        start, outputs = self._slice(place, whole)
        return Site(
            stack=self._place.name,
            place=place.name,
            kind=place.kind,
            path=path,
            blocks=rows,
            inputs=whole.inputs,
            outputs=outputs,
            bias=whole.bias,
            start=start,
        )

    def _existing(self, place: SitePlace) -> str | None:
        """Return the first of a site's paths that leads to a module."""
        for path in place.paths:
            if self._module(path, place.first) is not None:
                return path
        if place.optional:
            return None
        wanted = " or ".join(repr(path.format(block=place.first)) for path in place.paths)
        raise BackboneError(
            f"the model {self._where} has no {place.name} at {wanted}, where its architecture "
            "expects it"
        )

    def _module(self, path: str, block: int) -> Any:
        try:
            return self._model.get_submodule(path.format(block=block))
        except AttributeError:
            return None

    def _rows(self, place: SitePlace, path: str) -> tuple[int, int]:
        """Tell which rows have a site: all from its first on, or one end of the stack."""
        first, last = self._first + place.first, self._first + self._blocks
        if place.kind == "embeddings":
            return first, first + 1
        return (first, last) if "{block}" in path else (last - 1, last)

    def _whole(self, place: SitePlace, path: str, rows: tuple[int, int]) -> Widths:
        """Measure the module at a site, which must have the same widths in every block."""
        numbers = range(rows[0] - self._first, rows[1] - self._first)
        every = {number: self._widths(place, path, number) for number in numbers}
        whole = every[numbers[0]]
        for number, widths in every.items():
            if widths != whole:
                raise BackboneError(
                    f"the blocks of the model {self._where} differ: {place.name} is {whole} in "
                    f"block {numbers[0]}, and {widths} in block {number}; autopeft searches models "
                    "whose blocks have equal widths"
                )
        return whole

    def _widths(self, place: SitePlace, path: str, number: int) -> Widths:
        module = self._module(path, number)
        if (widths := widths_of(module, place.kind)) is not None:
            return widths
        raise BackboneError(
            f"the model {self._where} has a {type(module).__name__} at "
            f"{path.format(block=number)!r}, where a module of the kind {place.kind!r} is expected"
        )

    def _slice(self, place: SitePlace, whole: Widths) -> tuple[int | None, int]:
        """Return the first output of a site and their number; None where it is the whole matrix."""
        if not place.part:
            return None, whole.outputs
        sizes = self._parts(place, whole.outputs)
        if sum(sizes.values()) != whole.outputs:
            raise BackboneError(
                f"the model {self._where} has a fused matrix of {whole.outputs} outputs at "
                f"{place.name}, and its config.json describes parts of "
                f"{' + '.join(map(str, sizes.values()))}"
            )
        before = list(sizes)[: list(sizes).index(place.part)]
        return sum(sizes[part] for part in before), sizes[place.part]

    def _parts(self, place: SitePlace, outputs: int) -> dict[str, int]:
        if place.part in {"gate", "input"}:
            return {"gate": outputs // 2, "input": outputs // 2}
        keys = self._keys()
        return {"query": self._heads * self._head_width(), "key": keys, "value": keys}

    def _keys(self) -> int:
        """The width of all keys: heads may share them."""
        heads = getattr(self._config, "num_key_value_heads", None) or self._heads
        return int(heads) * self._head_width()

    def _head_width(self) -> int:
        explicit = getattr(self._config, "head_dim", None)
        return int(explicit or self._config_value("hidden_size") // self._heads)

    def _with_keys_and_values(self, site: Site) -> Site:
        """Give an attention site the widths of its keys and values."""
        if site.kind != "attention":
            return site
        key = self._by_place.get(f"{site.place}.key")
        value = self._by_place.get(f"{site.place}.value")
        return replace(
            site,
            inputs=key.outputs if key else self._keys(),
            outputs=value.outputs if value else self._keys(),
        )

    def _composites(self) -> Iterator[Site]:
        """Yield the sites that are no module of their own."""
        rows = (self._first, self._first + self._blocks)
        first, last = self._by_place.get("ffn.input"), self._by_place.get("ffn.output")
        ends = {"ffn": (first.inputs, last.outputs)} if first and last else {}
        for place, (inputs, outputs) in (ends | {"block": (self._width(),) * 2}).items():
            yield Site(
                stack=self._place.name,
                place=place,
                kind="ffn" if place == "ffn" else "block",
                path="",
                blocks=rows,
                inputs=inputs,
                outputs=outputs,
            )
