"""A plan in a loop of one's own, on one device or many: texts and their classes.

python 8_accelerate.py plan.json data.csv out
accelerate launch --num_processes 2 8_accelerate.py plan.json data.csv out

AdaLoRA and DyLoRA have something to do at every step: train those in the Trainer, with FollowPlan.
"""

import csv
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers import DataCollatorWithPadding as Collator

import autopeft

plan = autopeft.read_plan(sys.argv[1])
set_seed(plan.seed)  # the new classifier is the same in every process
accelerator = Accelerator()
folder = autopeft.find_model(plan.where.model).path
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(plan.task.labels))
model = autopeft.apply(plan, model)

with Path(sys.argv[2]).open(encoding="utf-8") as file:
    rows = [
        {
            **tokenizer(row[plan.task.columns.text], truncation=True, max_length=128),
            "labels": plan.task.labels.index(row[plan.task.columns.label]),
        }
        for row in csv.DictReader(file)
    ]

batches = torch.utils.data.DataLoader(rows, 8, shuffle=True, collate_fn=Collator(tokenizer))
optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
model.train()
for number, batch in enumerate(batches):
    loss = model(**batch).loss
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    accelerator.print(f"step {number + 1} of {len(batches)}: loss {loss.item():.3f}")

accelerator.wait_for_everyone()
if accelerator.is_main_process:
    autopeft.save(model, sys.argv[3])
