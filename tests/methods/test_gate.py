"""UniPELT's gates, against the layer as the paper writes it, and what they may and may not see."""

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from autopeft.errors import PlanError
from autopeft.methods.gate import Gate
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Configuration
from tests.builders import BERT_BASE
from tests.methods.inside import hidden, inside, shake
from tests.models import Bench, opinions, padded_inputs, save_tiny, tiny, write_rows

LORA = {"lora@attention.query": 2, "lora@attention.value": 2}
APL = {**LORA, "prefix@attention": 3, "serial_adapter@ffn.norm": 4}
GATES = {f"gate@{name.partition('@')[2]}": 1 for name in APL}
SCALES = {"lora": 1.0, "serial_adapter": 1.0}
"""In the paper the gate is LoRA's whole scale."""


def everywhere(sizes):
    """Count BERT-base with these sizes in all blocks."""
    slots = slots_of(BERT_BASE)
    row = tuple(sizes.get(slot.name, 0) for slot in slots)
    assert sum(map(bool, row)) == len(sizes)
    return Configuration((row,) * 12).parameters(slots)


def test_unipelt_on_bert_base_costs_what_the_paper_counts_and_48_gates_more():
    """A, P and L are 1.26% of the model; the gates, which the paper leaves out, 4 · 769 a block."""
    sizes = {
        "lora@attention.query": 8, "lora@attention.value": 8,
        "prefix@attention": 10, "serial_adapter@ffn.norm": 48,
    }  # fmt: skip

    assert everywhere(sizes) == 1_373_760
    assert everywhere(sizes | GATES) == 1_373_760 + 48 * 769 == 1_410_672


def opened(gate, x_BTD, mask_BT):
    """Return G(x) as the paper writes it, over the tokens of the mask, shape (B, 1, 1)."""
    open_BT = torch.sigmoid(x_BTD @ gate["weight"] + gate["bias"])
    return ((open_BT * mask_BT).sum(1) / mask_BT.sum(1))[:, None, None]


def unipelt(block, own, x, mask_BT, counted_BT, heads=4):
    """One block of UniPELT(APL), written out for BERT."""

    def gate(site, read):
        return opened(own[f"gate@{site}"], read, counted_BT)

    def lora(site, module):
        factors = own[f"lora@{site}"]
        return module(x) + gate(site, x) * (x @ factors["down"].T) @ factors["up"]

    def norm(module, z):
        return layer_norm(z, z.shape[-1:], module.weight, module.bias, module.eps)

    attention, prefix = block.attention.self, own["prefix@attention"]
    query, value = (
        lora("attention.query", attention.query),
        lora("attention.value", attention.value),
    )
    weight = gate("attention", x)
    key = torch.cat([weight * prefix["keys"], attention.key(x)], 1)
    value = torch.cat([weight * prefix["values"], value], 1)
    seen_BS = torch.cat([torch.ones(len(x), len(prefix["keys"])), mask_BT], 1).bool()
    query, key, value = (z.unflatten(-1, (heads, -1)).transpose(1, 2) for z in (query, key, value))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~seen_BS[:, None, None], -torch.inf)
    attended = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    a = norm(block.attention.output.LayerNorm, block.attention.output.dense(attended) + x)
    summed = block.output.dense(gelu(block.intermediate.dense(a))) + a
    n, adapter = norm(block.output.LayerNorm, summed), own["serial_adapter@ffn.norm"]
    inner = torch.relu(n @ adapter["down"].T + adapter["down_bias"])
    added = gate("ffn.norm", n) * (inner @ adapter["up"] + adapter["up_bias"])
    return norm(block.output.LayerNorm, added + summed)


@pytest.mark.parametrize("mean", ["mask", "all"])
def test_a_gated_block_is_the_papers(tmp_path, mean):
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    mask_BT = inputs["attention_mask"].float()
    counted_BT = mask_BT if mean == "mask" else torch.ones_like(mask_BT)
    x = small.model.embeddings(inputs["input_ids"], inputs["token_type_ids"]).detach()

    with inside(small, APL | GATES, scales=SCALES, gate_mean=mean) as injection:
        shake(injection, spread=0.5)
        found = hidden(small, inputs)
        state = injection.state()
    for number, block in enumerate(small.model.encoder.layer):
        own = {}
        for name, tensor in state.items():
            row, slot, part = name.split("/")
            if int(row) == number:
                own.setdefault(slot, {})[part] = tensor
        with torch.no_grad():
            x = unipelt(block, own, x, mask_BT, counted_BT)

    torch.testing.assert_close(found[mask_BT.bool()], x[mask_BT.bool()], rtol=1e-4, atol=1e-5)


def test_padding_does_not_open_a_gate_unless_it_is_to_count(tmp_path):
    """The same text alone and in a batch with a longer one; the paper's code makes them differ."""
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    alone = {name: value[1:2, :6] for name, value in inputs.items()}
    difference = {}
    for mean in ("mask", "all"):
        with inside(small, APL | GATES, gate_mean=mean) as injection:
            shake(injection, spread=0.5)
            together = hidden(small, inputs)[1, :6]
            difference[mean] = (together - hidden(small, alone)[0]).abs().max()

    assert difference["mask"] < 1e-4
    assert difference["all"] > 1e-3


