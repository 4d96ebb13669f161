"""The options of the differentiable searches, as they are written in a study."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from autopeft.errors import OptionError

_ORDERS = (1, 2)
_STRUCTURES = ("found", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3petOptions:
    """How S3PET searches (Hu et al. 2022, arXiv 2206.07382).

    ``order`` is that of the gates' gradient: 2 looks one step of the weights ahead, as the paper
    does, at two and a half times the cost. ``temperature`` divides the logits, ``rate`` is their
    learning rate. ``steps`` are those of the search, 0 as many as a whole training has.
    ``structure`` is ``random`` for the paper's control, which fills the budget by chance.
    """

    order: int = 1
    temperature: float = 1.0
    rate: float = 0.1
    steps: int = 0
    structure: str = "found"

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Self:
        """Read what is given; the rest is as usual.

        Raises:
            OptionError: An option is unknown, or its value is not allowed.
        """
        read = cls(**_read("s3pet", cls, options))
        if read.order not in _ORDERS:
            raise OptionError(f"the option order of s3pet must be 1 or 2, not {read.order}")
        _check_structure("s3pet", read.structure)
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class BipeftOptions:
    """How BIPEFT searches (Chang et al. 2024, EMNLP Findings).

    ``rate`` is the learning rate of the logits. ``prune_steps`` are those over which pruning is
    spread, ``similarity`` is how alike the latest sets within the budget must be before it begins.
    ``steps`` and ``structure`` are as for s3pet.
    """

    rate: float = 0.01
    prune_steps: int = 100
    similarity: float = 0.85
    steps: int = 0
    structure: str = "found"

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Self:
        """Read what is given; the rest is as usual.

        Raises:
            OptionError: An option is unknown, or its value is not allowed.
        """
        read = cls(**_read("bipeft", cls, options))
        if read.similarity > 1:
            raise OptionError(
                f"the option similarity of bipeft must be at most 1, not {read.similarity:g}"
            )
        _check_structure("bipeft", read.structure)
        return read


def _read(strategy: str, kind: type[Any], options: Mapping[str, str]) -> dict[str, Any]:
    known = {field.name: field for field in fields(kind)}
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in known:
            raise OptionError(f"{strategy} has no option {name!r}: it has {', '.join(known)}")
        usual: Any = known[name].default
        values[name] = text if isinstance(usual, str) else _number(strategy, name, text, usual)
    return values


def _number(strategy: str, name: str, text: str, usual: float) -> float:
    try:
        value = int(text) if isinstance(usual, int) else float(text)
    except ValueError:
        value = -1
    least = 0 if usual == 0 else 1 if isinstance(usual, int) else None
    if not (0 < value < float("inf") if least is None else value >= least):
        allowed = "a number above 0" if least is None else f"a whole number from {least} on"
        raise OptionError(f"the option {name} of {strategy} must be {allowed}, not {text!r}")
    return value


def _check_structure(strategy: str, structure: str) -> None:
    if structure not in _STRUCTURES:
        raise OptionError(
            f"the option structure of {strategy} must be 'found' or 'random', not {structure!r}"
        )
