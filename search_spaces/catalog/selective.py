"""Methods that train some of the backbone's own weights, in place or as a difference to them."""

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, NORMS, Cost, Method, Part, Rates
from autopeft.search_spaces.within import layers_within

_WEIGHT: frozenset[Part] = frozenset({"weight"})
_BIAS: frozenset[Part] = frozenset({"bias"})
_REPLACED = "the backbone's own are replaced"


def _bitfit(backbone: Backbone, site: Site) -> Cost | None:
    if site.kind != "block":
        return Cost(unit=site.outputs, most=1)  # a layer without a bias is given one
    biases = sum(layer.outputs for layer in layers_within(backbone, site) if layer.bias)
    return Cost(unit=biases, most=1) if biases else None


def _layer_norm(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.outputs * (1 + site.bias), most=1)


def _ln_fit(_backbone: Backbone, site: Site) -> Cost:
    return Cost(unit=site.outputs, most=1)


def _full(backbone: Backbone, site: Site) -> Cost | None:
    weights = 0
    for layer in layers_within(backbone, site):
        rows = layer.inputs if layer.kind == "linear" else 1
        weights += layer.outputs * (rows + layer.bias)
    return Cost(unit=weights, most=1) if weights else None


def _mask(_backbone: Backbone, site: Site) -> Cost:
    unit = site.inputs + site.outputs
    return Cost(unit=unit, most=site.inputs * site.outputs // unit)


METHODS: tuple[Method, ...] = (
    Method(
        name="bitfit",
        family="selective",
        summary="the biases of a block, or of one layer, trained in place; added where absent",
        paper="Ben Zaken et al. 2022, arXiv 2106.10199; Hu et al. 2022, arXiv 2206.07382",
        places=("block", *LINEARS, *NORMS),
        size="switch",
        identity=True,
        rates=Rates(low=1e-4, default=2e-3, high=2e-2),
        cost=_bitfit,
        attach="autopeft.methods.bitfit:attach",
        takes=_BIAS,
        merges=True,
        merge=f"biases: {_REPLACED}; a layer that came without a bias has no place for one",
        peft="LoraConfig(bias='all')",
        outer=("*",),
    ),
    Method(
        name="layer_norm",
        family="selective",
        summary="weight and bias of a norm, trained in place",
        paper="Zhao et al. 2024, arXiv 2312.11420",
        places=NORMS,
        size="switch",
        identity=True,
        rates=Rates(low=1e-4, default=2e-3, high=2e-2),
        cost=_layer_norm,
        attach="autopeft.methods.layer_norm:attach",
        takes=_WEIGHT | _BIAS,
        merges=True,
        merge=f"weights and biases: {_REPLACED}",
        peft="LNTuningConfig",
        outer=("weight", "bias"),
    ),
    Method(
        name="ln_fit",
        family="selective",
        summary="the weight of a norm alone, trained in place",
        paper="Hu et al. 2022 (S3PET), arXiv 2206.07382",
        places=NORMS,
        size="switch",
        identity=True,
        rates=Rates(low=1e-4, default=2e-3, high=2e-2),
        cost=_ln_fit,
        attach="autopeft.methods.ln_fit:attach",
        takes=_WEIGHT,
        merges=True,
        merge=f"weights: {_REPLACED}",
        outer=("weight",),
    ),
    Method(
        name="full",
        family="selective",
        summary="all of a block, or the matrices of one of its sub-layers, trained in place",
        paper="Lee et al. 2019 (last blocks), arXiv 1911.03090; "
        "Gheini et al. 2021 (cross-attention), arXiv 2104.08771",
        places=("block", "attention", "cross", "ffn"),
        size="switch",
        identity=True,
        rates=Rates(low=1e-6, default=5e-5, high=1e-3),
        cost=_full,
        attach="autopeft.methods.full:attach",
        takes=_WEIGHT | _BIAS,
        merges=True,
        merge=f"weights and biases: {_REPLACED}",
        outer=("*",),
    ),
    Method(
        name="magnitude_mask",
        family="selective",
        summary="the elements of a matrix that are smallest in magnitude (PaFi)",
        paper="Liao et al. 2023, arXiv 2305.16742",
        places=LINEARS,
        size="as many elements as LoRA of that rank",
        identity=True,
        rates=Rates(low=1e-5, default=5e-4, high=1e-2),
        cost=_mask,
        attach="autopeft.methods.magnitude_mask:attach",
        adds=_WEIGHT,
        merges=True,
        merge="W + Δ",
        outer=("values",),
    ),
    Method(
        name="fish_mask",
        family="selective",
        summary="the elements of a matrix with the largest Fisher information on the training data",
        paper="Sung et al. 2021, arXiv 2111.09839",
        places=LINEARS,
        size="as many elements as LoRA of that rank",
        identity=True,
        rates=Rates(low=1e-5, default=5e-4, high=1e-2),
        cost=_mask,
        attach="autopeft.methods.fish_mask:attach",
        adds=_WEIGHT,
        merges=True,
        merge="W + Δ",
    ),
)
