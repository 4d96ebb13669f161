"""A plan of a published configuration, without a study."""

from datetime import UTC, datetime

from autopeft.budget import Budget
from autopeft.evidence import Provenance
from autopeft.plan import NAMED, VERSION, Plan
from autopeft.wiring.conclude import versions
from autopeft.wiring.request import Request, ground_of, prompts_of, recipe_of, with_room


def plan_of(request: Request, name: str) -> Plan:
    """Make a plan of a published configuration, without a study; nothing of it is measured.

    Where its sizes are fixed and no budget is named, there is none to keep.

    Raises:
        AutopeftError: There is no such configuration, it does not fit backbone or budget, or model
            or data cannot be used.
    """
    from autopeft.search_spaces.catalog import slots_of
    from autopeft.search_spaces.written.named import named_configuration
    from autopeft.strategies.recipes import default_recipe

    named = named_configuration(name)
    budget = Budget.parse(request.budget) if request.budget else None
    ground = ground_of(request)
    backbone = ground.backbone
    ceiling = budget.ceiling(backbone.parameters) if budget else None
    slots = named.slots(slots_of(backbone))
    configuration = named.within(backbone, slots, ceiling)
    parameters = configuration.parameters(slots)
    task = with_room(ground, prompts_of(slots, map(max, zip(*configuration.sizes, strict=True))))
    return Plan(
        version=VERSION,
        backbone=backbone,
        task=task,
        where=request.where,
        slots=slots,
        configuration=configuration,
        recipe=default_recipe(recipe_of(request), configuration.methods(slots)),
        seed=request.seed,
        parameters=parameters,
        head_parameters=0 if task.head == "lm" else (backbone.width + 1) * task.outputs,
        scaffold_parameters=None,
        expected=None,
        provenance=Provenance(
            study="",
            trial=0,
            strategy=NAMED,
            space=name,
            budget=budget.text if budget else str(parameters),
            ceiling=parameters if ceiling is None else ceiling,
            trials=0,
            verdict="not compared",
            versions=versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
