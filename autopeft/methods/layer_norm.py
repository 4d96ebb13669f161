"""LayerNorm tuning: weight and bias of a norm, trained in place (Zhao et al. 2024, 2312.11420).

    y = w' · (x - mean) / spread + b'

Identity at initialisation: training starts from the backbone's own values. Count: twice the width;
once where the norm has no bias (RMSNorm), which then is what ``ln_fit`` is. Replaces the backbone's
values when it is merged.
"""

from autopeft.methods.in_place import in_place
from autopeft.methods.places import Attached, Block, Making


def attach(block: Block, site: str, _making: Making) -> Attached:
    """Train copies of a norm's weight and, if it has one, bias."""
    parts = ("weight", "bias") if block.sites[site].bias else ("weight",)
    return in_place((part, block.original(site), part) for part in parts)
