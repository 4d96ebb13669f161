"""A short training script for a plan: `peft` and the Trainer where they can, else autopeft.apply.

The script is written to be read and changed; what it does is what the plan says, but for two
things, which it names: where data has to be split it splits it in its own way, and the Trainer
makes batches without sorting texts by length.
"""

import json
from pathlib import Path
from textwrap import dedent, indent

from autopeft.plan import Plan
from autopeft.production.adapters import scale
from autopeft.production.script_data import data_part, in_folders, of_paths, quoted
from autopeft.production.terms import cells_of
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
    body += [_peft_model(plan) if peft else _own_model(plan), _training(plan, peft=peft)]
    return "\n\n".join(part.removeprefix("\n").removesuffix("\n") for part in body) + "\n"


def _head(plan: Plan, *, peft: bool) -> str:
    what = plan.configuration.summary(plan.slots)
    lines = [f'"""Train plan {plan.digest[:12]} with {"peft and " if peft else ""}the Trainer.']
    lines += ["", f"{plan.parameters:,} parameters: {_short(what)}.", '"""', ""]
    lines += ["import sys", *([] if of_paths(plan) else [""])]
    kind = plan.task.kind
    if of_paths(plan):
        lines += ["from pathlib import Path", ""]
    if kind == "image":
        lines += ["import numpy as np"]
    image = "Image, " if kind == "image" and not in_folders(plan) else ""
    lines += ["import torch", f"from datasets import {image}load_dataset"]
    if peft:
        lines += [f"from peft import {_config_class(plan)}, get_peft_model"]
    if peft and kind not in _AUTO:
        loss = "mse_loss" if kind == "regression" else "cross_entropy"
        lines += [f"from torch.nn.functional import {loss}"]
    reader = "AutoImageProcessor" if kind == "image" else "AutoTokenizer"
    model = ["AutoConfig", _AUTO.get(kind, "AutoModel")] if peft else []
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
    named = {part: str(Path(file).expanduser().absolute()) for part, file in files.items() if file}
    model = str(find_model(plan.where.model).path)
    lines = [f"MODEL = {quoted(model)}", f"FILES = {quoted(named)}"]
    if not peft:
        lines.append(f"PLAN = {quoted(plan_file)}")
    if task.kind != "image":
        lines.append(f"LONGEST = {task.max_length}  # tokens")
    columns = task.columns
    if task.kind != "image" or not in_folders(plan):
        used = {"TEXT": columns.text, "LABEL": columns.label}
        used |= {"PAIR": columns.pair} if columns.pair else {}
        lines += [f"{name} = {quoted(column)}" for name, column in used.items() if column]
    if task.labels:
        lines.append(f"LABELS = {quoted(task.labels)}")
    lines += ['OUT = sys.argv[1] if len(sys.argv) > 1 else "trained"', f"set_seed({plan.seed})"]
    return "\n".join(lines)


def _classifier(plan: Plan) -> str:
    pooled = {
        "mean": "(x * mask).sum(1) / mask.sum(1)", "cls": "x[:, 0]", "tokens": "x",
        "pooler": "out.pooler_output",
    }[plan.task.head]  # fmt: skip
    before = "# every image or text has one vector"
    if plan.task.kind == "image" and plan.task.head == "mean":
        before = 'side = inputs["pixel_values"].shape[-1] // self.backbone.config.patch_size'
        pooled = "x[:, -(side**2) :].mean(1)"
    elif plan.task.head == "mean":
        before = 'mask = inputs["attention_mask"][:, :, None].to(x.dtype)'
    loss = "cross_entropy(logits.flatten(0, -2), labels.flatten())"
    scores = "logits"
    if plan.task.kind == "regression":
        loss = "mse_loss(logits[:, 0], (labels - MEAN) / SPREAD)"
        scores = "logits * SPREAD + MEAN"
    return dedent(f'''

        class Classifier(torch.nn.Module):
            """The plan's head, {plan.task.head}, on the backbone."""

            def __init__(self, backbone):
                super().__init__()
                self.backbone = backbone
                self.head = torch.nn.Linear(backbone.config.hidden_size, {plan.task.outputs})

            def forward(self, labels=None, **inputs):
                out = self.backbone(**inputs)
                x = out.last_hidden_state
                {before}
                logits = self.head({pooled})
                loss = None if labels is None else {loss}
                return SequenceClassifierOutput(loss=loss, logits={scores})

    ''')


def _peft_model(plan: Plan) -> str:
    auto = _AUTO.get(plan.task.kind, "AutoModel")
    head = plan.recipe.head_learning_rate
    wrapped = "model" if plan.task.head == "lm" else "Classifier(model)"
    return "\n".join(
        [
            f"config = {_config(plan)}",
            "known = AutoConfig.from_pretrained(MODEL).to_dict()",
            'names = [name for name in known if "drop" in name and isinstance(known[name], float)]',
            f"dropout = dict.fromkeys(names, {plan.recipe.dropout!r})  # the plan's",
            f"model = {auto}.from_pretrained(MODEL, dtype=torch.float32, **dropout)",
            "model = get_peft_model(model, config)",
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
        options: dict[str, object] = {"target_modules": list(paths), "feedforward_modules": read}
        return _call(_config_class(plan), options)
    usual = max(set(sizes := [cell.size for cell in cells]), key=sizes.count)
    alphas = {path: scale(plan, cell) * cell.size for path, cell in paths.items()}
    first = next(alphas[path] for path, cell in paths.items() if cell.size == usual)
    options = {"r": usual, "lora_alpha": first, "target_modules": list(paths)}
    if any(cell.size != usual for cell in cells):
        options["rank_pattern"] = {p: cell.size for p, cell in paths.items() if cell.size != usual}
        options["alpha_pattern"] = {p: a for p, a in alphas.items() if a != first}
    if cells[0].slot.method == "dora":
        options["use_dora"] = True
    return _call(_config_class(plan), options)


def _config_class(plan: Plan) -> str:
    return "IA3Config" if "ia3" in plan.configuration.methods(plan.slots) else "LoraConfig"


def _call(name: str, options: dict[str, object]) -> str:
    parts = []
    for key, value in options.items():
        text = json.dumps(value, indent=4) if isinstance(value, (list, dict)) else repr(value)
        parts.append(f"{key}={text},")
    return f"{name}(\n{indent(chr(10).join(parts), '    ')}\n)"


def _rate(plan: Plan) -> float:
    return plan.recipe.learning_rates[plan.configuration.methods(plan.slots)[0]]


def _own_model(plan: Plan) -> str:
    scale = ["model.mean.fill_(MEAN)", "model.spread.fill_(SPREAD)"]
    return "\n".join(
        [
            "plan = autopeft.read_plan(PLAN)",
            "model = autopeft.apply(plan, autopeft.model_for(plan, MODEL))",
            *(scale if plan.task.kind == "regression" else []),
            "groups = autopeft.parameter_groups(model)",
        ]
    )


def _training(plan: Plan, *, peft: bool) -> str:
    recipe = plan.recipe
    half = [
        "    bf16=True,",
        "    use_cpu=not torch.accelerator.is_available(),  # or it is refused",
    ]
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
        *(half if recipe.precision == "bf16" else []),
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
        scale = ' | {"mean": MEAN, "spread": SPREAD}' if plan.task.kind == "regression" else ""
        lines += [
            "model.backbone.save_pretrained(OUT)",
            f'torch.save(model.head.state_dict(){scale}, f"{{OUT}}/head.pt")',
        ]
    return "\n".join(lines)
