"""Methods that put small modules or factors into the stream of activations.

Those that rescale come first: they lie against the frozen matrix, as if they were merged into it,
and adapters read what comes out of both.
"""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, NORMS, Cost, Method, Rates

_INSIDE = "an activation lies inside"
_ENDS = ("attention.output", "cross.output", "ffn.output")


def low_rank_bottleneck(width: int) -> int:
    """Return the bottleneck of a low-rank adapter: a 32nd of the width, as in S3PET."""
    return max(1, width // 32)


def ends_of(backbone: Backbone, site: Site) -> tuple[Site, Site] | None:
    """Find the linear layers with which a sub-layer begins and ends, or None."""
    openings = ("input",) if site.place == "ffn" else ("query", "qkv")
    found = (backbone.find(site.stack, f"{site.place}.{opening}") for opening in openings)
    first = next(filter(None, found), None)
    last = backbone.find(site.stack, f"{site.place}.output")
    return (first, last) if first and last else None


def _closes(backbone: Backbone, site: Site) -> bool:
    """Tell whether a site ends a sub-layer: a pre-norm block's norms open theirs."""
    return site.kind != "norm" or backbone.stack_of(site.blocks[0]).norm == "post"


def _ia3(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs if site.place == "ffn.output" else site.outputs, most=1)


def _ssf(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.outputs * (2 if site.bias else 1), most=1)


def _adapter_bias(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs + site.bias, most=1)


def _serial_adapter(backbone: Backbone, site: Site) -> Cost | None:
    if not _closes(backbone, site):
        return None
    return Cost(unit=2 * site.outputs + 1, fixed=site.outputs)


def _compacter(backbone: Backbone, site: Site) -> Cost | None:
    if not _closes(backbone, site) or site.outputs % 4:
        return None
    return Cost(unit=12, fixed=3 * site.outputs, once=64)


def _low_rank_adapter(_backbone: Backbone, site: Site) -> Cost:
    narrow = low_rank_bottleneck(site.outputs)
    return Cost(unit=2 * (site.outputs + narrow), fixed=site.outputs + narrow, most=narrow)


def _parallel_adapter(backbone: Backbone, site: Site) -> Cost | None:
    if (ends := ends_of(backbone, site)) is None:
        return None
    first, last = ends
    return Cost(unit=first.inputs + last.outputs + 1, fixed=last.outputs)


def _adaptformer_norm(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs + 1, fixed=site.outputs + 2 * site.inputs)


def _multi_head_adapter(backbone: Backbone, site: Site) -> Cost | None:
    query = backbone.find(site.stack, f"{site.place}.query")
    output = backbone.find(site.stack, f"{site.place}.output")
    if query is None or output is None or query.outputs != output.inputs:
        return None
    return Cost(unit=query.outputs + output.inputs)


def _adapter_plus(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=2 * site.outputs + 1, fixed=2 * site.outputs)


METHODS: tuple[Method, ...] = (
    Method(
        name="ia3",
        family="additive",
        summary="trained factors on keys, values and the inside of the feed-forward layer",
        paper="Liu et al. 2022, arXiv 2205.05638",
        places=("attention.key", "attention.value", "cross.key", "cross.value", "ffn.output"),
        size="switch",
        identity=True,
        rates=Rates(low=3e-4, default=3e-3, high=3e-2),
        cost=_ia3,
        attach="autopeft.methods.ia3:attach",
        merges=True,
        merge="diag(l) W and l * b; W diag(l) at ffn.output",
        peft="IA3Config",
        outer=("factors",),
    ),
    Method(
        name="ssf",
        family="additive",
        summary="a scale and a shift on what a frozen layer returns",
        paper="Lian et al. 2022, arXiv 2210.08823",
        places=(*LINEARS, *NORMS),
        size="switch",
        identity=True,
        rates=Rates(low=2e-4, default=2e-3, high=2e-2),
        cost=_ssf,
        attach="autopeft.methods.ssf:attach",
        merges=True,
        merge="diag(g) W and g * b + h; no shift where there is no bias to take it",
        outer=("scale", "shift"),
    ),
    Method(
        name="adapter_bias",
        family="additive",
        summary="a vector, added to each token as much as that token asks for",
        paper="Fu et al. 2022, arXiv 2205.00305",
        places=("ffn.output",),
        size="switch",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_adapter_bias,
        attach="autopeft.methods.adapter_bias:attach",
        scale=1.0,
        adds=frozenset({"weight"}),
        merges=True,
        merge="W + s · vᵀ w and b + s · a · v",
        outer=("vector",),
    ),
    Method(
        name="serial_adapter",
        family="additive",
        summary="a bottleneck after each sub-layer (Houlsby), or at the last norm (Pfeiffer)",
        paper="Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00052",
        places=(*_ENDS, "ffn.norm"),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_serial_adapter,
        attach="autopeft.methods.serial_adapter:attach",
        scale=1.0,
        elastic=True,
        merge=_INSIDE,
        outer=("up", "up_bias"),
        rows=("up",),
    ),
    Method(
        name="compacter",
        family="additive",
        summary="a serial adapter whose matrices are sums of Kronecker products",
        paper="Karimi Mahabadi et al. 2021, arXiv 2106.04647",
        places=(*_ENDS, "ffn.norm"),
        size="a quarter of the bottleneck width",
        identity=True,
        rates=Rates(low=3e-4, default=3e-3, high=3e-2),
        cost=_compacter,
        attach="autopeft.methods.compacter:attach",
        scale=1.0,
        elastic=True,
        merge=_INSIDE,
        outer=("up_left", "up_bias"),
        rows=("up_right",),
    ),
    Method(
        name="low_rank_adapter",
        family="additive",
        summary="a serial adapter of fixed width whose matrices are low-rank products",
        paper="Hu et al. 2022, arXiv 2206.07382",
        places=_ENDS,
        size="rank of the matrices",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_low_rank_adapter,
        attach="autopeft.methods.low_rank_adapter:attach",
        scale=1.0,
        elastic=True,
        merge=_INSIDE,
        outer=("up_out", "up_bias"),
        rows=("down_out", "up_out"),
    ),
    Method(
        name="parallel_adapter",
        family="additive",
        summary="a scaled bottleneck beside the feed-forward layer or attention",
        paper="He et al. 2022, arXiv 2110.04366",
        places=("ffn", "attention", "cross"),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=5e-4, high=1e-2),
        cost=_parallel_adapter,
        attach="autopeft.methods.parallel_adapter:attach",
        scale=4.0,
        elastic=True,
        merge=_INSIDE,
        outer=("up", "up_bias"),
        rows=("up",),
    ),
    Method(
        name="multi_head_adapter",
        family="additive",
        summary="a small bottleneck beside each attention head",
        paper="He et al. 2022, arXiv 2110.04366",
        places=("attention", "cross"),
        size="bottleneck width of a head",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_multi_head_adapter,
        attach="autopeft.methods.multi_head_adapter:attach",
        scale=1.0,
        elastic=True,
        merge=_INSIDE,
        outer=("up",),
        rows=("up",),
    ),
    Method(
        name="adaptformer",
        family="additive",
        summary="a weakly scaled bottleneck from the stream past the feed-forward layer",
        paper="Chen et al. 2022, arXiv 2205.13535",
        places=("ffn",),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_parallel_adapter,
        attach="autopeft.methods.adaptformer:attach",
        scale=0.1,
        elastic=True,
        merge=_INSIDE,
        outer=("up", "up_bias"),
        rows=("up",),
    ),
    Method(
        name="adaptformer_norm",
        family="additive",
        summary="AdaptFormer with a norm of its own before the bottleneck",
        paper="Chen et al. 2022, arXiv 2205.13535",
        places=("ffn",),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_adaptformer_norm,
        attach="autopeft.methods.adaptformer:attach_with_norm",
        scale=0.1,
        elastic=True,
        merge=_INSIDE,
        outer=("up", "up_bias"),
        rows=("up",),
    ),
    Method(
        name="adapter_plus",
        family="additive",
        summary="a bottleneck after each block, with a learned scale for each channel",
        paper="Steitz and Roth 2024, arXiv 2406.06820",
        places=("block",),
        size="bottleneck width",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_adapter_plus,
        attach="autopeft.methods.adapter_plus:attach",
        elastic=True,
        merge=_INSIDE,
        outer=("up", "up_bias"),
        rows=("up",),
    ),
)
