"""What replays come to: means with intervals, who beats random search, and the figure."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regret import Replication, at_seconds, at_trials, stretch_of, whole
from replay import TRIALS, strategy_of
from scipy.stats import kendalltau
from tabled import RUNGS, Table

RESAMPLES = 2_000
PLACES = (10, TRIALS)
"""After so many whole trainings' time strategies are compared."""

Values = NDArray[np.float64]
Summary = dict[str, Any]
_COLOURS = {
    "random": "#000000", "tpe": "#0072b2", "gp": "#009e73", "saasbo": "#56b4e9",
    "nsga2": "#cc79a7", "evolution": "#e69f00", "s4": "#8c564b", "s3pet": "#7f7f7f",
    "bipeft": "#bcbd22", "autopeft": "#d55e00",
}  # fmt: skip
_SHOWN = (
    f"{PLACES[0]} trials",
    f"{TRIALS} trials",
    f"{TRIALS} trainings' seconds",
    f"{TRIALS} trainings' seconds at the usual ratio",
)
_STYLES = {"": "-", "+rungs": "--", "+third": ":", "-rungs": "-."}


def axes(table: Table) -> dict[str, tuple[float | None, Values]]:
    """Name what regret is held against: how trainings are stretched, and the places."""
    usual = stretch_of(table)
    return {
        "trials": (None, np.arange(1.0, TRIALS + 1)),
        "seconds": (1.0, _grid(whole(table, 1.0))),
        "seconds at the usual ratio": (usual, _grid(whole(table, usual))),
    }


def _grid(training: float) -> Values:
    return np.linspace(0.0, TRIALS * training, 2 * TRIALS + 1)[1:]


def regrets(done: Sequence[Replication], stretch: float | None, grid: Values) -> Values:
    """Return the regret of every replication at every place."""
    read: Callable[[Replication], Values] = (
        (lambda one: at_trials(one, grid))
        if stretch is None
        else (lambda one: at_seconds(one, grid, stretch))
    )
    return np.array([read(one) for one in done])


def interval(values: Values) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a mean."""
    rng = np.random.default_rng(0)
    drawn = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def compared(found: Values) -> Summary:
    """Return the mean of a regret with its interval."""
    low, high = interval(found)
    return {"mean": float(found.mean()), "low": low, "high": high}


def against(found: Values, random: Values) -> Summary:
    """Return by how much a regret is less than random search's, replication by replication."""
    gain = compared(random[: len(found)] - found)
    verdict = "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "no difference"
    return gain | {"verdict": verdict}


def summary(table: Table, everything: Mapping[str, Sequence[Replication]]) -> Summary:
    """Gather what is known of every contestant."""
    found: Summary = {
        "configurations": len(table.true),
        "best": table.best,
        "worst": min(table.true.values()),
        "noise floor": table.noise_floor(),
        "training seconds": table.training_seconds,
        "scoring seconds": table.scoring_seconds,
        "usual stretch": stretch_of(table),
        "contestants": {},
    }
    ends: dict[tuple[str, str], Values] = {}
    for name, done in {"random": everything["random"], **everything}.items():
        ends |= {(name, place): values for place, values in _ends(table, done)}
        found["contestants"][name] = {
            "replications": len(done),
            "asking seconds a trial": float(
                np.mean([d.asking / d.points[-1].trials for d in done])
            ),
            "outside the table": sum(one.outside for one in done),
        } | {
            place: compared(ends[name, place])
            | {"against random": against(ends[name, place], ends["random", place])}
            for _, place in [key for key in ends if key[0] == name]
        }
    return found


def properties(table: Table) -> Summary:
    """Tell how far seeds, short trainings and supernets put configurations in the same order."""
    every, last = list(table.true), len(RUNGS) - 1
    true_N = np.array([table.true[c] for c in every])
    seen_SN = np.array([[table.rows[c, s, last].score for c in every] for s in table.seeds])
    found: Summary = {
        "deviation of a score over seeds": float(np.sqrt(seen_SN.var(0, ddof=1).mean())),
        "deviation over configurations": float(true_N.std()),
        "tau between two seeds": rank_correlation(seen_SN[0], seen_SN[1]),
    }
    for rung, share in list(enumerate(RUNGS))[:-1]:
        other = np.array([table.rows[c, table.seeds[1], rung].score for c in every])
        found[f"tau of a share of {share:.2f} with all of it, other seed"] = rank_correlation(
            other, seen_SN[0]
        )
        losses = np.array([-table.rows[c, table.seeds[1], rung].loss for c in every])
        found[f"tau of the loss at a share of {share:.2f} with all of it, other seed"] = (
            rank_correlation(losses, seen_SN[0])
        )
    if table.has_inherited:
        for seed in table.seeds:
            scores = np.array([table.rows[c, seed, last].inherited or 0.0 for c in every])
            found[f"tau of supernet {seed}"] = rank_correlation(scores, true_N)
        costs = [row.inherited_seconds or 0.0 for row in table.rows.values()]
        found["inherited seconds"] = float(np.mean(costs))
        found["supernet seconds"] = float(
            np.mean(list(table.facts["supernet"]["seconds"].values()))
        )
    return found


