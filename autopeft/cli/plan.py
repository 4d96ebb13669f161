"""The commands that look at plans: show one, compare two, check one, hold weights against it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.answer import counted
from autopeft.cli import options as opt
from autopeft.cli.console import note, say, show_json, show_table
from autopeft.errors import PlanError
from autopeft.files import results_folder, write_json
from autopeft.plan import FILE, Plan, read_plan
from autopeft.records import to_json
from autopeft.signing import check as check_signature
from autopeft.signing import check_trusted, signed

if TYPE_CHECKING:
    from autopeft.production.serving import Verdict

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at plans.")
PlanArgument = Annotated[
    Path, typer.Argument(metavar="PLAN", help="A plan.json, or the directory that it lies in.")
]
CapOption = Annotated[
    int, typer.Option("--max-lora-rank", help="What vLLM is started with.", min=1)
]
_DIFFERENT = 2


@app.command("show")
def show(plan: PlanArgument, as_json: opt.JsonOption = False) -> None:
    """Show what a plan trains, how, and what is to be expected of it."""
    read = read_plan(plan)
    if as_json:
        show_json({"digest": read.digest, **_figures(read)})
        return
    share = read.parameters / read.backbone.parameters
    say(f"plan       {read.digest[:12]} of study {read.provenance.study or '(none)'}")
    say(f"backbone   {read.backbone.name} ({read.backbone.architecture})")
    say(f"trains     {read.configuration.summary(read.slots)}")
    say(
        f"parameters {read.parameters:,} ({share:.2%}), and {read.head_parameters:,} of the head; "
        f"the budget {read.provenance.budget} allows {read.provenance.ceiling:,}"
    )
    if expected := read.expected:
        seeds = counted(expected.seeds, "fresh seed")
        say(f"expected   {expected.metric} {expected.interval}, {seeds}")
    say(f"verdict    {read.provenance.verdict}")
    for line in _standing(read):
        say(line)


def _standing(plan: Plan) -> Iterator[str]:
    """Say what the plan's numbers rest on, as far as it says so."""
    if made := plan.transferred:
        yield f"transferred from plan {made.plan[:12]} for {made.backbone}: not verified here"
    if found := plan.evidence:
        machine = found.hardware.accelerator or found.hardware.processor
        yield f"measured   on {machine}, with {found.code[:20]}"
        for held in found.baselines:
            seeds = counted(held.seeds, "seed")
            difference = held.difference
            size = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
            yield f"against    {held.name}: {size}, {seeds}, {held.verdict}"
        if found.ranking:
            yield f"tau        {found.ranking.tau} over {found.ranking.pairs} configurations"
    if plan.signature:
        yield f"signed     with the key {plan.signature.key[:12]}"


def _figures(plan: Plan) -> dict[str, Any]:
    return {
        "backbone": plan.backbone.name,
        "trains": plan.configuration.summary(plan.slots),
        "parameters": plan.parameters,
        "head_parameters": plan.head_parameters,
        "ceiling": plan.provenance.ceiling,
        "expected": to_json(plan.expected) if plan.expected else None,
        "verdict": plan.provenance.verdict,
    }


_EVIDENCE = "evidence"


@app.command("diff")
def diff(one: PlanArgument, other: PlanArgument, as_json: opt.JsonOption = False) -> None:
    """List in what two plans differ."""
    first, second = read_plan(one), read_plan(other)
    rows = [*_cells_apart(first, second), *_fields_apart(first, second)]
    if as_json:
        show_json([{"where": w, "one": a, "other": b} for w, a, b in rows])
    elif rows:
        told = [(w, str(a), str(b)) for w, a, b in rows if not w.startswith(_EVIDENCE)]
        if len(told) < len(rows):
            told.append(("evidence", "differs", "see autopeft plan show, or --json"))
        show_table("", ("where", "one", "other"), told)
    else:
        say("the plans say the same")


def _cells_apart(one: Plan, other: Plan) -> list[tuple[str, Any, Any]]:
    left, right = _table(one), _table(other)
    return [
        (f"{slot} in block {block}", left.get((block, slot), 0), right.get((block, slot), 0))
        for block, slot in sorted(set(left) | set(right))
        if left.get((block, slot), 0) != right.get((block, slot), 0)
    ]


def _table(plan: Plan) -> dict[tuple[int, str], int]:
    return {
        (block, slot.name): size
        for block, row in enumerate(plan.configuration.sizes)
        for slot, size in zip(plan.slots, row, strict=True)
        if size
    }


def _fields_apart(one: Plan, other: Plan) -> list[tuple[str, Any, Any]]:
    """Compare all but the table, leaf by leaf."""
    left, right = (_leaves(_without_table(plan)) for plan in (one, other))
    return [
        (path, left.get(path, "-"), right.get(path, "-"))
        for path in dict.fromkeys((*left, *right))
        if left.get(path, "-") != right.get(path, "-")
    ]


def _without_table(plan: Plan) -> dict[str, Any]:
    document = plan.to_json()
    for key in ("configuration", "slots", "digest", "signature"):
        del document[key]
    del document["backbone"]["sites"]  # they follow from the rest
    return document


