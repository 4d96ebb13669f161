"""The commands that only look: studies and trials."""

from typing import Annotated, Any

import typer

from autopeft.answer import counted
from autopeft.cli import options as opt
from autopeft.cli.console import (
    say,
    show_json,
    show_table,
    show_trials,
    trial_json,
    what_of,
)
from autopeft.objectives import axes, best, figures, hypervolumes, reference
from autopeft.ports import Store
from autopeft.records import to_json
from autopeft.report.writing import figure
from autopeft.study import Study
from autopeft.trial import State, Trial

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="A study's id, the start of it, or 'latest'.")
]


def studies(store: opt.StoreOption = None, as_json: opt.JsonOption = False) -> None:
    """List the studies in the store, the most recently used first."""
    from autopeft.settings import settings

    chosen = settings(store=store)
    # The usual store is nothing that a newcomer has named, so its absence is no mistake.
    nothing_yet = chosen.store is None and opt.missing_file(chosen.store_url) is not None
    documents = [] if nothing_yet else _documents(opt.existing_store(chosen.store_url))
    if as_json:
        show_json(documents)
    elif not documents:
        say("there are no studies in this store yet: autopeft search makes one")
    else:
        columns = tuple(documents[0])
        show_table("", columns, [[_cell(d[c]) for c in columns] for d in documents])


def _documents(store: Store) -> list[dict[str, Any]]:
    documents = []
    for study in store.studies():
        trials = store.trials(study.id)
        documents.append(
            {
                "study": study.id,
                "model": study.backbone.name,
                "data": study.where.data.train,
                "budget": study.budget.text,
                "space": study.space.name,
                "strategy": study.strategy,
                "seed": study.seed,
                "trials": sum(trial.ended for trial in trials),
                "best": max((t.score for t in trials if t.complete), default=None),
                "answered": store.answer(study.id) is not None,
            }
        )
    return documents


def trials(
    study: StudyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """List the trials of a study."""
    from autopeft.settings import settings

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    known = opened.trials(found.id)
    if as_json:
        show_json([trial_json(trial) for trial in known])
    else:
        show_trials(found, known)


def show(
    study: StudyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """Show what a study asks and what it has found; autopeft report writes it as a page."""
    from autopeft.report.markdown import markdown
    from autopeft.settings import settings
    from autopeft.wiring.reported import reported

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    concluded = opened.answer(found.id)
    if as_json:
        answer = concluded and {
            "sentence": concluded[0].sentence(),
            **to_json(concluded[0]),
        }
        show_json({"study": found.id, **to_json(found), "answer": answer})
    elif concluded:
        say(markdown(reported(found, opened)).rstrip())
    else:
        known = opened.trials(found.id)
        ended = sum(trial.ended for trial in known)
        paused = sum(trial.state is State.PAUSED for trial in known)
        some = f", {paused} of them paused," if paused else ""
        say(f"study {found.id} has measured {counted(ended, 'trial')}{some} and has no answer yet")
        say("run its search again to the end")


def pareto(
    study: StudyArgument, store: opt.StoreOption = None, as_json: opt.JsonOption = False
) -> None:
    """Show the trials that no other beats in all objectives, and how far they reach.

    Objectives are those of the study; beside a score alone, the parameters. Only trials that were
    trained to the end are compared.
    """
    from autopeft.settings import settings

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    document = _front(found, opened.trials(found.id))
    if as_json:
        show_json(document)
    elif not document["front"]:
        say(f"study {found.id} has trained no trial to the end yet: run its search again")
    else:
        rows = [_front_row(found, trial) for trial in document["front"]]
        head = ("trial", "purpose", *axes(found), "configuration")
        show_table(f"The front of study {found.id}", head, rows)
        say(f"hypervolume {document['hypervolume']:.6g}")


def _front(study: Study, trials: tuple[Trial, ...]) -> dict[str, Any]:
    """Return the front of a study as JSON; what the hypervolume is after each trial too."""
    numbers, volumes, least = best(study, trials), hypervolumes(study, trials), None
    if found := reference(study, trials):
        pairs = zip(axes(study), found, strict=True)
        least = {axis: value if axis == "score" else -value for axis, value in pairs}
    return {
        "study": study.id,
        "objectives": list(axes(study)),
        "reference": least,
        "hypervolume": max(volumes, default=0.0),
        "hypervolumes": list(volumes),
        "front": [
            {
                "trial": trial.number,
                "purpose": trial.proposal.purpose,
                **figures(study, trial.measurement),
                "configuration": what_of(trial, study.space.slots),
            }
            for trial in trials
            if trial.number in numbers and trial.measurement
        ],
    }


def _front_row(study: Study, trial: dict[str, Any]) -> list[str]:
    written = [figure(axis, trial[axis]) for axis in axes(study)]
    return [str(trial["trial"]), trial["purpose"], *written, trial["configuration"]]


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
