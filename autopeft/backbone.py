"""The frozen pretrained transformer as a value: its shape, without its weights.

A backbone is one stack of blocks, or two: encoder and decoder, or the two towers of CLIP. The
blocks of all stacks are numbered through, and are the rows of every configuration. An architecture
is data: a YAML file in ``architectures/`` says where in a block each site is. Widths are not
written there; they are read from the model's own modules on the meta device.
"""

from dataclasses import dataclass
from typing import Literal

SiteKind = Literal["linear", "norm", "attention", "ffn", "block", "embeddings"]
NormPlace = Literal["pre", "post"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place in the blocks of a stack at which a method can sit.

    ``stack`` is empty where there is only one. ``path`` leads from the backbone to the module and
    may contain ``{block}``, the number within the stack. ``blocks`` are the first row of a
    configuration that has the site, and the row after the last. ``inputs`` and ``outputs`` are
    widths: of a linear layer its own; of a norm, a block or the embeddings equal ones; of attention
    those of all keys and of all values; of the feed-forward layer what goes in and comes out.
    ``start`` is the first output of a site that is a slice of a fused matrix, None where the matrix
    is the site's own. ``bias`` tells whether there is one.
    """

    stack: str = ""
    place: str
    kind: SiteKind
    path: str
    blocks: tuple[int, int]
    inputs: int
    outputs: int
    bias: bool = False
    start: int | None = None

    @property
    def name(self) -> str:
        """The place, after the stack where there are several: ``decoder.cross.query``."""
        return f"{self.stack}.{self.place}" if self.stack else self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Equal blocks, one after another.

    ``first`` is the row of its first block. ``norm`` tells whether a block normalises what a
    sub-layer reads (``pre``) or the sum that it leaves (``post``).
    """

    name: str
    first: int
    blocks: int
    width: int
    heads: int
    norm: NormPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What a search knows of the pretrained transformer.

    ``parameters`` counts all of it without a task head and is the denominator of a budget.
    ``digest`` names the weights, so that a study cannot go on with others.
    """

    name: str
    architecture: str
    stacks: tuple[Stack, ...]
    parameters: int
    sites: tuple[Site, ...]
    digest: str

    @property
    def blocks(self) -> int:
        """Count the blocks of all stacks: the rows of a configuration."""
        return sum(stack.blocks for stack in self.stacks)

    @property
    def width(self) -> int:
        """The width of the widest stack."""
        return max(stack.width for stack in self.stacks)

    def site(self, name: str) -> Site:
        """Return the site of this name, which the caller knows to exist."""
        return next(site for site in self.sites if site.name == name)

    def find(self, stack: str, place: str) -> Site | None:
        """Return the site at a place of a stack, or None where there is none."""
        return next((s for s in self.sites if (s.stack, s.place) == (stack, place)), None)

    def stack_of(self, block: int) -> Stack:
        """Return the stack to which a row of a configuration belongs."""
        return next(s for s in self.stacks if s.first <= block < s.first + s.blocks)

    def module_path(self, site: Site, block: int) -> str:
        """Return the path of a site's module in one row."""
        return site.path.format(block=block - self.stack_of(block).first)
