"""How long the program takes to say what it can do.

python benchmarks/startup.py
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import autopeft": ["-c", "import autopeft"],
    "autopeft --help": ["-m", "autopeft", "--help"],
    "autopeft search --help": ["-m", "autopeft", "search", "--help"],
}


def seconds(words: list[str]) -> float:
    """Time one run in a fresh process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    print("| command | s, median | lowest to highest |")
    print("| --- | --: | --: |")
    rounds = [{n: seconds(w) for n, w in COMMANDS.items()} for _ in range(options.rounds)]
    for name in COMMANDS:
        times = [times[name] for times in rounds]
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} to {max(times):.2f} |")


if __name__ == "__main__":
    main()
