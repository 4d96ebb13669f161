"""What a plan takes in production: to be put into a large model, to be loaded, and to be merged.

    python benchmarks/production.py
    python benchmarks/production.py --rounds 3 --blocks 8

Three figures against what they may be: the processor's seconds of `autopeft.apply` on a model of
the shape of Llama 7B on the meta device (2 s); whether `autopeft.load` works while the model's own
files are away, so that it reads the adapter alone; and the memory that `merge_in_place` takes at
most, against the largest shard (1.2 times).
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

import autopeft
from autopeft.backbone import Backbone
from autopeft.evidence import Provenance
from autopeft.plan import NAMED, VERSION, Plan
from autopeft.production.merging import merge_in_place
from autopeft.production.opening import open_trained
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Configuration
from autopeft.study import Columns, DataFiles, Task, Where
from autopeft.training.model_files import find_model
from autopeft.training.shape import architecture_for, read_backbone, shape_of
from autopeft.trial import Recipe

SLOTS = ("lora@attention.query", "lora@attention.value")
RANK, MIB = 8, 2**20


def plan_for(backbone: Backbone, model: str) -> Plan:
    """Put LoRA at query and value of every block."""
    slots = tuple(slot for slot in slots_of(backbone) if slot.name in SLOTS)
    configuration = Configuration(((RANK,) * len(slots),) * backbone.blocks)
    parameters = configuration.parameters(slots)
    task = Task(
        kind="causal_lm", metric="log_likelihood", labels=(), head="lm", max_length=16,
        columns=Columns(text="text", label="label"), digest="0" * 64, split_seed=0,
        examples=(1, 1, 1),
    )  # fmt: skip
    recipe = Recipe(epochs=1, learning_rates={"lora": 1e-3}, scales={"lora": 2.0})
    return Plan(
        version=VERSION, backbone=backbone, task=task, slots=slots, configuration=configuration,
        where=Where(model=model, data=DataFiles(train="data.csv")), recipe=recipe, seed=0,
        parameters=parameters, head_parameters=0, expected=None,
        provenance=Provenance(
            study="", trial=0, strategy=NAMED, space="lora", budget=str(parameters),
            ceiling=parameters, trials=0, verdict="not compared", versions={},
            created="2026-11-22T00:00:00+00:00",
        ),
    )  # fmt: skip


def apply_seconds() -> float:
    """Time `apply` on a model of seven billion parameters without memory."""
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    base = model.base_model
    shape = shape_of(base, architecture_for(base, "llama"), name="llama", digest="0" * 64)
    plan = plan_for(shape, "llama")
    began = time.process_time()
    autopeft.apply(plan, model)
    return time.process_time() - began


def save(folder: Path, **sizes: int) -> int:
    """Save a model in shards of 32 MB with weights of a plan; return the largest shard's bytes."""
    config = LlamaConfig(vocab_size=64, num_attention_heads=4, **sizes)
    model = folder / "model"
    AutoModelForCausalLM.from_config(config).save_pretrained(model, max_shard_size="32MB")
    words = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(model)
    plan = plan_for(read_backbone(find_model(str(model))), str(model))
    autopeft.save(autopeft.apply(plan, autopeft.model_for(plan)), folder / "trained")
    return max(file.stat().st_size for file in model.glob("*.safetensors"))


def load_alone(folder: Path) -> int:
    """Load an adapter while the model's own files are away; return the bytes that were there."""
    model = autopeft.model_for(autopeft.read_plan(folder / "trained"))
    (folder / "model").rename(folder / "away")
    try:
        autopeft.load(model, folder / "trained")
    finally:
        (folder / "away").rename(folder / "model")
    return sum(file.stat().st_size for file in (folder / "trained").iterdir())


def merge_memory(small: Path, large: Path) -> int:
    """Return the bytes that a merge takes at most, once all that it imports is there.

    ``ru_maxrss`` would be that of the process which has started this one, where that was larger.
    """
    merge(small)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # begins the peak anew
    before = status("VmRSS")
    merge(large)
    return status("VmHWM") - before


def merge(folder: Path) -> None:
    """Merge weights into a copy of the model's files."""
    opened = open_trained(autopeft.read_plan(folder / "trained"), folder / "trained")
    merge_in_place(opened, folder / "merged")


def status(field: str) -> int:
    """Return what the kernel says of this process, in bytes."""
    told = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(told.split(f"{field}:")[1].split()[0])


def figures(folder: Path, rounds: int, blocks: int) -> Iterator[tuple[str, str, str]]:
    """Measure one after another: what, how much, and how much it may be."""
    times = sorted(apply_seconds() for _ in range(rounds))
    spread = f"{statistics.median(times):.2f} s ({times[0]:.2f} to {times[-1]:.2f})"
    yield f"plan into 7B parameters on the meta device, {rounds} times", spread, "2 s"
    save(folder / "small", hidden_size=64, intermediate_size=64, num_hidden_layers=2)
    large = folder / "large"
    shard = save(large, hidden_size=512, intermediate_size=2048, num_hidden_layers=blocks)
    model = sum(file.stat().st_size for file in (large / "model").glob("*.safetensors"))
    read = load_alone(large)
    yield (
        f"load, with the {model / MIB:.0f} MiB of the model's own files away",
        f"works, from {read / MIB:.2f} MiB",
        "the adapter alone",
    )
    folders = [str(folder / "small"), str(large)]
    done = subprocess.run(
        [sys.executable, __file__, "--merge", *folders], capture_output=True, text=True, check=True
    )
    taken = int(done.stdout)
    yield (
        f"memory of a merge into {model / MIB:.0f} MiB, largest shard {shard / MIB:.1f} MiB",
        f"{taken / MIB:.1f} MiB ({taken / shard:.2f} times the shard)",
        "1.2 times",
    )


def main() -> None:
    """Print the three figures as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=32, help="Of the model that is merged.")
    parser.add_argument("--merge", type=Path, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.merge:
        print(merge_memory(*asked.merge))
        return
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    print("| what | found | may be |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for what, found, limit in figures(Path(folder), asked.rounds, asked.blocks):
            print(f"| {what} | {found} | {limit} |", flush=True)
    print(f"\nload of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
