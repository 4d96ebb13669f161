"""Weights are merged into files in their place, block by block."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

import autopeft
from autopeft.errors import PlanError
from autopeft.production.exporting import export_merged
from autopeft.production.merging import can_stream, merge_in_place
from autopeft.production.opening import open_trained
from tests.kinds import save_causal
from tests.production.plans import LORA, logits_of, moved, plan_for, trained

MANY = LORA | {"dora@ffn.input": 2, "ia3@ffn.output": 1, "layer_norm@ffn.norm": 1}
KEPT = {"loha@attention.output": 2, "adalora@attention.key": 2, "full@ffn": 1}


def shards(folder):
    return sorted(file.name for file in folder.glob("*.safetensors"))


def sharded(folder, family="llama"):
    """Cut a tiny model's weights into many files."""
    save_causal(folder, family)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="12KB")
    assert len(shards(folder)) > 2
    return folder


def opened_on(tmp_path, sizes, family="llama"):
    folder = sharded(tmp_path / "model", family)
    plan = plan_for(str(folder), sizes, "causal_lm")
    model = moved(trained(plan, family))
    autopeft.save(model, tmp_path / "trained")
    return open_trained(plan, tmp_path / "trained"), logits_of(model, family)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("sizes", [MANY, KEPT], ids=["many", "kept"])
def test_shards_stay_shards_and_the_scores_are_those_of_the_trained_model(sizes, family, tmp_path):
    opened, before = opened_on(tmp_path, sizes, family)
    assert can_stream(opened)

    written = export_merged(opened, tmp_path / "merged")

    other = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert shards(tmp_path / "merged") == shards(tmp_path / "model")
    assert torch.allclose(logits_of(other, family), before, atol=1e-3)
    assert written.drift.largest < 1e-3
    assert not (tmp_path / "merged" / ".partial").exists()


def test_what_no_cell_is_at_keeps_every_byte(tmp_path):
    opened, _ = opened_on(tmp_path, {"lora@attention.query": 2})

    merge_in_place(opened, tmp_path / "merged")

    changed = set()
    for name in shards(tmp_path / "model"):
        one, two = load_file(tmp_path / "model" / name), load_file(tmp_path / "merged" / name)
        changed |= {key for key in one if not torch.equal(one[key], two[key])}
    assert changed == {f"model.layers.{n}.self_attn.q_proj.weight" for n in (0, 1)}


def test_half_precision_files_stay_so(tmp_path):
    folder = save_causal(tmp_path / "model", "llama")
    tensors = load_file(folder / "model.safetensors")
    halves = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    save_file(halves, folder / "model.safetensors", {"format": "pt"})
    plan = plan_for(str(folder), LORA, "causal_lm")
    autopeft.save(moved(trained(plan, "llama")), tmp_path / "trained")

    written = export_merged(open_trained(plan, tmp_path / "trained"), tmp_path / "merged")

    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert 0 < written.drift.mean < 0.05 * written.drift.scale


def test_what_needs_other_blocks_or_another_head_is_merged_in_memory(tmp_path):
    opened, _ = opened_on(tmp_path, {"vera@attention.query": 2})
    assert not can_stream(opened)

    written = export_merged(opened, tmp_path / "merged")

    assert written.drift.largest < 1e-3


def test_what_belongs_together_is_copied_and_no_weights_that_were_not_merged(tmp_path):
    opened, _ = opened_on(tmp_path, {"lora@attention.query": 2})
    model = tmp_path / "model"
    others = {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.onnx", "old.safetensors"}
    for name in others:
        (model / name).write_bytes(b"not merged")
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]
    (model / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    for folder in ("1_Pooling", "onnx"):
        (model / folder).mkdir()
        (model / folder / "config.json").write_text("{}", encoding="utf-8")
    kept = {file.name for file in model.iterdir() if file.is_file()} - others

    merge_in_place(opened, tmp_path / "merged")
    merge_in_place(opened, tmp_path / "merged")  # over what is there

    found = {file.name for file in (tmp_path / "merged").iterdir()}
    assert found == kept | {"1_Pooling"}
    assert (tmp_path / "merged" / "1_Pooling" / "config.json").read_text("utf-8") == "{}"


def test_weights_that_lack_a_cell_leave_no_files(tmp_path):
    opened, _ = opened_on(tmp_path, LORA)
    lacking = dict(opened.weights.methods)
    del lacking["1/lora@attention.query/up"]
    object.__setattr__(opened.weights, "methods", lacking)

    with pytest.raises(PlanError, match=r"lacks up of lora@attention\.query in block 1"):
        merge_in_place(opened, tmp_path / "merged")
    assert list((tmp_path / "merged").iterdir()) == []


MEASURED = """
import sys
from pathlib import Path
import autopeft
from autopeft.production.merging import merge_in_place
from autopeft.production.opening import open_trained


def merged(folder):
    opened = open_trained(autopeft.read_plan(folder / "trained"), folder / "trained")
    merge_in_place(opened, folder / "merged")


def status(field):
    told = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(told.split(f"{field}:")[1].split()[0])


small, large = map(Path, sys.argv[1:])
merged(small)
Path("/proc/self/clear_refs").write_text("5", "ascii")  # begins the peak anew
before = status("VmRSS")
merged(large)
print(status("VmHWM") - before)
"""


def with_weights(folder, **sizes):
    """Save a model in shards of 32 MB, and weights of a plan on it."""
    config = LlamaConfig(vocab_size=64, num_attention_heads=4, **sizes)
    model = save_causal(folder / "model", "llama")
    (model / "model.safetensors").unlink()
    AutoModelForCausalLM.from_config(config).save_pretrained(model, max_shard_size="32MB")
    plan = plan_for(str(model), LORA, "causal_lm")
    autopeft.save(autopeft.apply(plan, autopeft.model_for(plan)), folder / "trained")
    return max(file.stat().st_size for file in model.glob("*.safetensors"))


@pytest.mark.slow
def test_merging_takes_less_memory_than_a_shard(tmp_path):
    """What any merge needs, such as the libraries, is there after a merge of a tiny model.

    ``ru_maxrss`` would be that of the process which started this one, where that was larger.
    """
    with_weights(tmp_path / "small", hidden_size=64, intermediate_size=64, num_hidden_layers=2)
    largest = with_weights(
        tmp_path / "large", hidden_size=256, intermediate_size=1024, num_hidden_layers=32
    )
    assert largest > 2**24

    folders = [str(tmp_path / name) for name in ("small", "large")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *folders], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 1.2 * largest
