"""The command that lets a plan, and what was trained from it, leave in a form that others read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import say, show_json
from autopeft.errors import OptionError, PlanError, StudyError
from autopeft.files import results_folder, write_bytes, write_json, write_text
from autopeft.plan import FILE, Plan, read_plan
from autopeft.records import to_json

if TYPE_CHECKING:
    from autopeft.answer import Answer
    from autopeft.ports import Store
    from autopeft.production.card import Drawn
    from autopeft.production.opening import Opened
    from autopeft.study import Study

Form = Literal["plan", "peft", "merged", "script", "card", "optuna"]
_WEIGHTS = "adapter.safetensors"


def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|PLAN",
            help="A study's id, the start of it, or 'latest'; or a plan.json or its directory.",
        ),
    ],
    form: Annotated[
        Form, typer.Option("--format", help="What to write; peft and merged need trained weights.")
    ] = "plan",
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Where autopeft train or autopeft.save has written them."),
    ] = None,
    convert: Annotated[
        Literal["lora"] | None,
        typer.Option("--convert", help="With peft: the LoRA that comes nearest, and how near."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", help="The largest rank of a conversion.", min=1)
    ] = None,
    model: opt.ModelOption = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="With card: that of the weights.")
    ] = None,
    data_licence: Annotated[
        str | None, typer.Option("--data-licence", help="With card: that of the data.")
    ] = None,
    out: opt.OutOption = None,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Write a study's plan and report, or a plan with its weights in another form.

    plan: the plan (of a study, with its report). peft: adapter_config.json and
    adapter_model.safetensors. merged: a plain directory of transformers. script: a training
    script. card: a model card. optuna: all trials of a study, for optuna-dashboard.
    """
    if (convert or rank) and form != "peft":
        raise OptionError("--convert and --rank go with --format peft")
    if rank and not convert:
        raise OptionError("--rank goes with --convert lora: an exact adapter keeps its ranks")
    if (licence or data_licence) and form != "card":
        raise OptionError("--licence and --data-licence go with --format card")
    if form == "optuna":
        _optuna(what, out, store, as_json)
        return
    file = _plan_file(what)
    if file is None and form == "plan":
        _study(what, out, store, as_json)
        return
    known = None if file else _found(what, store)
    plan = _concluded(*known)[1] if known else read_plan(file or what)
    beside = file.parent if file else opt.folder_of(None, what)
    folder = Path(out) if out else beside / form
    with results_folder(folder):
        if form in {"peft", "merged"}:
            if known and weights is None:
                raise OptionError(
                    f"a study keeps no weights: write its plan (autopeft export {what}), train it "
                    f"(autopeft train plan.json), and export that with --format {form}"
                )
            opened = _opened(plan, weights, beside, model)
            written = _weights_in(form, opened, folder, convert, rank)
        elif form == "card":
            drawn = _front(plan, known, folder)
            written = _card(plan, folder, weights or beside, drawn, licence, data_licence)
        else:
            written = _text_in(form, plan, folder)
    if as_json:
        show_json(written)
    else:
        _tell(written)


def _plan_file(what: str) -> Path | None:
    path = Path(what)
    if path.is_file():
        return path
    return path / FILE if (path / FILE).is_file() else None


def _study(what: str, out: str | None, store: str | None, as_json: bool) -> None:
    from autopeft.report import report

    opened, found = _found(what, store)
    answer, plan = _concluded(opened, found)
    text = report(found, opened.trials(found.id), answer, plan)
    with results_folder(opt.folder_of(out, found.id)) as folder:
        plan_file = write_json(folder / FILE, plan.to_json())
        report_file = write_text(folder / "report.md", text)
    if as_json:
        show_json({"study": found.id, "plan": str(plan_file), "report": str(report_file)})
    else:
        say(f"plan    {plan_file}\nreport  {report_file}")


def _optuna(what: str, out: str | None, store: str | None, as_json: bool) -> None:
    from autopeft.strategies.optuna_file import write_optuna

    if _plan_file(what):
        raise OptionError("--format optuna is for the trials of a study: name a study, no plan")
    opened, found = _found(what, store)
    answer = opened.answer(found.id)
    with results_folder(opt.folder_of(out, found.id)) as folder:
        file = write_optuna(
            found, opened.trials(found.id), answer[0] if answer else None, folder / "optuna.db"
        )
    if as_json:
        show_json({"format": "optuna", "study": found.id, "out": str(file)})
    else:
        say(f"optuna  {file}\nlook at it with: optuna-dashboard sqlite:///{file}")


