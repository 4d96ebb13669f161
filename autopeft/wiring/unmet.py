"""What was asked for, or is usual, and does not take place in a search."""

from collections.abc import Iterator

from autopeft.study import Study


def unmet(study: Study, warm_start: str, rungs: object, trials: int) -> Iterator[str]:
    """Say what does not take place of what was asked for; without ``rungs``, of what is usual."""
    if warm_start == "auto" and not study.earlier:
        yield "no earlier study is similar: there is nothing to start from"
    if rungs is None and study.strategy == "autopeft" and len(study.rungs) == 1:
        yield "a third of a training has too few steps to tell much: no trial stops early"
    if study.strategy == "saasbo":
        yield from _of_saasbo(study, trials)


def _of_saasbo(study: Study, trials: int) -> Iterator[str]:
    from autopeft.strategies.saasbo import Options

    if trials <= (init := Options.parse(study.options).init):
        yield (
            f"the first {init} trials of saasbo are random draws, and no more are asked for: take "
            "more trials, or fewer draws with the option init"
        )
