"""Methods that put small modules or factors into the stream of activations."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import Cost, Method, Rates

_INSIDE = "an activation lies inside"


def _serial_adapter(backbone: Backbone, site: Site) -> Cost | None:
    if site.kind == "norm" and backbone.stack_of(site.blocks[0]).norm == "pre":
        return None  # there the norm opens the sub-layer; Pfeiffer's place is ffn.output
    return Cost(unit=2 * site.outputs + 1, fixed=site.outputs)


def _parallel_adapter(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs + 1, fixed=site.outputs)


METHODS: tuple[Method, ...] = (
    Method(
        name="serial_adapter",
        family="additive",
        summary="a bottleneck after each sub-layer (Houlsby), or at the last norm (Pfeiffer)",
        paper="Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00052",
        places=("attention.output", "ffn.output", "ffn.norm"),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_serial_adapter,
        attach="autopeft.methods.serial_adapter:attach",
        scale=1.0,
        elastic=True,
        merge=_INSIDE,
    ),
    Method(
        name="parallel_adapter",
        family="additive",
        summary="a scaled bottleneck beside the feed-forward layer",
        paper="He et al. 2022, arXiv 2110.04366",
        places=("ffn",),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=5e-4, high=1e-2),
        cost=_parallel_adapter,
        attach="autopeft.methods.parallel_adapter:attach",
        scale=4.0,
        elastic=True,
        merge=_INSIDE,
    ),
)
