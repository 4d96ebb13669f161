"""Methods that train some of the backbone's own weights in place."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import Cost, Method, Rates


def _bitfit(backbone: Backbone, site: Site) -> Cost | None:
    biases = sum(
        s.outputs
        for s in backbone.sites
        if s.stack == site.stack and s.kind in {"linear", "norm"} and s.bias and s.start is None
        if s.blocks == site.blocks
    )
    return Cost(unit=biases, most=1) if biases else None


METHODS: tuple[Method, ...] = (
    Method(
        name="bitfit",
        family="selective",
        summary="the biases of a block, trained in place",
        paper="Ben Zaken et al. 2022, arXiv 2106.10199",
        places=("block",),
        size="switch",
        identity=True,
        rates=Rates(low=1e-4, default=2e-3, high=2e-2),
        cost=_bitfit,
        attach="autopeft.methods.bitfit:attach",
        takes=frozenset({"bias"}),
        merges=True,
        merge="the backbone's biases are replaced",
        peft="LoraConfig(bias='all')",
    ),
)
