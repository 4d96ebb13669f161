"""Methods that come through the `peft` library as they are: no slicing.

A size is what the paper varies where the count follows from it. Where it does not (a block size
must divide a width), the method is a switch with fixed hyper-parameters, which the docstrings of
`autopeft.methods.opaque` name. Counts are of what the installed library trains; a test holds them
against it.
"""

from collections.abc import Callable
from math import ceil, gcd

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, Cost, Method, Part, Rates

OFT_BLOCK, BOFT_BLOCK, C3A_BLOCK, ROAD_GROUP, VECTOR = 32, 4, 256, 64, 256
"""The library's usual block sizes; smaller where they do not divide a width."""
RANDLORA_RANK, SKILLS, VECTORS, EXPERTS = 32, 4, 256, 4

_SMALLEST_CIRCLE = 8
_WEIGHT: frozenset[Part] = frozenset({"weight"})
_BOTH: frozenset[Part] = frozenset({"weight", "bias"})
_DRAWS = "it draws random numbers in every step"
_AS_ONE = "W + what the layer makes of the unit vectors, less W"

REFUSED = {
    "cartridge": "Cartridge trains a cache of keys and values for one document; `prefix` is the "
    "same thing for a task",
    "multitask_prompt_tuning": "it distils one prompt from many tasks; a study has one task",
    "shadow": "Shadow runs a second, smaller network beside the whole model",
    "unilora": "Uni-LoRA projects one vector for the whole model: a slot of it would cost nothing",
    "frod": "FRoD factorises all layers together, and what it trains depends on a random pattern: "
    "it cannot be counted from the shape",
    "adamss": "AdaMSS clusters each weight with scikit-learn: it cannot be counted from the shape",
    "lily": "Lily routes by the mean over the whole batch, padding included: an answer would "
    "depend on which other examples stand beside it",
    "trainable_tokens": "it needs a list of token ids, which a search does not choose",
    "beft": "BEFT trains the bias of the value projection: that is `bitfit@attention.value`",
    "mixed": "mixing adapters at one site is what a configuration does anyway",
}
"""What the installed `peft` has and autopeft does not offer, and why."""


def oft_block(site: Site) -> int:
    """Return the size of OFT's rotations: a power of two that divides the inputs."""
    return gcd(site.inputs, OFT_BLOCK)


def boft_block(site: Site) -> int:
    """Return the size of BOFT's rotations: 4, or less where it does not divide the inputs."""
    return gcd(site.inputs, BOFT_BLOCK)


def c3a_block(site: Site) -> int:
    """Return the size of C3A's circles: what divides both widths, 256 at most."""
    return gcd(site.inputs, site.outputs, C3A_BLOCK)


def road_group(site: Site) -> int:
    """Return the outputs within which RoAd pairs the ones that it turns."""
    return gcd(site.outputs, ROAD_GROUP)


def vector_length(site: Site) -> int:
    """Return the length of VB-LoRA's vectors: what divides both widths, 256 at most."""
    return gcd(site.inputs, site.outputs, VECTOR)


