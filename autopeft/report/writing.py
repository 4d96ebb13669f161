"""How numbers and tables are written in a report."""

from collections.abc import Mapping

from autopeft.answer import perplexity
from autopeft.ranking import PROBE
from autopeft.study import Objective, Study
from autopeft.trial import Purpose, Trial

AXES: Mapping[Objective, str] = {
    "score": "score",
    "params": "parameters",
    "flops": "FLOPs of an example",
    "memory": "memory of a step",
    "latency": "latency of an example",
}
"""What is compared, as it is called in the head of a table."""
PURPOSES: Mapping[Purpose, str] = {
    Purpose.BASELINE: "baseline",
    Purpose.SEARCH: "searched",
    Purpose.FINAL: "final, a fresh seed",
}
"""What trials are for, as the legend of a chart says it."""
_MIB = 2**20
_WIDEST = 60


def figure(axis: Objective, value: float) -> str:
    """Write a figure of one axis with its unit.

    Example:
        >>> figure("memory", 3 * 2**20), figure("latency", 0.0123), figure("flops", 215424.0)
        ('3.0 MiB', '12.3 ms', '215,424')
    """
    match axis:
        case "score":
            return f"{value:.4f}"
        case "memory":
            return f"{value / _MIB:,.1f} MiB"
        case "latency":
            return f"{1000 * value:.1f} ms"
        case _:
            return f"{value:,.0f}"


def axis_name(study: Study, axis: Objective) -> str:
    """Name an axis; the score by its metric."""
    return study.task.metric if axis == "score" else AXES[axis]


def what(study: Study, trial: Trial) -> str:
    """Write what a trial trains: its name, or its configuration; a probe is named as one."""
    proposal, summary = trial.proposal, trial.proposal.configuration.summary(study.space.slots)
    if proposal.label == PROBE:
        return summary if proposal.of is not None else f"{PROBE}: {summary}"
    return proposal.label or summary


def short(text: str) -> str:
    """Cut a text that is too long for a cell.

    Example:
        >>> short("lora@attention.query 8"), short("x" * 70)[-3:], len(short("x" * 70))
        ('lora@attention.query 8', 'xx…', 60)
    """
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def rates(learning_rates: Mapping[str, float]) -> str:
    """Write the learning rates of methods."""
    return ", ".join(f"{method} {rate:g}" for method, rate in learning_rates.items())


def perplexity_head(metric: str) -> tuple[str, ...]:
    """Return the head of the column of perplexities, where there is such a column."""
    return ("perplexity",) if perplexity_cell(metric, 0.0) else ()


def perplexity_cell(metric: str, score: float | None) -> tuple[str, ...]:
    """Return the cell of a score in the column of perplexities, where there is such a column."""
    found = perplexity(metric, score or 0.0)
    return () if found is None else ("" if score is None else f"{found:.4g}",)


def brief(value: float) -> str:
    """Write a number in as few letters as an axis has room for.

    Example:
        >>> brief(0.8999999), brief(1500.0), brief(2_345_678.0), brief(0.0)
        ('0.9', '1.5k', '2.35M', '0')
    """
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.4g}"
