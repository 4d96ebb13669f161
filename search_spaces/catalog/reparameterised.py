"""Methods that add to a frozen matrix: what they learn can be merged into it."""

from collections.abc import Callable
from dataclasses import replace

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, Cost, Method, Part, Rates

_WEIGHT: frozenset[Part] = frozenset({"weight"})


def factors(width: int) -> tuple[int, int]:
    """Split a width into two factors, the smaller first, as near to each other as it divides.

    Example:
        >>> factors(768), factors(3072), factors(31)
        ((24, 32), (48, 64), (1, 31))
    """
    smaller = next(m for m in range(int(width**0.5), 0, -1) if width % m == 0)
    return smaller, width // smaller


def _low_rank(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.inputs + site.outputs, most=min(site.inputs, site.outputs))


def _dora(backbone: Backbone, site: Site) -> Cost:
    return replace(_low_rank(backbone, site), fixed=site.outputs)


def _lora_fa(backbone: Backbone, site: Site) -> Cost:
    return replace(_low_rank(backbone, site), unit=site.outputs)


def _vera(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=1, fixed=site.outputs)  # a rank above the widths is usual here


def _loha(backbone: Backbone, site: Site) -> Cost:
    return replace(_low_rank(backbone, site), unit=2 * (site.inputs + site.outputs))


def _lokr(_backbone: Backbone, site: Site) -> Cost | None:
    (outer_out, inner_out), (outer_in, inner_in) = factors(site.outputs), factors(site.inputs)
    most = min((max(inner_out, inner_in) - 1) // 2, inner_out, inner_in)
    if most == 0:
        return None  # the second factor is too small to have a rank
    return Cost(unit=inner_out + inner_in, fixed=outer_out * outer_in, most=most)


def _krona(_backbone: Backbone, site: Site) -> Cost:
    (outer_out, inner_out), (outer_in, inner_in) = factors(site.outputs), factors(site.inputs)
    return Cost(unit=outer_out * outer_in + inner_out * inner_in, most=1)


def _moslora(backbone: Backbone, site: Site) -> Cost:
    return replace(_low_rank(backbone, site), square=1)


def _adalora(backbone: Backbone, site: Site) -> Cost:
    return replace(_low_rank(backbone, site), unit=site.inputs + site.outputs + 1)


def _method(
    name: str,
    *,
    summary: str,
    paper: str,
    cost: Callable[[Backbone, Site], Cost | None],
    merge: str,
    peft: str,
    size: str = "rank",
    scale: float | None = 2.0,
    default: float = 1e-3,
    elastic: bool = True,
    takes: bool = False,
    outer: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
) -> Method:
    return Method(
        name=name,
        family="reparameterised",
        summary=summary,
        paper=paper,
        places=LINEARS,
        size=size,
        identity=True,
        rates=Rates(low=default / 10, default=default, high=default * 10),
        cost=cost,
        attach=f"autopeft.methods.{name}:attach",
        scale=scale,
        takes=_WEIGHT if takes else frozenset[Part](),
        adds=_WEIGHT,
        elastic=elastic,
        merges=True,
        merge=merge,
        peft=peft,
        outer=outer,
        rows=rows,
    )


METHODS: tuple[Method, ...] = (
    _method(
        "lora",
        summary="a low-rank product added to a frozen matrix",
        paper="Hu et al. 2021, arXiv 2106.09685",
        cost=_low_rank,
        merge="W + s · Uᵀ D",
        peft="LoraConfig",
        outer=("up",),
        rows=("up",),
    ),
    _method(
        "dora",
        summary="LoRA for the direction of a matrix, and a vector for its magnitude",
        paper="Liu et al. 2024, arXiv 2402.09353",
        cost=_dora,
        takes=True,
        merge="(m / n) ∘ (W + s · Uᵀ D), n its row norms",
        peft="LoraConfig(use_dora=True)",
    ),
    _method(
        "lora_fa",
        summary="LoRA whose first factor is random and frozen",
        paper="Zhang et al. 2023, arXiv 2308.03303",
        cost=_lora_fa,
        default=2e-3,
        merge="W + s · Uᵀ D",
        peft="LoraConfig",
        outer=("up",),
        rows=("up",),
    ),
    _method(
        "vera",
        summary="two trained vectors around random matrices that all layers share",
        paper="Kopiczko et al. 2023, arXiv 2310.11454",
        cost=_vera,
        scale=None,
        default=1e-2,
        elastic=False,  # the random matrices are scaled by the rank
        merge="W + diag(c) Bᵀ diag(d) A",
        peft="VeraConfig",
        outer=("outer",),
    ),
    _method(
        "lokr",
        summary="a Kronecker product with a low-rank second factor",
        paper="Yeh et al. 2023, arXiv 2309.14859",
        cost=_lokr,
        scale=1.0,
        merge="W + s · K ⊗ (Uᵀ D)",
        peft="LoKrConfig",
        outer=("outer",),
        rows=("up",),
    ),
    _method(
        "krona",
        summary="a Kronecker product of two full factors",
        paper="Edalati et al. 2022, arXiv 2212.10650",
        cost=_krona,
        size="switch",
        scale=1.0,
        elastic=False,
        merge="W + s · K ⊗ F",
        peft="LoKrConfig",
        outer=("outer",),
    ),
    _method(
        "loha",
        summary="the elementwise product of two low-rank matrices",
        paper="Hyeon-Woo et al. 2021, arXiv 2108.06098",
        cost=_loha,
        scale=1.0,
        merge="W + s · (U₁ᵀ D₁) ∘ (U₂ᵀ D₂)",
        peft="LoHaConfig",
        outer=("second_down",),
        rows=("first_down", "second_down"),
    ),
    _method(
        "moslora",
        summary="LoRA with a trained mixer between its factors",
        paper="Wu et al. 2024, arXiv 2406.11909",
        cost=_moslora,
        elastic=False,  # a smaller mixer is a corner of a larger one
        merge="W + s · Uᵀ M D",
        peft="",
        outer=("up",),
        rows=("down", "up"),
    ),
    _method(
        "adalora",
        summary="low-rank updates that share a budget of ranks, pruned while they train",
        paper="Zhang et al. 2023, arXiv 2303.10512",
        cost=_adalora,
        merge="W + s · Pᵀ diag(λ) Q",
        peft="AdaLoraConfig",
    ),
    _method(
        "dylora",
        summary="LoRA whose every smaller rank works as well",
        paper="Valipour et al. 2022, arXiv 2210.07558",
        cost=_low_rank,
        merge="W + s · Uᵀ D",
        peft="LoraConfig",
        outer=("up",),
        rows=("up",),
    ),
)
