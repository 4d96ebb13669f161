"""The command that takes over what others have measured."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import note, say, show_json, show_trials

ResultsArgument = Annotated[
    list[Path], typer.Argument(metavar="RESULTS...", help="Result files, or folders of them.")
]


def import_peft(
    results: ResultsArgument,
    model: opt.ModelOption = None,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Import published results of the peft project's method comparison as a study.

    They are the JSON files of method_comparison/MetaMathQA/results. The shape of their model is
    needed: --model with its config.json will do. A search of another study can then begin with
    the best of them: --warm-start with the id that is shown.
    """
    from autopeft.settings import settings
    from autopeft.wiring.imported import add_results, find_results, result_files
    from autopeft.wiring.sockets import store_of

    found = find_results(result_files(results), model)
    opened = store_of(settings(store=store).store_url)  # what is refused leaves no store behind
    added = add_results(found, opened)
    known, study = len(found.kept) - added, found.study
    if as_json:
        show_json(
            {
                "study": study.id,
                "added": added,
                "known": known,
                "skipped": [{"file": file, "reason": reason} for file, reason in found.skipped],
            }
        )
        return
    show_trials(study, opened.trials(study.id))
    for file, reason in found.skipped:
        note(f"left out {file}: {reason}")
    also = f" ({known} were known)" if known else ""
    say(f"\nresults imported: {added}{also}\nbegin a search with --warm-start {study.id}")
