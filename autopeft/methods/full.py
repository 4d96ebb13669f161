"""Some blocks, or some sub-layers, trained whole and in place.

Of a block all linear layers and norms: the last few blocks are a strong plain baseline (Lee et al.
2019, arXiv 1911.03090). Of attention, cross-attention or the feed-forward layer its matrices:
cross-attention alone is enough to take a translation model to a new language (Gheini et al. 2021,
arXiv 2104.08771).

Identity at initialisation: training starts from the backbone's own values. Count: the elements of
these layers; a fused matrix is trained whole. What else a block may hold (tables of relative
positions, layer scales, norms that only some blocks have) stays frozen. Replaces the backbone's
values when it is merged.
"""

from collections.abc import Iterator

from autopeft.methods.in_place import Chosen, in_place
from autopeft.methods.places import Attached, Block, Making
from autopeft.search_spaces.within import layers_within


def attach(block: Block, site: str, _making: Making) -> Attached:
    """Train copies of every weight and bias within a site."""
    return in_place(_chosen(block, site))


def _chosen(block: Block, site: str) -> Iterator[Chosen]:
    for layer in layers_within(block.backbone, block.sites[site]):
        for part in ("weight", "bias") if layer.bias else ("weight",):
            yield f"{layer.place}.{part}", block.original(layer.name), part
