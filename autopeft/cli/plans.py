"""The commands that train a plan, and print its schema."""

from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autopeft.answer import with_perplexity
from autopeft.cli import options as opt
from autopeft.cli.console import INTERRUPTED, note, say, show_json
from autopeft.cli.notes import note_surprises
from autopeft.cli.records import (
    RecipeOptions,
    SearchOptions,
    SourceOptions,
    TaskOptions,
    request_of,
    unfolded,
)
from autopeft.errors import OptionError
from autopeft.files import results_folder, write_json
from autopeft.plan import Plan, read_plan
from autopeft.plan import schema as plan_schema
from autopeft.records import to_json
from autopeft.study import Where

if TYPE_CHECKING:
    from autopeft.training.course import How
    from autopeft.training.production import Outcome

_TELL_EVERY = 0.1
Bits = Literal["int8", "nf4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongOptions:
    """How a long training is gone through; the plan says nothing of it."""

    accumulate: Annotated[
        int,
        typer.Option(help="Take every batch in so many pieces; gives the same to rounding.", min=1),
    ] = 1
    checkpoint_every: Annotated[
        int | None,
        typer.Option(help="Keep the state every so many steps; the same command goes on.", min=1),
    ] = None
    early_stopping: Annotated[
        int | None,
        typer.Option(help="End after so many epochs without a better validation score.", min=1),
    ] = None
    shard: Annotated[
        bool, typer.Option("--shard", help="Divide the frozen weights among the processes.")
    ] = False
    quantise: Annotated[
        Bits | None,
        typer.Option(help="Hold the frozen matrices in so few bits; needs bitsandbytes."),
    ] = None
    logs: Annotated[
        bool, typer.Option("--logs", help="Write logs for TensorBoard beside the weights.")
    ] = False


@unfolded
def train(
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN]", help="A plan.json.")] = None,
    configuration: opt.ConfigurationOption = None,
    budget: opt.LimitOption = None,
    *,
    source: SourceOptions,
    task: TaskOptions,
    recipe: RecipeOptions,
    long: LongOptions,
    seed: opt.SeedOption = None,
    threads: opt.ThreadsOption = None,
    memory: opt.MemoryOption = None,
    out: opt.OutOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Train a plan, or a published configuration, from scratch and report its test score.

    Model and data are the plan's own unless others are named. With --configuration there is no
    plan yet: model and data are named, and what is written to the plan goes along.

    Several processes train it together with `accelerate launch --multi_gpu --num_processes 2 -m
    autopeft train ...`, or torchrun; each takes its part of every batch.
    """
    from autopeft.training.team import is_first

    if (plan is None) == (configuration is None):
        raise OptionError("name either a plan.json or a --configuration, and not both")
    if plan:
        if any(option is not None for option in (budget, *astuple(task), *astuple(recipe))):
            raise OptionError(
                "budget, columns, task and recipe are the plan's own: leave these options out, or "
                "train a --configuration"
            )
        if source.data is None and (source.validation or source.test):
            raise OptionError(
                "--validation and --test go with --data: the plan's own data has its own parts"
            )
        read, usual = read_plan(plan), plan.parent / "trained"
    else:
        name = configuration or ""
        search = SearchOptions(budget=budget, seed=seed)
        read = _named(name, source, task, recipe, search)
        usual = Path("autopeft-runs") / name
    given = opt.data_of(source.data, source.validation, source.test) if source.data else None
    how = _how(long, memory)
    first_seed = read.seed if seed is None else opt.count_of("--seed", seed, 0)
    threads = None if threads is None else opt.count_of("--threads", threads, 1)
    files = given or read.where.data
    where = Where(model=source.model or read.where.model, data=files)
    with results_folder(Path(out) if out else usual) as folder:
        try:
            outcome = _followed(read, where, folder, first_seed, threads, how)
        except KeyboardInterrupt:
            note(
                "interrupted: the same command goes on from the last checkpoint"
                if long.checkpoint_every
                else "interrupted: nothing of this training is kept"
            )
            raise typer.Exit(INTERRUPTED) from None
        if not is_first():
            return
        write_json(folder / "plan.json", read.to_json())
        file = write_json(folder / "outcome.json", to_json(outcome))
    if as_json:
        show_json({**to_json(outcome), "out": str(folder)})
        return
    _tell(outcome)
    say(f"\nweights  {folder / 'adapter.safetensors'}\noutcome  {file}")


def _named(
    name: str,
    source: SourceOptions,
    task: TaskOptions,
    recipe: RecipeOptions,
    search: SearchOptions,
) -> Plan:
    """Make the plan of a published configuration.

    A budget counts where it is named, as an option or in the settings; the usual one does not.
    """
    from autopeft.search_spaces.written.named import named_configuration
    from autopeft.settings import settings
    from autopeft.wiring.named import plan_of

    named_configuration(name)  # an unknown name is refused before any file is read
    request = request_of(source, task, recipe, search)
    if "budget" not in settings(budget=search.budget).model_fields_set:
        request = replace(request, budget="")
    plan = plan_of(request, name)
    note_surprises(request, plan.backbone, plan.task)
    return plan


def _tell(outcome: "Outcome") -> None:
    test, name = outcome.test, outcome.metric
    validation = with_perplexity(name, outcome.validation)
    tested = with_perplexity(name, test.mean)
    same = "the plan's trial gave" if outcome.same_data else "on other data the plan's trial gave"
    before = "" if outcome.promised is None else f" ({same} {outcome.promised:.4f})"
    say(f"{name} on validation {validation}{before}")
    say(
        f"{name} on test       {tested} (95% interval {test.low:.4f} to "
        f"{test.high:.4f}, {outcome.test_examples:,} examples)"
    )
    divided = " with the frozen weights divided among them" if outcome.sharded else ""
    processes = f", in {outcome.processes} processes{divided}" if outcome.processes > 1 else ""
    for told in outcome.told:
        note(told)
    say(f"operators  {', '.join(outcome.operators) or 'those of torch'}{processes}")


def _how(long: LongOptions, memory: str | None) -> "How":
    """Read how a training is gone through."""
    from autopeft.settings import settings
    from autopeft.training.course import How

    return How(
        accumulate=long.accumulate,
        checkpoint_every=long.checkpoint_every,
        patience=long.early_stopping,
        logs=long.logs,
        shard=long.shard,
        quantise=long.quantise,
        memory=settings(memory=memory).memory_bytes,
    )


def _followed(
    plan: Plan, where: Where, folder: Path, seed: int, threads: int | None, how: "How"
) -> "Outcome":
    """Train a plan with a bar on a terminal, and a line for every tenth elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    from autopeft.training.production import Outcome
    from autopeft.training.production import train as train_plan
    from autopeft.training.team import is_first

    console = Console(stderr=True, quiet=not is_first())
    with Progress(console=console, disable=not console.is_terminal) as bars:
        task, told = bars.add_task("training", total=1.0), 0.0
        for event in train_plan(plan, where, folder, seed=seed, threads=threads, how=how):
            if isinstance(event, Outcome):
                return event
            bars.update(task, completed=event)
            if is_first() and not console.is_terminal and event >= told + _TELL_EVERY:
                told = event
                note(f"training {event:.0%}")
    raise RuntimeError("training ended without an outcome")


def schema(
    _of: Annotated[
        Literal["plan"], typer.Argument(metavar="plan", help="What the schema is of.")
    ] = "plan",
) -> None:
    """Print the JSON Schema of a plan."""
    show_json(plan_schema())
