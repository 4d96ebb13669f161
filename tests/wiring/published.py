"""Results in the format of peft's method comparison: one that is real, and others made from it."""

import copy
import json
from pathlib import Path

REAL = Path(__file__).parents[1] / "data/peft_results/lora--llama-3.2-3B-rank64-steps1000.json"
LLAMA = {
    "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192,
    "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 128256, "tie_word_embeddings": True,
}  # fmt: skip
"""The shape of the model of the comparison; its 3,212,749,824 parameters are on no disk here."""
BACKBONE = 3_212_749_824

# What the published files of these names say: settings, trained parameters, rate and accuracy.
PUBLISHED = {
    "lora/llama-3.2-3B-rank32": ({"r": 32, "lora_alpha": 64}, 9_175_040, 1e-4, 0.482),
    "ia3/llama-3.2-3B-default": (
        {"peft_type": "IA3", "target_modules": ["down_proj", "v_proj", "k_proj"],
         "feedforward_modules": ["down_proj"], "init_ia3_weights": True},
        286_720, 1e-4, 0.345,
    ),
    "prefixtuning/llama-3.2-3B-lr_0.001": (
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 200, "token_dim": 1024,
         "num_layers": 28, "encoder_hidden_size": 3072, "prefix_projection": False},
        11_468_800, 1e-3, 0.147,
    ),
    "ln_tuning/llama-3.2-3B-default": (
        {"peft_type": "LN_TUNING",
         "target_modules": ["input_layernorm", "post_attention_layernorm", "norm"]},
        175_104, 1e-4, 0.0,
    ),
    "full-finetuning/llama-3.2-3B-lr_0.00001": (None, BACKBONE, 1e-5, 0.5004),
}  # fmt: skip


def a_document(name: str = "lora/llama-3.2-3B-rank32", **settings):
    """Return a result as it is in a file; the changes are those of peft's settings."""
    known, trained, rate, score = PUBLISHED[name]
    document = copy.deepcopy(json.loads(REAL.read_text("utf-8")))
    run, train = document["run_info"], document["train_info"]
    run["experiment_name"] = name
    run["train_config"] |= {"max_steps": 5000}
    run["train_config"]["optimizer_kwargs"]["lr"] = rate
    if known is None:
        run["peft_config"] = None
    elif "peft_type" in known:
        run["peft_config"] = {"task_type": "CAUSAL_LM", **known, **settings}
    else:
        run["peft_config"] |= known | settings
    train["num_trainable_params"] = trained
    train["num_total_params"] = BACKBONE + (trained if known else 0)
    train["metrics"][-1] |= {"test accuracy": score, "train samples": 20_000}
    return document


def write(folder: Path, document, name: str = "") -> Path:
    """Write a result to a file."""
    named = name or document["run_info"]["experiment_name"].replace("/", "--")
    file = folder / f"{named}.json"
    file.write_text(json.dumps(document), "utf-8")
    return file
