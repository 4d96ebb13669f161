"""The command that writes what a study has found as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import INTERRUPTED, note, say, show_json
from autopeft.errors import OptionError
from autopeft.files import results_folder, write_bytes, write_text

if TYPE_CHECKING:
    from autopeft.ports import Store
    from autopeft.report.content import Content
    from autopeft.study import Study

FileOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE",
                 help="The page, .html or .md. [default: report.html beside the study's plan]"),
]  # fmt: skip
PlotsOption = Annotated[
    Path | None,
    typer.Option("--plots", metavar="DIR",
                 help="Write the pictures there too: SVG, and PNG where matplotlib is installed."),
]  # fmt: skip
AblateOption = Annotated[
    bool,
    typer.Option("--ablate", help="First train the winner without each of its parts, and tell "
                 "what they are worth; what was measured before is not measured again."),
]  # fmt: skip


def report(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's id, the start of it, or 'latest'.")
    ],
    out: FileOption = None,
    plots: PlotsOption = None,
    ablate: AblateOption = False,
    threads: opt.ThreadsOption = None,
    store: opt.StoreOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Write the report of a study as one page that needs no network and no script.

    The same as text: autopeft show.
    """
    from autopeft.settings import settings
    from autopeft.wiring.reported import concluded, reported

    opened = opt.existing_store(settings(store=store).store_url)
    found = opened.study(study)
    concluded(found, opened)
    file = _file(out, found.id)
    with results_folder(file.parent):
        if ablate:
            _ablate(found, opened, threads)
        content = reported(found, opened)
        write_text(file, _written(content, file))
    pictures = _pictures(content, plots) if plots else []
    if as_json:
        show_json({"study": found.id, "report": str(file), "plots": list(map(str, pictures))})
        return
    say(f"{content.sentence}\n\nreport  {file}")
    if plots:
        say(f"plots   {plots} ({len(pictures)} files)")


def _file(out: Path | None, study_id: str) -> Path:
    file = out or opt.folder_of(None, study_id) / "report.html"
    if file.suffix.lower() not in {".html", ".htm", ".md"}:
        raise OptionError(f"cannot tell how to write {file}: name a file that ends in .html or .md")
    return file


def _written(content: "Content", file: Path) -> str:
    if file.suffix.lower() == ".md":
        from autopeft.report.markdown import markdown

        return markdown(content)
    from autopeft.report.html import html_page

    return html_page(content)


def _pictures(content: "Content", folder: Path) -> list[Path]:
    from autopeft.report.html import svg_file
    from autopeft.report.png import available, png

    written = []
    with results_folder(folder):
        for picture in content.pictures:
            written.append(write_text(folder / f"{picture.name}.svg", svg_file(picture)))
            if available():
                written.append(write_bytes(folder / f"{picture.name}.png", png(picture)))
    return written


def _ablate(study: "Study", store: "Store", threads: int | None) -> None:
    from autopeft.wiring.reported import ablate

    try:
        for trial in ablate(study, store, threads=threads):
            if trial.ended:
                found = f"{trial.score:.4f}" if trial.measurement else trial.failure
                note(f"{trial.proposal.label}, seed {trial.proposal.seed}: {found}")
    except KeyboardInterrupt:
        note("interrupted: what was measured is kept; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from None
