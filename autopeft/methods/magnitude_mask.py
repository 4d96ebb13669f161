"""PaFi: the smallest elements of a frozen matrix, trained (Liao et al. 2023, arXiv 2305.16742).

    y = x (W + Δ)ᵀ + b        Δ: zero but where |W| is smallest

Needs no data: the mask follows from the backbone's weights and is computed again whenever it is
needed. The paper takes the smallest of the whole model; here each matrix has its own share.

Identity at initialisation: Δ is zero. Count: size · (inputs + outputs). Merges into W as W + Δ.
"""

from autopeft.methods.linears import weight_of
from autopeft.methods.masks import attach_sparse, elements, smallest
from autopeft.methods.places import Attached, Block, Making


def attach(block: Block, site: str, making: Making) -> Attached:
    """Train the elements of a matrix that are smallest in magnitude."""
    count = elements(block, site, making.size)
    attached, _ = attach_sparse(block, site, smallest(weight_of(block, site).abs(), count))
    return attached
