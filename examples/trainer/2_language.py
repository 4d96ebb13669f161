"""A plan in the Trainer of transformers: prompts and what comes after them.

python 2_language.py plan.json data.jsonl out
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer
from transformers import TrainingArguments as Arguments

import autopeft

plan = autopeft.read_plan(sys.argv[1])
folder = autopeft.find_model(plan.where.model).path
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = autopeft.apply(plan, AutoModelForCausalLM.from_pretrained(folder))

rows = []
with Path(sys.argv[2]).open(encoding="utf-8") as file:
    for line in map(json.loads, file):
        before = tokenizer(line["prompt"])["input_ids"]
        after = tokenizer(" " + line["completion"], add_special_tokens=False)["input_ids"]
        ids = [*before, *after, tokenizer.eos_token_id]
        rows.append({"input_ids": ids, "labels": [-100] * len(before) + ids[len(before) :]})

optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
Trainer(
    model=model,
    args=Arguments("run", num_train_epochs=1, save_strategy="no", report_to="none"),
    train_dataset=rows,
    data_collator=DataCollatorForSeq2Seq(tokenizer),
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
).train()
autopeft.save(model, sys.argv[3])