def _oft(_backbone: Backbone, site: Site) -> Cost | None:
    block = oft_block(site)
    return Cost(unit=site.inputs * (block - 1) // 2, most=1) if block > 1 else None


def _boft(_backbone: Backbone, site: Site) -> Cost | None:
    block = boft_block(site)
    return Cost(unit=site.inputs * block + site.outputs, most=1) if block > 1 else None


def _hra(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=2 * site.inputs, most=site.inputs // 2)


def _psoft(_backbone: Backbone, site: Site) -> Cost:
    return Cost(square=2, unit=3, most=min(site.inputs, site.outputs) // 2)


def _coefficients(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=1, most=site.inputs * site.outputs)


def _c3a(_backbone: Backbone, site: Site) -> Cost | None:
    block = c3a_block(site)
    if block < _SMALLEST_CIRCLE:
        return None
    return Cost(unit=site.inputs * site.outputs // block, most=1)


def _road(_backbone: Backbone, site: Site) -> Cost | None:
    return Cost(unit=site.outputs, most=1) if road_group(site) > 1 else None


def _entries(_backbone: Backbone, site: Site) -> Cost:
    widths = site.inputs + site.outputs
    return Cost(unit=widths, most=site.inputs * site.outputs // (2 * widths))


def _factors(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs, most=min(site.inputs, site.outputs))


def _miss(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.outputs, most=site.inputs)


def _gralora(_backbone: Backbone, site: Site) -> Cost | None:
    if site.inputs % 2 or site.outputs % 2:
        return None
    widths = site.inputs + site.outputs
    return Cost(unit=2 * widths, most=min(site.inputs, site.outputs) // 2)


def _glora(_backbone: Backbone, site: Site) -> Cost:
    widths, most = site.inputs + site.outputs, min(site.inputs, site.outputs)
    if not site.bias:
        return Cost(unit=2 * widths, most=most)
    return Cost(unit=2 * widths + site.inputs + 1, fixed=2, most=most)


def _peanut(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=2 * site.outputs, most=min(site.inputs, site.outputs))


def _delora(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs, fixed=1, most=min(site.inputs, site.outputs))


def _osf(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs + 1, most=min(site.inputs, site.outputs) - 1)


def _poly(_backbone: Backbone, site: Site) -> Cost:
    widths, most = site.inputs + site.outputs, min(site.inputs, site.outputs)
    return Cost(unit=SKILLS * widths, fixed=SKILLS, most=most)


def _vblora(_backbone: Backbone, site: Site) -> Cost | None:
    length = vector_length(site)
    if length < _SMALLEST_CIRCLE:
        return None
    tiles = (site.inputs + site.outputs) // length
    most = min(site.inputs, site.outputs)
    return Cost(unit=VECTORS * tiles, once=VECTORS * length, most=most)


def _randlora(_backbone: Backbone, site: Site) -> Cost:
    narrow = min(site.inputs, site.outputs)
    return Cost(unit=ceil(narrow / RANDLORA_RANK) * (RANDLORA_RANK + narrow), most=1)


def _pvera(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=2, fixed=site.outputs, most=min(site.inputs, site.outputs))


def _xlora(_backbone: Backbone, site: Site) -> Cost:
    widths, most = site.inputs + site.outputs, min(site.inputs, site.outputs)
    return Cost(unit=EXPERTS * widths, fixed=EXPERTS * (site.inputs + 1), most=most)


def _method(  # noqa: PLR0917  # a row of the table below
    name: str,
    config: str,
    summary: str,
    paper: str,
    size: str,
    cost: Callable[[Backbone, Site], Cost | None],
    rate: float,
    *,
    identity: bool = True,
    adds: frozenset[Part] = _WEIGHT,
    merge: str = _AS_ONE,
    pack: str = "",
) -> Method:
    return Method(
        name=name,
        family="opaque",
        summary=summary,
        paper=paper,
        places=LINEARS,
        size=size,
        identity=identity,
        rates=Rates(low=rate / 10, default=rate, high=10 * rate),
        cost=cost,
        attach=f"autopeft.methods.opaque:{name}",
        adds=adds,
        merges=True,
        merge=merge,
        pack=pack,
        peft=config,
    )


METHODS: tuple[Method, ...] = (
    _method(
        "oft", "OFTConfig", "the inputs turned, block by block",
        "Qiu et al. 2023, arXiv 2306.07280", "switch", _oft, 1e-3,
    ),
    _method(
        "boft", "BOFTConfig", "the inputs turned by a butterfly of blocks, the outputs scaled",
        "Liu et al. 2023, arXiv 2311.06243", "switch", _boft, 1e-3,
    ),
    _method(
        "hra", "HRAConfig", "the inputs mirrored several times",
        "Yuan et al. 2024, arXiv 2405.17484", "pairs of reflections", _hra, 1e-3,
    ),
    _method(
        "psoft", "PsoftConfig", "a rotation within the principal subspace of the matrix",
        "PSOFT, arXiv 2505.11235", "half the rank", _psoft, 1e-3,
    ),
    _method(
        "road", "RoadConfig", "the outputs turned and scaled in pairs",
        "Liao and Monz 2024, arXiv 2409.00119", "switch", _road, 3e-3,
        adds=_BOTH, merge=f"{_AS_ONE}; the bias alike",
    ),
    _method(
        "fourierft", "FourierFTConfig", "a few frequencies of the change of a matrix",
        "Gao et al. 2024, arXiv 2405.03003", "frequencies", _coefficients, 1e-2,
    ),
    _method(
        "waveft", "WaveFTConfig", "a few wavelets of the change of a matrix",
        "WaveFT, arXiv 2505.12532", "wavelets", _coefficients, 1e-2,
    ),
    _method(
        "c3a", "C3AConfig", "a change made of circulant blocks",
        "Chen et al. 2024, arXiv 2407.19342", "switch", _c3a, 1e-2,
    ),
    _method(
        "shira", "ShiraConfig", "entries of a matrix drawn at random",
        "Bhardwaj et al. 2024, arXiv 2406.13175",
        "as many elements as LoRA of that rank", _entries, 1e-3,
    ),
    _method(
        "supertuning", "SupertuningConfig", "the largest entries of a matrix",
        "Super-Tuning, arXiv 2607.09287", "as many elements as LoRA of that rank", _entries, 1e-3,
    ),
    _method(
        "miss", "MissConfig", "one small matrix, spread over groups of inputs",
        "Kang and Yin 2024, arXiv 2409.15371", "rank", _miss, 1e-3,
    ),
    _method(
        "gralora", "GraloraConfig", "four low-rank products, one a quarter of the matrix",
        "GraLoRA, arXiv 2505.20355", "rank of a quarter", _gralora, 1e-3,
    ),
    _method(
        "hira", "HiraConfig", "a low-rank product that multiplies the frozen matrix",
        "Huang et al. 2025, ICLR", "rank", _factors, 1e-3,
    ),
    _method(
        "deft", "DeftConfig", "a direction projected out of the matrix, another put in",
        "DEFT, as in the library", "rank", _factors, 1e-3,
    ),
    _method(
        "glora", "GloraConfig", "low-rank changes that add and multiply, of weight and bias",
        "Chavan et al. 2023, arXiv 2306.07967", "rank", _glora, 1e-3,
        adds=_BOTH, merge=f"{_AS_ONE}; the bias alike",
    ),
    _method(
        "peanut", "PeanutConfig", "a small network that reads the frozen weights",
        "PEANuT, arXiv 2410.01870", "hidden width", _peanut, 1e-3,
    ),
    _method(
        "delora", "DeloraConfig", "a low-rank product with normed directions and one strength",
        "Bini et al. 2025, arXiv 2503.18225", "rank", _delora, 1e-3,
    ),
    _method(
        "osf", "OSFConfig", "the least singular directions of a matrix, trained freely",
        "OSF, arXiv 2504.07097", "directions", _osf, 3e-4,
    ),
    _method(
        "poly", "PolyConfig", "four low-rank products and how much of each",
        "Ponti et al. 2022, arXiv 2202.13914", "rank", _poly, 1e-3,
        pack=_DRAWS,
    ),
    _method(
        "vblora", "VBLoRAConfig", "low-rank factors mixed from a bank of vectors",
        "Li et al. 2024, arXiv 2405.15179", "rank", _vblora, 1e-2,
        identity=False,
    ),
    _method(
        "randlora", "RandLoraConfig", "a sum of random products, each scaled",
        "Albert et al. 2025, arXiv 2502.00987", "switch", _randlora, 1e-3,
    ),
    _method(
        "pvera", "PveraConfig", "VeRA with noise while it is trained",
        "PVeRA, arXiv 2512.07703", "rank", _pvera, 1e-2,
        pack=_DRAWS,
    ),
    _method(
        "tinylora", "TinyLoraConfig", "a few numbers that steer two singular directions",
        "TinyLoRA, arXiv 2602.04118", "numbers", _coefficients, 1e-2,
    ),
    Method(
        name="xlora",
        family="opaque",
        summary="four low-rank products, and for every token how much of each",
        paper="Buehler and Buehler 2024, arXiv 2402.07148",
        places=LINEARS,
        size="rank",
        identity=True,
        rates=Rates(low=1e-4, default=1e-3, high=1e-2),
        cost=_xlora,
        attach="autopeft.methods.xlora:attach",
        scale=2.0,
        adds=_WEIGHT,
        merge="the shares of the experts differ from one token to the next",
    ),
)  # fmt: skip