def rank_correlation(one_N: Values, other_N: Values) -> Summary:
    """Return Kendall's tau with its bootstrap interval over configurations."""
    rng, count = np.random.default_rng(0), len(one_N)
    taus = [
        kendalltau(one_N[rows], other_N[rows]).statistic
        for rows in rng.integers(count, size=(RESAMPLES // 4, count))
    ]
    low, high = np.nanpercentile(taus, [2.5, 97.5])
    tau = float(kendalltau(one_N, other_N).statistic)
    return {"tau": tau, "low": float(low), "high": float(high)}


def _asking(done: Sequence[Replication]) -> float:
    return float(np.mean([one.asking / one.points[-1].trials for one in done]))


def _ends(table: Table, done: Sequence[Replication]) -> list[tuple[str, Values]]:
    """Return the regrets at the places at which strategies are compared."""
    ends = []
    for axis, (stretch, _) in axes(table).items():
        for place in PLACES:
            where = float(place) * (1.0 if stretch is None else whole(table, stretch))
            found = regrets(done, stretch, np.array([where]))[:, 0]
            unit = "trials" if stretch is None else f"trainings' {axis}"
            ends.append((f"{place} {unit}", found))
    return ends


def markdown(found: Summary) -> str:
    """Write the table: regret in points, with its interval, and the verdict against random."""
    places = [key for key in found["contestants"]["random"] if key in _SHOWN]
    lines = [
        "| strategy | "
        + " | ".join(f"after {place}" for place in places)
        + " | proposing | runs |",
        "| --- |" + " --- |" * (len(places) + 2),
    ]
    for name, facts in found["contestants"].items():
        cells = [_cell(facts[place], name) for place in places]
        asking = 1000 * facts["asking seconds a trial"]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {asking:,.0f} ms | {facts['replications']} |"
        )
    return "\n".join(lines) + "\n"


def _cell(facts: Summary, name: str) -> str:
    mean, low, high = (100 * facts[key] for key in ("mean", "low", "high"))
    verdict = "" if name == "random" else f" {facts['against random']['verdict']}"
    return f"{mean:.2f} ({low:.2f} to {high:.2f}){verdict}"


def draw(table: Table, everything: Mapping[str, Sequence[Replication]], file: Path) -> None:
    """Draw regret against trials and both kinds of seconds."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "autopeft", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(13, 4.6), sharey=True)
    for panel, (axis, (stretch, grid)) in zip(panels, axes(table).items(), strict=True):
        for name, done in everything.items():
            _line(panel, name, 100 * regrets(done, stretch, grid), grid)
        panel.axhline(100 * table.noise_floor(), color="#999999", linestyle=":", linewidth=1)
        panel.set_yscale("log")
        panel.set_xlabel(axis if stretch is None else f"simulated {axis}")
        panel.set_xlim(0, grid[-1])
        panel.grid(alpha=0.25)
    metric = table.facts["task"]["metric"].replace("_", " ")
    panels[0].set_ylabel(f"regret, points of {metric}")
    panels[0].set_ylim(0.02, 110 * (table.best - min(table.true.values())))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncol=7, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
    rounded = re.sub(
        r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", file.read_text("utf-8")
    )
    file.write_text(rounded, encoding="utf-8")  # a fifth smaller


def _line(panel: Any, name: str, found: Values, grid: Values) -> None:
    base = strategy_of(name)
    style = _STYLES[name.removeprefix(base)]
    mean = found.mean(0)
    bounds = np.array([interval(column) for column in found.T])
    panel.plot(grid, mean, style, color=_COLOURS.get(base), label=name, linewidth=1.3)
    panel.fill_between(grid, bounds[:, 0], bounds[:, 1], color=_COLOURS.get(base), alpha=0.12,
                       linewidth=0)  # fmt: skip
