"""What autopeft knows of the method without building it; loads no torch."""

from importlib import resources

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, Cost, Method, Rates


def cost(_backbone: Backbone, site: Site) -> Cost:
    """Count one number for each group of outputs."""
    return Cost(unit=1, most=site.outputs)


METHOD = Method(
    name="group_gain",
    family="additive",
    summary="the outputs of a linear layer, scaled in a few groups",
    paper="none: an example of a plug-in",
    places=LINEARS,
    size="groups",
    identity=True,
    rates=Rates(low=1e-3, default=1e-2, high=1e-1),
    cost=cost,
    attach="autopeft_gain.gain:attach",
    adds=frozenset({"weight", "bias"}),
    merges=True,
    merge="the rows of W and the bias are multiplied by the gains",
)

SPACE = resources.files("autopeft_gain") / "gains.yaml"
