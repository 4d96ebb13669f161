"""The commands around a plan: export it, train it, print its schema."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import INTERRUPTED, note, say, show_json
from autopeft.cli.inspect import StudyArgument
from autopeft.errors import OptionError, PlanError, StudyError
from autopeft.files import results_folder, write_json, write_text
from autopeft.plan import Plan
from autopeft.plan import schema as plan_schema
from autopeft.records import to_json
from autopeft.study import Where

if TYPE_CHECKING:
    from autopeft.training.production import Outcome

_TELL_EVERY = 0.1


def export(
    study: StudyArgument,
    out: opt.OutOption = None,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Write the plan and the report of a study.

    Raises:
        StudyError: The study has no answer yet.
    """
    from autopeft.report import report
    from autopeft.settings import settings

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    concluded = opened.answer(found.id)
    if concluded is None:
        raise StudyError(f"study {found.id} has no answer yet: run its search again to the end")
    answer, plan = concluded
    text = report(found, opened.trials(found.id), answer, plan)
    with results_folder(opt.folder_of(out, found.id)) as folder:
        plan_file = write_json(folder / "plan.json", plan.to_json())
        report_file = write_text(folder / "report.md", text)
    if as_json:
        show_json({"study": found.id, "plan": str(plan_file), "report": str(report_file)})
    else:
        say(f"plan    {plan_file}\nreport  {report_file}")


def train(
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN]", help="A plan.json.")] = None,
    configuration: opt.ConfigurationOption = None,
    budget: opt.LimitOption = None,
    data: opt.DataOption = None,
    out: opt.OutOption = None,
    model: opt.ModelOption = None,
    validation: opt.ValidationOption = None,
    test: opt.TestOption = None,
    text: opt.TextOption = None,
    text_pair: opt.PairOption = None,
    label: opt.LabelOption = None,
    split: opt.SplitOption = None,
    task: opt.KindOption = None,
    metric: opt.MetricOption = None,
    head: opt.HeadOption = None,
    loss: opt.LossOption = None,
    epochs: opt.EpochsOption = None,
    precision: opt.PrecisionOption = None,
    seed: opt.SeedOption = None,
    threads: opt.ThreadsOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Train a plan, or a published configuration, from scratch and report its test score.

    Model and data are the plan's own unless others are named. With --configuration there is no
    plan yet: model and data are named, and what is written to the plan goes along.

    Raises:
        OptionError: Neither or both are named, or options that a plan answers by itself.
    """
    if (plan is None) == (configuration is None):
        raise OptionError("name either a plan.json or a --configuration, and not both")
    if plan:
        chosen = (
            budget,
            text,
            text_pair,
            label,
            split,
            task,
            metric,
            head,
            loss,
            epochs,
            precision,
        )
        if any(option is not None for option in chosen):
            raise OptionError(
                "budget, columns, task and recipe are the plan's own: leave these options out, or "
                "train a --configuration"
            )
        read, usual = read_plan(plan), plan.parent / "trained"
    else:
        files = opt.data_of(data, validation, test)
        name = configuration or ""
        read = _named(
            name, budget, model=model, data=files, seed=seed, epochs=epochs, text=text,
            pair=text_pair, label=label, split=split, kind=task, metric=metric, head=head,
            loss=loss, precision=precision,
        )  # fmt: skip
        usual = Path("autopeft-runs") / name
    files = opt.data_of(data, validation, test) if data else read.where.data
    where = Where(model=model or read.where.model, data=files)
    with results_folder(Path(out) if out else usual) as folder:
        try:
            outcome = _followed(read, where, folder, read.seed if seed is None else seed, threads)
        except KeyboardInterrupt:
            note("interrupted: nothing of this training is kept")
            raise typer.Exit(INTERRUPTED) from None
        write_json(folder / "plan.json", read.to_json())
        file = write_json(folder / "outcome.json", to_json(outcome))
    if as_json:
        show_json({**to_json(outcome), "out": str(folder)})
        return
    _tell(outcome)
    say(f"\nweights  {folder / 'adapter.safetensors'}\noutcome  {file}")


def _named(name: str, budget: str | None, **chosen: Any) -> Plan:
    """Make the plan of a published configuration; a budget is needed where sizes follow from it."""
    from dataclasses import replace

    from autopeft import wiring
    from autopeft.search_spaces.written.named import named_configuration

    named = named_configuration(name)
    request = opt.request_of(budget=budget, space=None, strategy=None, finals=None, **chosen)
    if budget is None and not named.filled:
        request = replace(request, budget="")
    return wiring.plan_of(request, name)


def _tell(outcome: "Outcome") -> None:
    test, name = outcome.test, outcome.metric
    same = "the plan's trial gave" if outcome.same_data else "on other data the plan's trial gave"
    before = "" if outcome.promised is None else f" ({same} {outcome.promised:.4f})"
    say(f"{name} on validation {outcome.validation:.4f}{before}")
    say(
        f"{name} on test       {test.mean:.4f} (95% interval {test.low:.4f} to "
        f"{test.high:.4f}, {outcome.test_examples:,} examples)"
    )


def _followed(plan: Plan, where: Where, folder: Path, seed: int, threads: int | None) -> "Outcome":
    """Train a plan with a bar on a terminal, and a line for every tenth elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    from autopeft.training.production import Outcome
    from autopeft.training.production import train as train_plan

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        task, told = bars.add_task("training", total=1.0), 0.0
        for event in train_plan(plan, where, folder, seed=seed, threads=threads):
            if isinstance(event, Outcome):
                return event
            bars.update(task, completed=event)
            if not console.is_terminal and event >= told + _TELL_EVERY:
                told = event
                note(f"training {event:.0%}")
    raise RuntimeError("training ended without an outcome")


def schema() -> None:
    """Print the JSON Schema of a plan."""
    show_json(plan_schema())


def read_plan(file: Path) -> Plan:
    """Read a plan from a file.

    Raises:
        PlanError: There is no such file, or it holds no plan.
    """
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise PlanError(f"cannot read the plan {str(file)!r}: {error}") from None
    return Plan.from_json(document)
