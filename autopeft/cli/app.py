"""The program ``autopeft``."""

import sys
from typing import Annotated

import typer

from autopeft import __version__, process
from autopeft.cli import (
    backbone,
    doctor,
    exports,
    imports,
    inspect,
    jobs,
    keys,
    methods,
    plan,
    plans,
    report,
    search,
    serve,
    spaces,
    strategies,
    submit,
)
from autopeft.errors import AutopeftError

app = typer.Typer(
    help="Search for the best parameter-efficient fine-tuning configuration under a hard budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("search")(search.search)
app.command("estimate")(search.estimate)
app.command("studies")(inspect.studies)
app.command("trials")(inspect.trials)
app.command("show")(inspect.show)
app.command("pareto")(inspect.pareto)
app.command("report")(report.report)
app.add_typer(spaces.app, name="spaces")
app.command("methods")(methods.methods)
app.command("strategies")(strategies.strategies)
app.command("import-peft")(imports.import_peft)
app.command("export")(exports.export)
app.command("train")(plans.train)
app.command("schema")(plans.schema)
app.add_typer(plan.app, name="plan")
app.command("verify")(plan.verify)
app.command("backbone")(backbone.backbone)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.add_typer(keys.app, name="keys")
app.command("submit")(submit.submit)
app.command("status")(jobs.status)
app.command("logs")(jobs.logs)
app.command("cancel")(jobs.cancel)
app.command("pause")(jobs.pause)
app.command("resume")(jobs.resume)
app.command("extend")(jobs.extend)
app.command("fetch")(jobs.fetch)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def _program(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"autopeft {__version__}\n")
        raise typer.Exit


def main() -> None:
    """Run the program.

    Exit codes: 0 done, 1 our fault, 2 the user can mend it (``doctor``: something that it looked at
    has a problem), 130 interrupted.
    """
    process.prepare()
    try:
        app()
    except AutopeftError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
