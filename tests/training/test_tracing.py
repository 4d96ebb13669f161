"""What modules read and give, followed without weights."""

import torch
from torch import nn
from transformers import AutoModel

from autopeft.training.tracing import calls
from tests.models import config_of


def traced(family):
    with torch.device("meta"):
        model = AutoModel.from_config(config_of(family))
    return model, calls(model)


def test_layers_that_read_one_tensor_are_seen_to():
    _, found = traced("llama")
    query, key, gate = (
        found[f"layers.1.{path}"]
        for path in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj")
    )

    assert query.reads == key.reads != gate.reads
    assert found["layers.1.input_layernorm"].gives == query.reads


def test_what_is_inside_a_module_ends_before_it():
    _, found = traced("bert")

    inside = [call.order for path, call in found.items() if path.startswith("encoder.layer.0.")]
    assert max(inside) < found["encoder.layer.0"].order


def test_only_the_first_call_counts():
    """ALBERT runs its block twice."""
    _, found = traced("albert")
    block = "encoder.albert_layer_groups.0.albert_layers.0"

    assert found[block].reads != found[block].gives
    assert found[block].order < found["encoder"].order


def test_the_model_is_left_without_hooks():
    model, _ = traced("vit")

    assert not any(module._forward_hooks for module in model.modules())


def test_code_that_asks_for_values_gets_zeros():
    class Asking(nn.Module):
        config = config_of("bert")

        def forward(self, input_ids):
            assert not input_ids.any()
            assert input_ids.sum().item() == 0
            return input_ids

    assert list(calls(Asking())) == [""]
