"""The strategies by name. What one needs is imported only when it is chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from autopeft.errors import OptionError
from autopeft.ports import Strategy
from autopeft.study import Study

if TYPE_CHECKING:
    from autopeft.ports import Inheritance, Structures
    from autopeft.search_spaces.space import SearchSpace
    from autopeft.strategies.warm_start import Point

Needs = Literal["nothing", "inheritance", "structures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A strategy: its module in `strategies`, its class, and what it is given beside the study."""

    module: str
    name: str
    summary: str
    needs: Needs = "nothing"


STRATEGIES: dict[str, Entry] = {
    "autopeft": Entry(
        module="autopeft",
        name="AutopeftStrategy",
        summary="supernet, evolution on inherited scores, then Bayesian optimisation that knows "
        "them; the worse trials stop early",
        needs="inheritance",
    ),
    "tpe": Entry(
        module="tpe",
        name="TpeStrategy",
        summary="tree-structured Parzen estimators over sizes and learning rates (Optuna)",
    ),
    "gp": Entry(
        module="gp",
        name="GpStrategy",
        summary="Gaussian processes (Optuna), over candidates within the budget: in seconds",
    ),
    "saasbo": Entry(
        module="saasbo",
        name="SaasboStrategy",
        summary="AUTOPEFT's fully Bayesian sparse Gaussian processes (BoTorch): in minutes; the "
        "first 20 trials are random draws",
    ),
    "nsga2": Entry(
        module="nsga2",
        name="Nsga2Strategy",
        summary="genetic search for a Pareto front of several objectives",
    ),
    "evolution": Entry(
        module="evolution",
        name="EvolutionStrategy",
        summary="NOAH's and AutoFormer's evolution on scores inherited from a supernet",
        needs="inheritance",
    ),
    "s4": Entry(
        module="s4",
        name="S4Strategy",
        summary="stages: layer groups, allocation, which groups, which methods in each",
    ),
    "s3pet": Entry(
        module="s3pet",
        name="S3petStrategy",
        summary="S3PET's differentiable gates under a shifted global sigmoid; with --space s3pet",
        needs="structures",
    ),
    "bipeft": Entry(
        module="bipeft",
        name="BipeftStrategy",
        summary="BIPEFT's gates and sizes in turn, pruned to the budget; with --space bipeft-s1",
        needs="structures",
    ),
    "random": Entry(
        module="random",
        name="RandomStrategy",
        summary="uniform draws within the budget",
    ),
}


def entry_of(name: str) -> Entry:
    """Find a strategy.

    Raises:
        OptionError: Those that there are are named.
    """
    if name not in STRATEGIES:
        raise OptionError(f"there is no strategy {name!r}: there are {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def options_of(name: str, texts: Iterable[str]) -> Mapping[str, str]:
    """Read a strategy's options, each written as ``KEY=VALUE``.

    Raises:
        OptionError: The strategy is unknown, or does not know an option or its value.
    """
    entry, options = entry_of(name), {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise OptionError(f"cannot read the option {text!r}: write it as KEY=VALUE")
        options[key.strip()] = value.strip()
    module = import_module(f"autopeft.strategies.{entry.module}")
    if (known := getattr(module, "Options", None)) is not None:
        known.parse(options)
    elif options:
        raise OptionError(f"the strategy {name!r} has no options, and got {', '.join(options)}")
    return options


def check_space(name: str, options: Mapping[str, str], space: "SearchSpace") -> None:
    """Refuse a space that a strategy cannot search with these options, before anything is loaded.

    Raises:
        OptionError: An option makes no sense in this space.
        SpaceError: The strategy cannot search it at all.
    """
    module = import_module(f"autopeft.strategies.{entry_of(name).module}")
    if (check := getattr(module, "check_space", None)) is not None:
        check(space, options)


def strategy_of(
    study: Study,
    shared: "Inheritance | Structures | None" = None,
    points: "Sequence[Point]" = (),
) -> Strategy:
    """Build the strategy of a study, with the baselines before and between its proposals.

    ``shared`` is what strategies go by that need an inheritance or structures, ``points`` are what
    earlier studies have found.
    """
    from autopeft.strategies.baselines import BaselinesFirst
    from autopeft.strategies.warm_start import WarmStart

    entry = entry_of(study.strategy)
    module = import_module(f"autopeft.strategies.{entry.module}")
    build: Any = getattr(module, entry.name)
    if entry.needs != "nothing" and shared is None:
        raise ValueError(f"the strategy {study.strategy} needs its {entry.needs}")
    inner: Strategy = build(study) if entry.needs == "nothing" else build(study, shared)
    return BaselinesFirst(study, WarmStart(study, inner, points) if points else inner)
