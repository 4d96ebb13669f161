"""A short training script for a plan: `peft` and the Trainer where they can, else autopeft.apply.

The script is written to be read and changed; what it does is what the plan says, but for two
things, which it names: where data has to be split it splits it in its own way, and the Trainer
makes batches without sorting texts by length.
"""

import json
from pathlib import Path
from textwrap import dedent, indent

from autopeft.plan import Plan
from autopeft.production.adapters import cells_of, scale
from autopeft.production.script_data import data_part
from autopeft.training.model_files import find_model

_AUTO = {"causal_lm": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}


def by_peft(plan: Plan) -> bool:
    """Tell whether `peft` trains the same as the plan: one method of its own, on whole matrices."""
    methods = set(plan.configuration.methods(plan.slots))
    whole = all(cell.site.start is None for cell in cells_of(plan))
    return whole and methods in ({"lora"}, {"dora"}, {"ia3"})


def script(plan: Plan, plan_file: Path | str) -> str:
    """Write a training script for a plan that lies at ``plan_file``."""
    peft = by_peft(plan)
    body = [_head(plan, peft=peft), _constants(plan, str(plan_file), peft=peft), data_part(plan)]
    if peft and plan.task.head != "lm":
        body.append(_classifier(plan))
    body += [_peft_model(plan) if peft else _own_model(), _training(plan, peft=peft)]
    return "\n\n".join(part.strip("\n") for part in body) + "\n"


def _head(plan: Plan, *, peft: bool) -> str:
    what = plan.configuration.summary(plan.slots)
    lines = [f'"""Train plan {plan.digest[:12]} with {"peft and " if peft else ""}the Trainer.']
    lines += ["", f"{plan.parameters:,} parameters: {_short(what)}.", '"""', ""]
    lines += ["import sys", ""]
    kind = plan.task.kind
    if kind == "image":
        lines += ["import numpy as np"]
    lines += ["import torch", "from datasets import load_dataset"]
    if peft:
        lines += ["from peft import IA3Config, LoraConfig, get_peft_model"]
    reader = "AutoImageProcessor" if kind == "image" else "AutoTokenizer"
    model = [_AUTO.get(kind, "AutoModel")] if peft else []
    names = [*model, reader, "Trainer", "TrainingArguments", "set_seed"]
    lines += [f"from transformers import {', '.join(names)}"]
    if peft and kind not in _AUTO:
        lines += ["from transformers.modeling_outputs import SequenceClassifierOutput"]
    if not peft:
        lines += ["", "import autopeft"]
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) < 200 else f"{text[:200]} ..."


def _constants(plan: Plan, plan_file: str, *, peft: bool) -> str:
    data, task = plan.where.data, plan.task
    files = {"train": data.train, "validation": data.validation, "test": data.test}
    named = {part: file for part, file in files.items() if file}
    lines = [f"MODEL = {str(find_model(plan.where.model).path)!r}", f"FILES = {named!r}"]
    if not peft:
        lines.append(f"PLAN = {plan_file!r}")
    if task.kind != "image":
        lines.append(f"LONGEST = {task.max_length}  # tokens")
    lines.append(
        f"TEXT, LABEL, PAIR = {task.columns.text!r}, {task.columns.label!r}, {task.columns.pair!r}"
    )
    if task.labels:
        lines.append(f"LABELS = {list(task.labels)!r}")
    lines += ['OUT = sys.argv[1] if len(sys.argv) > 1 else "trained"', f"set_seed({plan.seed})"]
    return "\n".join(lines)


def _classifier(plan: Plan) -> str:
    outputs = plan.task.outputs
    pooled = {
        "mean": "(x * mask).sum(1) / mask.sum(1)", "cls": "x[:, 0]", "tokens": "x",
        "pooler": "out.pooler_output",
    }[plan.task.head]  # fmt: skip
    if plan.task.kind == "image" and plan.task.head == "mean":
        pooled = "x[:, 1:].mean(1)"
    mask = 'mask = inputs["attention_mask"][:, :, None].to(x.dtype)\n' if "mask" in pooled else ""
    loss = (
        "torch.nn.functional.mse_loss(logits[:, 0], labels)"
        if plan.task.kind == "regression"
        else "torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())"
    )
    return dedent(f'''
        class Classifier(torch.nn.Module):
            """The plan's head, {plan.task.head}, on the backbone."""

            def __init__(self, backbone):
                super().__init__()
                self.backbone = backbone
                self.head = torch.nn.Linear(backbone.config.hidden_size, {outputs})

            def forward(self, labels=None, **inputs):
                out = self.backbone(**inputs)
                x = out.last_hidden_state
                {mask.strip() or "# every image or text has one vector"}
                logits = self.head({pooled})
                loss = None if labels is None else {loss}
                return SequenceClassifierOutput(loss=loss, logits=logits)
    ''')


