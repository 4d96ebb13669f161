"""What a search goes by: its objectives, and the rungs at which it stops the worse trials."""

from fractions import Fraction
from typing import get_args

from autopeft.errors import OptionError
from autopeft.study import Objective

_HALVED = ("autopeft",)
_USUAL = "1/3"
_FEWEST_STEPS = 16
# After seven steps scores ranked configurations in reverse, after twenty nearly as at the end
# (benchmarks/tables); losses, by which trials are stopped, ranked them as well after seven.
_DIGITS = 6


def objectives_of(text: str) -> tuple[Objective, ...]:
    """Read objectives such as ``score,params``.

    Raises:
        OptionError: One is unknown or named twice, or the score is not the first.
    """
    known: tuple[Objective, ...] = get_args(Objective)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise OptionError(f"there is no objective {name!r}: there are {', '.join(known)}")
    if names[0] != "score" or len(set(names)) < len(names):
        raise OptionError(
            f"cannot search for {text!r}: name score first and every other objective once, such as "
            "score,params"
        )
    return tuple(name for wanted in names for name in known if name == wanted)


def check_rungs(text: str | None) -> None:
    """Refuse rungs that no training could have.

    Raises:
        OptionError: They are no ascending shares between 0 and 1.
    """
    _shares(text or _USUAL)


def rungs_of(text: str | None, strategy: str, steps: int) -> tuple[float, ...]:
    """Read rungs such as ``1/9,1/3``; the whole training of ``steps`` steps is always the last.

    Of the usual ones those are left out that so few steps lead to that they would tell nothing.

    Raises:
        OptionError: They are no ascending shares between 0 and 1, or one is less than a step.
    """
    if text is None:
        usual = _shares(_USUAL if strategy in _HALVED else "1")
        return tuple(s for s in usual if s == 1 or round(s * steps) >= _FEWEST_STEPS)
    shares = _shares(text)
    if shares[0] * steps < 1 - 10**-3:  # shares are rounded
        raise OptionError(
            f"the rung {shares[0]:g} is less than one step: the whole training has {steps}"
        )
    return shares


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        shares = [0.0]
    if shares[-1] < 1:
        shares.append(1.0)
    if shares[0] <= 0 or shares[-1] > 1 or sorted(set(shares)) != shares:
        raise OptionError(
            f"cannot read the rungs {text!r}: write ascending shares of a training, such as "
            "1/9,1/3, or 1 to train every trial to its end"
        )
    return tuple(round(share, _DIGITS) for share in shares)
