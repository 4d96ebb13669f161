"""Methods that weigh others against one another."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import Cost, Method, Rates

_LORA = (
    *("attention.query", "attention.key", "attention.value", "attention.qkv"),
    *("cross.query", "cross.key", "cross.value", "ffn.input", "ffn.gate"),
)
_ADAPTER = ("attention.output", "ffn.output", "ffn.norm")
_PREFIX = ("attention", "cross")


def _gate(backbone: Backbone, site: Site) -> Cost | None:
    if site.kind == "norm" and backbone.stack_of(site.blocks[0]).norm == "pre":
        return None  # no adapter sits there
    if site.kind == "attention":
        query = backbone.find(site.stack, f"{site.place}.query")
        return Cost(unit=query.inputs + 1, most=1) if query else None
    return Cost(unit=(site.outputs if site.place in _ADAPTER else site.inputs) + 1, most=1)


METHODS: tuple[Method, ...] = (
    Method(
        name="gate",
        family="hybrid",
        summary="how much of what another method adds at the same site is taken, by the input",
        paper="Mao et al. 2022 (UniPELT), arXiv 2110.07577",
        places=(*_LORA, *_ADAPTER, *_PREFIX),
        size="switch",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_gate,
        attach="autopeft.methods.gate:attach",
        needs=frozenset(
            (
                *(f"lora@{place}" for place in _LORA),
                *(f"serial_adapter@{place}" for place in _ADAPTER),
                *(f"{method}@{place}" for method in ("prefix", "prefix_mlp") for place in _PREFIX),
            )
        ),
        merge="the factor differs from one input to the next",
        pack="it reads the mask that the whole model is given",
    ),
)
