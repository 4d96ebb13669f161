"""LNFit: the weight of a norm alone, trained in place (S3PET; Hu et al. 2022, arXiv 2206.07382).

    y = w' · (x - mean) / spread + b

S3PET's own form is y = (w + d) · (x - mean) / spread + b with d from zero: the same function,
start and gradient. A norm that stores its weight less one (Gemma's) is trained as it stores it.

Identity at initialisation: training starts from the backbone's own weight. Count: the width.
Replaces the backbone's weight when it is merged.
"""

from autopeft.methods.in_place import in_place
from autopeft.methods.places import Attached, Block, Making


def attach(block: Block, site: str, _making: Making) -> Attached:
    """Train a copy of a norm's weight."""
    return in_place([("weight", block.original(site), "weight")])
