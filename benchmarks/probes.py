"""How often probes let a supernet guide, and how often tau's interval holds the truth.

    python benchmarks/probes.py [--draws 1000]     a minute, without training anything

Inherited and real scores are drawn from two normal variables whose correlation is sin(pi tau / 2),
so that their true tau is known. `guides` is the share of the draws in which the rule of the default
strategy lets inherited scores guide; at a true tau of 0 that is its error. `holds` is the share in
which the 95% interval holds the true tau, `width` how wide it is on average.
"""

import argparse
import math

import numpy as np

from autopeft.answer import Ranking
from autopeft.ranking import correlations, trust

TAUS = (0.0, 0.3, 0.5, 0.7, 0.9)
PROBES = (5, 6, 8, 10)


def tried(tau: float, probes: int, draws: int) -> tuple[float, float, float]:
    """Return how often scores guide, how often the interval holds tau, and how wide it is."""
    rng = np.random.default_rng(0)
    correlation = math.sin(math.pi * tau / 2)
    found = []
    for seed in range(draws):
        one_N, noise_N = rng.standard_normal((2, probes))
        other_N = correlation * one_N + math.sqrt(1 - correlation**2) * noise_N
        seen, rho = correlations([*zip(one_N, other_N, strict=True)], seed)
        guides = trust(Ranking(tau=seen, rho=rho, pairs=probes, share=1.0)) == "guides"
        found.append((guides, seen.low <= tau <= seen.high, seen.high - seen.low))
    guided, held, width = np.mean(found, axis=0)
    return float(guided), float(held), float(width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("| probes | true tau | guides | holds | width |\n| --: | --: | --: | --: | --: |")
    for probes in PROBES:
        for tau in TAUS:
            guides, holds, width = tried(tau, probes, draws)
            print(f"| {probes} | {tau:.1f} | {guides:.0%} | {holds:.0%} | {width:.2f} |")


if __name__ == "__main__":
    main()