def _found(what: str, store: str | None) -> tuple["Store", "Study"]:
    from autopeft.settings import settings

    opened = opt.existing_store(settings(store=store).store_url)
    return opened, opened.study(what)


def _concluded(store: "Store", study: "Study") -> tuple["Answer", Plan]:
    concluded = store.answer(study.id)
    if concluded is None:
        raise StudyError(f"study {study.id} has no answer yet: run its search again to the end")
    return concluded


def _opened(plan: Plan, weights: Path | None, beside: Path, model: str | None) -> "Opened":
    from autopeft.production.opening import open_trained

    places = [weights] if weights else [beside, beside / "trained"]
    for place in places:
        if (place / _WEIGHTS).is_file():
            return open_trained(plan, place, model)
    raise PlanError(
        f"there are no trained weights in {places[-1]}: train the plan first (autopeft train "
        f"{beside / FILE}), and name their directory with --weights"
    )


def _weights_in(
    form: Form, opened: "Opened", folder: Path, convert: str | None, rank: int | None
) -> dict[str, Any]:
    from autopeft.production.exporting import export_merged, export_peft

    if form == "merged":
        written = export_merged(opened, folder)
    else:
        written = export_peft(opened, folder, convert=convert is not None, rank=rank)
    return {
        "format": form,
        "out": str(folder),
        "what": written.what,
        "drift": to_json(written.drift),
        "head": str(written.head) if written.head else None,
        "rank": written.rank,
    }


def _text_in(form: Form, plan: Plan, folder: Path) -> dict[str, Any]:
    plan_file = write_json(folder / FILE, plan.to_json())
    if form == "plan":
        return {"format": form, "out": str(plan_file)}
    from autopeft.production.script import by_peft, script

    file = write_text(folder / "train.py", script(plan, plan_file.absolute()))
    return {"format": form, "out": str(file), "trains": "peft" if by_peft(plan) else "autopeft"}


def _card(
    plan: Plan,
    folder: Path,
    beside: Path,
    drawn: "Drawn | None",
    licence: str | None,
    data_licence: str | None,
) -> dict[str, Any]:
    from autopeft.production.card import card

    text = card(
        plan, outcome=_outcome(beside), licence=licence, data_licence=data_licence, drawn=drawn
    )
    file = write_text(folder / "README.md", text)
    return {"format": "card", "out": str(file), "plot": str(folder / drawn.file) if drawn else None}


def _front(plan: Plan, known: "tuple[Store, Study] | None", folder: Path) -> "Drawn | None":
    """Draw the front beside the card: of all trials of a study, or of what a plan's evidence has.

    Nothing where neither is at hand. It is SVG where matplotlib, which writes PNG, is missing.
    """
    from autopeft.objectives import best
    from autopeft.production.card import Drawn
    from autopeft.report.drawn import evidence_drawn, front_drawn
    from autopeft.report.html import svg_file
    from autopeft.report.png import available, png

    if known:
        store, study = known
        trials = store.trials(study.id, predictions=False)
        pictures = front_drawn(study, trials, best(study, trials))
    else:
        pictures = evidence_drawn(plan)
    for picture in pictures:
        file = folder / f"{picture.name}.{'png' if available() else 'svg'}"
        if available():
            write_bytes(file, png(picture))
        else:
            write_text(file, svg_file(picture))
        return Drawn(file=file.name, title=picture.title, text=picture.text)
    return None


def _outcome(beside: Path) -> dict[str, Any] | None:
    """Read what training gave, where it lies beside the plan or its weights."""
    for file in (beside / "outcome.json", beside / "trained" / "outcome.json"):
        if file.is_file():
            found: dict[str, Any] = json.loads(file.read_text("utf-8"))
            return found
    return None


def _tell(written: dict[str, Any]) -> None:
    say(f"{written['format']:8}{written['out']}")
    if plot := written.get("plot"):
        say(f"plot    {plot}")
    if drift := written.get("drift"):
        say(f"what    {written['what']}" + (f", rank {written['rank']}" if written["rank"] else ""))
        say(
            f"drift   {drift['largest']:.2g} at most, {drift['mean']:.2g} in the mean, of scores "
            f"of {drift['scale']:.2g}; {drift['same']:.0%} of the highest at the same place"
        )
        if written["head"]:
            say(f"head    {written['head']} (the plan's own: no class of transformers has it)")
