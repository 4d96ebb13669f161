"""The hard limit on trained parameters."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from autopeft.errors import BudgetError

_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM])")
_UNITS = {"k": 1_000, "m": 1_000_000}
_ALLOWED = (
    "write a share of the backbone such as '1%' or '0.01', or a count such as '300k' or '294912'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many parameters may be trained: a share of the backbone, or a count.

    The task head is not part of the budget and is reported beside it.
    """

    text: str
    share: float | None = None
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read a budget.

        Raises:
            BudgetError: The text is no share in (0, 100%] and no positive count.

        Example:
            >>> Budget.parse("1%").ceiling(22_713_216)
            227132
            >>> Budget.parse("300k").ceiling(22_713_216)
            300000
        """
        stripped = text.strip()
        if stripped.endswith("%"):
            return cls._of_share(stripped, _number(stripped[:-1], text) / 100)
        if match := _COUNT.fullmatch(stripped):
            return cls._of_count(stripped, Decimal(match[1]) * _UNITS[match[2].lower()])
        number = _number(stripped, text)
        if "." in stripped or "e" in stripped.lower():
            return cls._of_share(stripped, number)
        return cls._of_count(stripped, number)

    @classmethod
    def _of_share(cls, text: str, number: Decimal) -> "Budget":
        share = float(number)
        if not 0 < share <= 1:
            raise BudgetError(f"budget {text!r} must be above 0% and at most 100%: {_ALLOWED}")
        return cls(text=text, share=share)

    @classmethod
    def _of_count(cls, text: str, count: Decimal) -> "Budget":
        if count < 1:
            raise BudgetError(f"budget {text!r} allows no parameter at all: {_ALLOWED}")
        return cls(text=text, count=int(count))

    def ceiling(self, backbone_parameters: int) -> int:
        """Return the largest number of parameters allowed, rounded down.

        Exact for what was written: 29% of 100 is 29, though 0.29 * 100 is 28.999999999999996.
        """
        if self.count is not None:
            return self.count
        return int(Fraction(str(self.share or 0.0)) * backbone_parameters)


def _number(text: str, whole: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BudgetError(f"cannot read budget {whole!r}: {_ALLOWED}") from None
    if not number.is_finite():
        raise BudgetError(f"cannot read budget {whole!r}: {_ALLOWED}")
    return number