def _peft_model(plan: Plan) -> str:
    auto = _AUTO.get(plan.task.kind, "AutoModel")
    head = plan.recipe.head_learning_rate
    wrapped = "model" if plan.task.head == "lm" else "Classifier(model)"
    return "\n".join(
        [
            f"config = {_config(plan)}",
            f"model = get_peft_model({auto}.from_pretrained(MODEL), config)",
            *([] if wrapped == "model" else [f"model = {wrapped}"]),
            "head = list(model.head.parameters())" if wrapped != "model" else "head = []",
            "inside = {id(parameter) for parameter in head}",
            "adapter = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]",
            f'groups = [{{"params": adapter, "lr": {_rate(plan)!r}}}]',
            *([f'groups += [{{"params": head, "lr": {head!r}}}]'] if wrapped != "model" else []),
        ]
    )


def _config(plan: Plan) -> str:
    cells = list(cells_of(plan))
    paths = {plan.backbone.module_path(cell.site, cell.block): cell for cell in cells}
    if cells[0].slot.method == "ia3":
        read = [path for path, cell in paths.items() if cell.site.place == "ffn.output"]
        return _call("IA3Config", {"target_modules": list(paths), "feedforward_modules": read})
    usual = max(set(sizes := [cell.size for cell in cells]), key=sizes.count)
    alphas = {path: scale(plan, cell) * cell.size for path, cell in paths.items()}
    first = next(alphas[path] for path, cell in paths.items() if cell.size == usual)
    options: dict[str, object] = {"r": usual, "lora_alpha": first, "target_modules": list(paths)}
    if any(cell.size != usual for cell in cells):
        options["rank_pattern"] = {p: cell.size for p, cell in paths.items() if cell.size != usual}
        options["alpha_pattern"] = {p: a for p, a in alphas.items() if a != first}
    if cells[0].slot.method == "dora":
        options["use_dora"] = True
    return _call("LoraConfig", options)


def _call(name: str, options: dict[str, object]) -> str:
    parts = []
    for key, value in options.items():
        text = json.dumps(value, indent=4) if isinstance(value, (list, dict)) else repr(value)
        parts.append(f"{key}={text},")
    return f"{name}(\n{indent(chr(10).join(parts), '    ')}\n)"


def _rate(plan: Plan) -> float:
    return plan.recipe.learning_rates[plan.configuration.methods(plan.slots)[0]]


def _own_model() -> str:
    return "\n".join(
        [
            "plan = autopeft.read_plan(PLAN)",
            "model = autopeft.apply(plan, autopeft.model_for(plan, MODEL))",
            "groups = autopeft.parameter_groups(model)",
        ]
    )


def _training(plan: Plan, *, peft: bool) -> str:
    recipe = plan.recipe
    follows = {"adalora", "dylora"} & set(plan.configuration.methods(plan.slots))
    chooses = "fish_mask" in plan.configuration.methods(plan.slots)
    lines = [
        f'optimizer = torch.optim.AdamW(groups, weight_decay={recipe.weight_decay!r})',
        "arguments = TrainingArguments(",
        "    output_dir=OUT,",
        f"    num_train_epochs={recipe.epochs},",
        f"    per_device_train_batch_size={recipe.batch_size},",
        f"    warmup_steps={recipe.warmup!r},  # a share of all steps",
        '    lr_scheduler_type="linear",',
        f"    bf16={recipe.precision == 'bf16'},",
        f"    seed={plan.seed},",
        '    label_names=["labels"],',
        "    remove_unused_columns=False,",
        '    eval_strategy="epoch",',
        '    save_strategy="no",',
        '    report_to="none",',
        ")",
    ]  # fmt: skip
    if chooses:
        lines.append(
            "autopeft.choose_by(model, [collate([dict(row)]) for row in list(train)[:128]])"
        )
    callbacks = ", callbacks=[autopeft.FollowPlan(model)]" if follows else ""
    lines += [
        "trainer = Trainer(",
        "    model=model, args=arguments, train_dataset=train, eval_dataset=validation,",
        f"    data_collator=collate, optimizers=(optimizer, None){callbacks},",
        ")",
        "trainer.train()",
    ]
    if not peft:
        lines.append("autopeft.save(model, OUT)")
    elif plan.task.head == "lm":
        lines.append("model.save_pretrained(OUT)")
    else:
        lines += [
            "model.backbone.save_pretrained(OUT)",
            'torch.save(model.head.state_dict(), f"{OUT}/head.pt")',
        ]
    return "\n".join(lines)