def _leaves(document: Any, path: str = "") -> dict[str, Any]:
    if isinstance(document, dict):
        found: dict[str, Any] = {}
        for key, value in document.items():
            found |= _leaves(value, f"{path}/{key}" if path else key)
        return found
    return {path: json.dumps(document) if isinstance(document, list) else document}


@app.command("transfer")
def transfer(
    plan: PlanArgument,
    to: Annotated[str, typer.Option("--to", help="A model of the same family, of another size.")],
    budget: opt.LimitOption = None,
    out: opt.OutOption = None,
) -> None:
    """Write the plan for a larger or smaller model of the same family; nothing is verified there.

    Cells go to their relative depth, and sizes grow or shrink with the budget.
    """
    from autopeft.production.transferring import transfer as moved

    before = read_plan(plan)
    made = moved(before, to, budget=budget)
    with results_folder(Path(out) if out else plan.parent / "transferred") as folder:
        file = write_json(folder / FILE, made.to_json())
    share = made.parameters / made.backbone.parameters
    say(f"trains     {made.configuration.summary(made.slots)}")
    say(f"parameters {made.parameters:,} ({share:.2%}) of {made.provenance.ceiling:,} allowed")
    if (length := made.task.max_length) < before.task.max_length:
        say(f"texts      are cut to {length} tokens: {made.backbone.name} has no more positions")
    say(f"plan       {file} (transferred: no score was measured on {made.backbone.name})")


@app.command("sign")
def sign(
    plan: PlanArgument,
    key: Annotated[Path, typer.Option("--key", help="A private ed25519 key, as PEM.")],
) -> None:
    """Sign a plan with an ed25519 key; the signature is written into it."""
    read = read_plan(plan)
    signature = signed(read.digest, key)
    write_json(_file_of(plan), replace(read, signature=signature).to_json())
    say(f"plan {read.digest[:12]} is signed with the key {signature.key[:12]}")


def _file_of(plan: Path) -> Path:
    return plan / FILE if plan.is_dir() else plan


@app.command("check")
def check(
    plan: PlanArgument,
    model: opt.ModelOption = None,
    trusted: Annotated[
        Path | None,
        typer.Option("--trusted", help="A public ed25519 key: the plan must be signed with it."),
    ] = None,
) -> None:
    """Check that a plan is whole, unedited and within its budget.

    With --model also that it fits it, with --trusted that it is signed with that key.
    """
    read = read_plan(plan)
    if trusted is not None:
        check_trusted(read.signature, read.digest, trusted)
    elif read.signature is not None:
        check_signature(read.signature, read.digest)
    if model is not None:
        _check_model(read, model)
    document = json.loads(_file_of(plan).read_text("utf-8"))
    digest = (
        "" if "digest" in document else " (it states none: it was written by an older autopeft)"
    )
    say(f"plan {read.digest[:12]} is in order{digest}")
    if read.unknown:
        note(
            f"it has fields that this autopeft does not know ({', '.join(read.unknown)}): it was "
            "written by a newer one; update autopeft to read all of it"
        )


def _check_model(plan: Plan, model: str) -> None:
    from autopeft.training.model_files import find_model, weights_digest

    files = find_model(model)
    if weights_digest(files.path) != plan.backbone.digest:
        raise PlanError(
            f"the model {model!r} does not have the weights that the plan was made for "
            f"({plan.backbone.name}, digest {plan.backbone.digest[:12]}): give that model"
        )


@app.command("serving")
def serving(plan: PlanArgument, cap: CapOption = 16, as_json: opt.JsonOption = False) -> None:
    """Say whether vLLM and TGI would serve the plan's adapter, why not, and what they would."""
    from autopeft.production.serving import verdicts

    found = verdicts(read_plan(plan), cap)
    if as_json:
        show_json([_judged(verdict) for verdict in found])
        return
    for verdict in found:
        say(verdict.sentence())
        for reason in verdict.reasons[1:]:
            say(f"and {reason}")
        if verdict.nearest:
            count = verdict.nearest.parameters(verdict.slots)
            say(f"it would take: {verdict.nearest.summary(verdict.slots)} ({count:,} parameters)")


def _judged(verdict: "Verdict") -> dict[str, Any]:
    nearest = verdict.nearest
    return {
        "server": verdict.server, "takes": verdict.takes, "started": verdict.started,
        "needs": verdict.needs, "reasons": list(verdict.reasons),
        "nearest": nearest.summary(verdict.slots) if nearest else None,
    }  # fmt: skip


def verify(
    plan: PlanArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the trained weights lie.")],
    model: opt.ModelOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Hold trained weights against their plan; ends with 2 where anything differs."""
    from autopeft.production.verifying import verify as look

    findings = list(look(read_plan(plan), folder, model))
    if as_json:
        show_json([to_json(finding) for finding in findings])
    else:
        rows = [(f.state, f.what, f.found) for f in findings]
        show_table("", ("", "what", "found"), rows)
    if not all(finding.right for finding in findings):
        raise typer.Exit(_DIFFERENT)
