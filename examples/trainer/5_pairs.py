"""A plan in the Trainer of transformers: two texts and a number.

python 5_pairs.py plan.json data.csv out
"""

import csv
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer
from transformers import TrainingArguments as Arguments

import autopeft

plan = autopeft.read_plan(sys.argv[1])
folder = autopeft.find_model(plan.where.model).path
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)  # a number
model = autopeft.apply(plan, model)

columns = plan.task.columns
with Path(sys.argv[2]).open(encoding="utf-8") as file:
    rows = [
        {
            **tokenizer(row[columns.text], row[columns.pair], truncation=True, max_length=128),
            "labels": float(row[columns.label]),
        }
        for row in csv.DictReader(file)
    ]
numbers = torch.tensor([row["labels"] for row in rows])
for row in rows:  # the head learns in standard units
    row["labels"] = float((row["labels"] - numbers.mean()) / numbers.std())

optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
Trainer(
    model=model,
    args=Arguments("run", num_train_epochs=1, save_strategy="no", report_to="none"),
    train_dataset=rows,
    processing_class=tokenizer,
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
).train()
autopeft.save(model, sys.argv[3])
