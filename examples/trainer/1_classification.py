"""A plan in the Trainer of transformers: texts and their classes.

python 1_classification.py plan.json data.csv out
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

optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))  # a rate for every method
Trainer(
    model=model,
    args=Arguments("run", num_train_epochs=1, save_strategy="no", report_to="none"),
    train_dataset=rows,
    processing_class=tokenizer,
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
).train()
autopeft.save(model, sys.argv[3])
