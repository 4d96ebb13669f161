"""Methods that add to a frozen matrix: what they learn can be merged into it."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, Cost, Method, Rates

_WEIGHT = frozenset({"weight"})


def _lora(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs, most=min(site.inputs, site.outputs))


METHODS: tuple[Method, ...] = (
    Method(
        name="lora",
        family="reparameterised",
        summary="a low-rank product added to a frozen matrix",
        paper="Hu et al. 2021, arXiv 2106.09685",
        places=LINEARS,
        size="rank",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_lora,
        attach="autopeft.methods.lora:attach",
        scale=2.0,
        adds=_WEIGHT,
        elastic=True,
        merges=True,
        merge="W + s · Uᵀ D",
        peft="LoraConfig",
    ),
)
