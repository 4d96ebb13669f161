"""Methods that give attention something more to look at: prefixes and prompts."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import Cost, Method, Rates


def _prefix(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs)


METHODS: tuple[Method, ...] = (
    Method(
        name="prefix",
        family="additive",
        summary="learned keys and values in front of the sequence",
        paper="Li and Liang 2021, arXiv 2101.00190",
        places=("attention",),
        size="prefix length",
        identity=False,
        rates=Rates(low=1e-3, default=1e-2, high=1e-1),
        cost=_prefix,
        attach="autopeft.methods.prefix:attach",
        elastic=True,
        merge="attention has no place for more keys",
        peft="PrefixTuningConfig",
    ),
)
