"""What is known of a method without building it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from autopeft.backbone import Backbone, Site

Family = Literal["reparameterised", "additive", "selective", "hybrid", "opaque"]
Part = Literal["weight", "bias", "front"]
"""Parts of a frozen module; ``front`` is the place in front of the sequence that it attends to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a method trains at a site: ``square`` · size² + ``unit`` · size + ``fixed``.

    ``once`` is trained a single time for all blocks of the column, as soon as one has it. ``most``
    is the largest size that makes sense, None where there is no limit.
    """

    unit: int
    fixed: int = 0
    square: int = 0
    once: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The learning rates within which a method is searched, and the one it starts from."""

    low: float
    default: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of parameter-efficient fine-tuning.

    ``places`` are where it can sit, on backbones that have them. ``size`` says what a size means
    (``switch``: 1 is on). ``cost`` counts from the shape alone and returns None at a site where the
    method makes no sense. ``attach`` names the function that builds it, ``module:function``.
    ``scale`` is the constant factor on the method's contribution, independent of the size; None
    where the method has none. ``identity`` tells whether a freshly built module leaves the
    backbone's output as it was.

    ``takes`` are the parts of a frozen module that the method replaces, ``adds`` those to which it
    only adds: what one slot takes, no other at the same site can take or add to. ``needs`` are
    slots, such as ``lora@attention.query``: a cell of this method means something only where its
    block holds one of them at its own site.

    ``elastic`` tells whether a smaller size is the first rows of a larger one; ``merge`` how the
    trained weights go into the backbone's own, or, where ``merges`` is false, why they cannot;
    ``pack`` why a trial with it cannot go through the backbone in one pass with others, empty where
    it can: no random number may be drawn in its forward, and nothing outside of the blocks be
    changed; ``peft`` the class of the `peft` library that expresses it exactly, empty where there
    is none.

    ``outer`` names the trained parameters through which the method acts, ``*`` all of them. Where
    they are what a fresh module has it does nothing, and what it adds to a layer is affine in them:
    scaling how far they have moved by z weighs it by z. Empty where there are none such. ``prefix``
    is the exception: its keys and values are scaled as by UniPELT's gate, and zeros keep their
    share of the softmax. ``rows`` names those whose last rows, where they are zero, make a larger
    size the same as a smaller one.
    """

    name: str
    family: Family
    summary: str
    paper: str
    places: tuple[str, ...]
    size: str
    identity: bool
    rates: Rates
    cost: Callable[[Backbone, Site], Cost | None]
    attach: str
    scale: float | None = None
    takes: frozenset[Part] = field(default_factory=frozenset)
    adds: frozenset[Part] = field(default_factory=frozenset)
    needs: frozenset[str] = field(default_factory=frozenset)
    elastic: bool = False
    merges: bool = False
    merge: str = ""
    pack: str = ""
    peft: str = ""
    outer: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    @property
    def packs(self) -> bool:
        """Whether several trials with it go through the backbone in one pass."""
        return not self.pack


LINEARS = (
    *("attention.query", "attention.key", "attention.value", "attention.qkv", "attention.output"),
    *("cross.query", "cross.key", "cross.value", "cross.output"),
    *("ffn.input", "ffn.gate", "ffn.output"),
)
"""Where linear layers are; ``qkv`` is a fused matrix as a whole."""

NORMS = ("attention.norm", "cross.norm", "ffn.norm", "final.norm")
"""Where norms are; ``final.norm`` closes a stack and belongs to its last block."""
