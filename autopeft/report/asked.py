"""What a study was asked: the first table of its report."""

from decimal import Decimal

from autopeft.answer import counted, percent
from autopeft.architectures.reading import architecture_of
from autopeft.backbone import Backbone
from autopeft.plan import Plan
from autopeft.report.content import Table
from autopeft.study import Study, first_tried


def asked(study: Study, plan: Plan) -> tuple[Table, ...]:
    """Tell what the study was asked."""
    task = study.task
    parts = " / ".join(f"{n:,}" for n in task.examples)
    rows = [
        ("backbone", _backbone(study)),
        (
            "data",
            (
                f"{study.where.data.train}, {task.kind}, {parts} for training / validation / "
                "test; the search never reads the test part"
            ),
        ),
        ("metric", f"{task.metric} on the validation part, head `{task.head}`"),
        (
            "budget",
            (
                f"{study.budget.text} = at most {study.ceiling:,} trained parameters, "
                f"and {plan.head_parameters:,} in the task head{_scaffold(plan)}"
            ),
        ),
        ("space", f"{study.space.name}, {Decimal(study.space.size):.2e} configurations"),
        ("strategy", f"{study.strategy}, seed {study.seed}{_options(study)}"),
        ("objectives", _objectives(study)),
        ("rungs", _rungs(study)),
    ]
    if study.earlier:
        rows.append(("first points", f"from {', '.join(map(_earlier, study.earlier))}"))
    return (Table(caption="What the study was asked", head=("", ""), rows=tuple(rows)),)


def by_structure(backbone: Backbone) -> bool:
    """Tell whether no architecture file says where the sites are, so that they were found."""
    return architecture_of(backbone.architecture) is None


def _backbone(study: Study) -> str:
    backbone = study.backbone
    text = (
        f"{backbone.name} ({backbone.architecture}, {counted(backbone.blocks, 'block')} of "
        f"width {backbone.width}, {backbone.parameters:,} parameters)"
    )
    if not by_structure(backbone):
        return text
    return (
        f"{text}; where its sites are was found by its structure: "
        f"`autopeft backbone {study.where.model}` shows them"
    )


def _scaffold(plan: Plan) -> str:
    if not plan.scaffold_parameters:
        return ""
    return f", {plan.scaffold_parameters:,} beside them fell away when training ended"


def _options(study: Study) -> str:
    if not study.options:
        return ""
    return ", options " + ", ".join(f"{name}={value}" for name, value in study.options.items())


def _earlier(earlier: str) -> str:
    study, numbers = first_tried(earlier)
    if numbers is None:
        return f"the earlier study {study}"
    if not numbers:
        return f"the earlier study {study} (nothing of it fits)"
    which = "trial" if len(numbers) == 1 else "trials"
    return f"{which} {', '.join(map(str, numbers))} of the earlier study {study}"


def _objectives(study: Study) -> str:
    return ", ".join(study.objectives) if len(study.objectives) > 1 else "the score alone"


def _rungs(study: Study) -> str:
    if len(study.rungs) == 1:
        return "every trial is trained to the end"
    *pauses, _ = map(percent, study.rungs)
    return f"a trial pauses at {', '.join(pauses)} of its training; the best third so far goes on"
