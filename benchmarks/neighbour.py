"""A training step beside a busy process, with OpenMP's own spinning and with ours.

    python benchmarks/neighbour.py

Why `autopeft/process.py` shortens the spin: each line runs in processes of its own, in turns.
"""

import argparse
import os
import statistics
import subprocess
import sys

SPINS = {"OpenMP's default": None, "autopeft's": "3000"}
STEP = """
import statistics, time, torch
torch.set_num_threads({threads})
layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, dropout=0.0, batch_first=True)
model = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
x = torch.randn(32, 24, 384)
def step():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).float().square().mean()
    loss.backward()
step()
times = []
for _ in range(15):
    began = time.perf_counter()
    step()
    times.append(time.perf_counter() - began)
print(1e3 * statistics.median(times))
"""


def milliseconds(spin: str | None, *, busy: bool) -> float:
    """Return the median step of a fresh process, beside a busy one or alone."""
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if spin:
        environment["GOMP_SPINCOUNT"] = spin
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        code = STEP.format(threads=os.cpu_count())
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        )
        return float(done.stdout)
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| neighbour | spin | ms a step, median (lowest to highest) |")
    print("| --- | --- | --: |")
    for busy in (False, True):
        rounds = [
            {name: milliseconds(spin, busy=busy) for name, spin in SPINS.items()}
            for _ in range(options.rounds)
        ]
        for name in SPINS:
            times = [times[name] for times in rounds]
            print(
                f"| {'one busy process' if busy else 'none'} | {name} | "
                f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) |"
            )


if __name__ == "__main__":
    main()
