"""Methods that give attention something more to look at: prefixes and prompts."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import Cost, Method, Part, Rates

_NO_PLACE = "attention has no place for more keys"
_FRONT: frozenset[Part] = frozenset({"front"})
_LONGER = "it makes the sequence longer, before the first block"
_NO_INPUT = "the input has no place for more than its own words"


def _prefix(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs)


def _prefix_gate(backbone: Backbone, site: Site) -> Cost:
    width = backbone.stack_of(site.blocks[0]).width
    return Cost(unit=site.inputs + site.outputs + width, fixed=1)


def _deep_prompt(backbone: Backbone, site: Site) -> Cost | None:
    if not _projects(backbone, site):
        return None
    return Cost(unit=backbone.stack_of(site.blocks[0]).width)


def _llama_adapter(backbone: Backbone, site: Site) -> Cost | None:
    if not _projects(backbone, site):
        return None
    return Cost(unit=backbone.stack_of(site.blocks[0]).width, fixed=1)


def _projects(backbone: Backbone, site: Site) -> bool:
    """Tell whether keys and values can be made of any vector."""
    places = (f"{site.place}.key", f"{site.place}.value")
    return all(backbone.find(site.stack, place) for place in places)


def _prompts(_backbone: Backbone, site: Site) -> Cost | None:
    return None if site.stack == "decoder" else Cost(unit=site.outputs)


_WORDLESS = {"vit", "deit", "dinov2", "clip", "clip_vision_model", "clip_text_model"}
"""What reads images, or embeds its texts in one go: nothing can stand among its words."""


def _context(backbone: Backbone, site: Site) -> Cost | None:
    return None if backbone.architecture in _WORDLESS else _prompts(backbone, site)


METHODS: tuple[Method, ...] = (
    Method(
        name="prefix",
        family="additive",
        summary="learned keys and values in front of the sequence",
        paper="Li and Liang 2021, arXiv 2101.00190",
        places=("attention", "cross"),
        size="prefix length",
        identity=False,
        rates=Rates(low=1e-3, default=1e-2, high=1e-1),
        cost=_prefix,
        attach="autopeft.methods.prefix:attach",
        takes=_FRONT,  # a gate weighs one of them
        elastic=True,
        merge=_NO_PLACE,
        peft="PrefixTuningConfig",
        outer=("keys", "values"),
        rows=("keys", "values"),
    ),
    Method(
        name="prefix_mlp",
        family="additive",
        summary="a prefix that a network computes while it is trained",
        paper="Li and Liang 2021, arXiv 2101.00190, section 4.3",
        places=("attention", "cross"),
        size="prefix length",
        identity=False,
        rates=Rates(low=5e-5, default=5e-4, high=5e-3),
        cost=_prefix,
        attach="autopeft.methods.prefix_mlp:attach",
        takes=_FRONT,  # a gate weighs one of them
        merge=_NO_PLACE,
        peft="PrefixTuningConfig",
    ),
    Method(
        name="prefix_gate",
        family="additive",
        summary="a prefix whose weight every token and every block sets (APT)",
        paper="Zhang et al. 2023, arXiv 2305.15212",
        places=("attention", "cross"),
        size="prefix length",
        identity=False,
        rates=Rates(low=1e-3, default=5e-3, high=5e-2),
        cost=_prefix_gate,
        attach="autopeft.methods.prefix_gate:attach",
        elastic=True,
        merge=_NO_PLACE,
    ),
    Method(
        name="deep_prompt",
        family="additive",
        summary="learned tokens that a block's attention sees (VPT-deep)",
        paper="Jia et al. 2022, arXiv 2203.12119",
        places=("attention",),
        size="prompt length",
        identity=False,
        rates=Rates(low=5e-4, default=5e-3, high=5e-2),
        cost=_deep_prompt,
        attach="autopeft.methods.deep_prompt:attach",
        elastic=True,
        merge=_NO_PLACE,
    ),
    Method(
        name="llama_adapter",
        family="additive",
        summary="learned tokens on a softmax of their own, behind a gate that is zero at first",
        paper="Zhang et al. 2023, arXiv 2303.16199",
        places=("attention",),
        size="prompt length",
        identity=True,
        rates=Rates(low=1e-3, default=9e-3, high=5e-2),
        cost=_llama_adapter,
        attach="autopeft.methods.llama_adapter:attach",
        elastic=True,
        merge=_NO_PLACE,
        peft="AdaptionPromptConfig",
        outer=("gate",),
    ),
    Method(
        name="prompt_tuning",
        family="additive",
        summary="learned vectors in front of the embedded input",
        paper="Lester et al. 2021, arXiv 2104.08691; Jia et al. 2022, arXiv 2203.12119",
        places=("embeddings",),
        size="prompt length",
        identity=False,
        rates=Rates(low=1e-3, default=3e-2, high=3e-1),
        cost=_prompts,
        attach="autopeft.methods.prompt_tuning:attach",
        elastic=True,
        merge=_NO_INPUT,
        pack=_LONGER,
        peft="PromptTuningConfig",
    ),
    Method(
        name="p_tuning",
        family="additive",
        summary="prompts that a network computes while it is trained",
        paper="Liu et al. 2021, arXiv 2103.10385",
        places=("embeddings",),
        size="prompt length",
        identity=False,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_prompts,
        attach="autopeft.methods.p_tuning:attach",
        merge=_NO_INPUT,
        pack=_LONGER,
        peft="PromptEncoderConfig",
    ),
    Method(
        name="cpt",
        family="opaque",
        summary="words of the training data in front of the input, each moved a little (CPT)",
        paper="Blau et al. 2024, arXiv 2410.17222",
        places=("embeddings",),
        size="prompt length",
        identity=False,
        rates=Rates(low=1e-5, default=1e-4, high=1e-3),
        cost=_context,
        attach="autopeft.methods.cpt:attach",
        merge=_NO_INPUT,
        pack=_LONGER,
        peft="CPTConfig",
    ),
)
