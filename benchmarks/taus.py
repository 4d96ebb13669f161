"""How well the supernets rank whose scores stand in the tables, and what they cost.

    python benchmarks/taus.py [TABLE ...]       every table, without training anything

`tau` is Kendall's, with the 95% interval of a bootstrap over configurations. What supernets give,
and mere size beside them, is held against the mean score and against the mean loss of a
configuration's own trainings. The last row holds one training against another of the same
configuration with another seed: no supernet can do much better. Seconds are those of the processor
when the table was made, on one thread.
"""

import argparse

import numpy as np
from curves import rank_correlation
from numpy.typing import ArrayLike, NDArray
from tabled import RUNGS, Table, names

Values = NDArray[np.float64]


def tau_with_interval(one: ArrayLike, other: ArrayLike) -> str:
    """Return Kendall's tau and its interval."""
    found = rank_correlation(np.asarray(one, np.float64), np.asarray(other, np.float64))
    return "{tau:.2f} ({low:.2f} to {high:.2f})".format_map(found)


def column(table: Table, what: str, seed: int) -> Values:
    """Return what stands in a table of every configuration's whole training with a seed.

    Raises:
        SystemExit: It does not stand there.
    """
    found = [getattr(table.rows[c, seed, len(RUNGS) - 1], what) for c in table.true]
    if None in found:
        raise SystemExit(
            f"no supernet has scored {table.facts['name']}: run table.py inherited "
            f"--table {table.facts['name']}"
        )
    return np.array(found, dtype=np.float64)


def described(table: Table) -> str:
    """Tell how large a table is, and how far its scores differ by more than their noise."""
    score_SN = np.array([column(table, "score", seed) for seed in table.seeds])
    between, within = score_SN.mean(0).std(), np.sqrt(score_SN.var(0, ddof=1).mean())
    return (
        f"{table.facts['name']}: {len(table.true)} configurations; a training "
        f"{table.training_seconds:.1f} s, its scoring {table.scoring_seconds:.1f} s\n"
        f"scores of {100 * score_SN.mean(0).min():.1f} to {100 * table.best:.1f}, deviating by "
        f"{100 * between:.2f} points between configurations and by {100 * within:.2f} between "
        f"seeds; regret of who takes the best of one seed {100 * table.noise_floor():.2f} points"
    )


def ranked(table: Table) -> str:
    """Write the taus of supernets, of size, and of one seed with another."""
    score_SN, negated_SN = (
        sign * np.array([column(table, what, seed) for seed in table.seeds])
        for what, sign in (("score", 1), ("loss", -1))
    )
    rankings = {f"supernet {seed}": column(table, "inherited", seed) for seed in table.seeds}
    rankings["size"] = column(table, "parameters", table.seeds[0])
    lines = ["| ranked by | tau with scores | tau with negated losses |", "| --- | --: | --: |"]
    for name, ranking in rankings.items():
        taus = (tau_with_interval(ranking, truth.mean(0)) for truth in (score_SN, negated_SN))
        lines.append(f"| {name} | {' | '.join(taus)} |")
    taus = (tau_with_interval(*truth[:2]) for truth in (score_SN, negated_SN))
    lines.append(f"| one seed, with the other | {' | '.join(taus)} |")
    return "\n".join(lines)


def paid(table: Table) -> str:
    """Write what each supernet and each of its scores cost."""
    training, scoring = table.training_seconds, table.scoring_seconds
    lines = [
        "| supernet | cost, trainings | trainings with their scoring | a score, of a training |",
        "| --- | --: | --: | --: |",
    ]
    for seed in table.seeds:
        cost = table.facts["supernet"]["seconds"][str(seed)]
        each = column(table, "inherited_seconds", seed).mean()
        lines.append(
            f"| {seed} | {cost / training:.2f} | {cost / (training + scoring):.2f} "
            f"| 1/{training / each:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", help="every one, if left out")
    for name in parser.parse_args().tables or names():
        table = Table.read(name)
        print(f"\n{described(table)}\n\n{ranked(table)}\n\n{paid(table)}")


if __name__ == "__main__":
    main()