def test_a_recipe_tells_whether_padding_counts(tmp_path):
    data = write_rows(tmp_path / "opinions.csv", opinions(40))
    bench = Bench(save_tiny(tmp_path / "model"), data)
    found = {}
    for mean in ("mask", "all"):
        with bench.tuned(APL | GATES, gate_mean=mean) as tuned:
            shake(tuned.injection, spread=0.5)
            _, found[mean] = tuned.predict(bench.trainer.parts["validation"])

    assert found["mask"] != found["all"]


def test_a_gate_begins_half_open():
    gate = Gate(64, torch.Generator().manual_seed(0))

    opened_at_first = gate(torch.randn(5, 7, 64), None, causal=False)

    assert opened_at_first.shape == (5, 1, 1)
    torch.testing.assert_close(opened_at_first, torch.full((5, 1, 1), 0.5), rtol=0, atol=0.1)


def test_a_gate_that_looks_back_takes_the_mean_so_far():
    """By hand: sigmoids 0.5, 0.25 and 0.75, of which the second is padding."""
    gate = Gate(1, torch.Generator())
    with torch.no_grad():
        gate.weight.fill_(1.0)
    x = torch.logit(torch.tensor([0.5, 0.25, 0.75]))[None, :, None]

    back = gate(x, torch.tensor([[1, 0, 1]]), causal=True)[0, :, 0]
    whole = gate(x, torch.tensor([[1, 0, 1]]), causal=False)[0, :, 0]

    torch.testing.assert_close(back, torch.tensor([0.5, 0.5, 0.625]))
    torch.testing.assert_close(whole, torch.tensor([0.625]))


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_no_gate_of_a_causal_model_sees_later_tokens(tmp_path, family):
    """A mean over the whole text would tell a language model what it is to predict."""
    small, inputs = tiny(tmp_path, family), padded_inputs(family)
    sizes = {**LORA, "lora@ffn.input": 2, "prefix@attention": 2, "serial_adapter@ffn.output": 2}
    gates = {f"gate@{name.partition('@')[2]}": 1 for name in sizes}
    changed = inputs | {"input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, 6:] = 5

    with inside(small, sizes | gates) as injection:
        shake(injection, spread=0.5)
        before, after = hidden(small, inputs), hidden(small, changed)

    torch.testing.assert_close(after[0, :6], before[0, :6], rtol=1e-5, atol=1e-5)
    assert (after - before)[0, 6:].abs().max() > 0.01


def test_each_side_of_an_encoder_decoder_has_its_own_padding(tmp_path):
    """Nothing changes when encoder and decoder are both padded more."""
    small, inputs = tiny(tmp_path, "bart"), padded_inputs("bart")
    short = {
        name: value[1:2, : 6 if name.startswith("decoder") else 9] for name, value in inputs.items()
    }
    short["attention_mask"] = torch.ones_like(short["attention_mask"])
    short["decoder_attention_mask"] = torch.ones_like(short["decoder_attention_mask"])
    longer = {name: torch.nn.functional.pad(value, (0, 4)) for name, value in short.items()}
    sizes = {
        "lora@encoder.attention.query": 2, "lora@decoder.cross.key": 2,
        "lora@decoder.cross.query": 2, "prefix@decoder.cross": 2,
    }  # fmt: skip
    gates = {f"gate@{name.partition('@')[2]}": 1 for name in sizes}

    with inside(small, sizes | gates) as injection:
        shake(injection, spread=0.5)
        torch.testing.assert_close(
            hidden(small, longer)[:, :6], hidden(small, short), rtol=1e-4, atol=1e-4
        )


def test_a_gate_weighs_a_prefix_that_a_network_computes(tmp_path):
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    with inside(small, {"prefix_mlp@attention": 2}) as injection:
        ungated = hidden(small, inputs)
        state = {name: value.clone() for name, value in injection.state().items()}

    with inside(small, {"prefix_mlp@attention": 2, "gate@attention": 1}) as injection:
        gates = {n: torch.zeros_like(v) for n, v in injection.state().items() if "gate" in n}
        gates |= {n: v + 100 for n, v in gates.items() if n.endswith("bias")}
        injection.load(state | gates)
        wide_open = hidden(small, inputs)
        injection.load(state | {n: -v for n, v in gates.items()})
        closed = hidden(small, inputs)

    torch.testing.assert_close(wide_open, ungated, rtol=1e-4, atol=1e-5)
    assert (closed - ungated).abs().max() > 1e-4


def test_it_works_in_bf16(tmp_path):
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    with inside(small, APL | GATES) as injection:
        shake(injection)
        exact = hidden(small, inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = hidden(small, inputs)

    assert (rounded.float() - exact).abs().max() < 0.1


def test_a_gate_without_anything_to_weigh_is_refused(tmp_path):
    small = tiny(tmp_path, "bert")

    with (
        pytest.raises(
            PlanError,
            match=r"gate@attention\.query in block 0 has nothing to act on: put "
            r"lora@attention\.query there too, or leave it out",
        ),
        inside(small, {"gate@attention.query": 1, "lora@attention.value": 1}),
    ):
        pass


def test_what_is_gated_cannot_be_merged(tmp_path):
    small = tiny(tmp_path, "bert")

    with (
        inside(small, {**LORA, "gate@attention.query": 1}) as injection,
        pytest.raises(
            PlanError,
            match=r"gate@attention\.query cannot be merged: the factor differs from one input",
        ),
    ):
        injection.merge()
