"""A plan in the Trainer of transformers: words and a tag for each.

python 4_tokens.py plan.json data.jsonl out
"""

import json
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
)
from transformers import TrainingArguments as Arguments

import autopeft

plan = autopeft.read_plan(sys.argv[1])
folder = autopeft.find_model(plan.where.model).path
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(plan.task.labels))
model = autopeft.apply(plan, model)

rows = []
with Path(sys.argv[2]).open(encoding="utf-8") as file:
    for line in map(json.loads, file):
        words, tags = line[plan.task.columns.text], line[plan.task.columns.label]
        row = tokenizer(words, is_split_into_words=True, truncation=True, max_length=128)
        labels, before = [], None
        for word in row.word_ids():  # the first token of every word has its tag
            first = word is not None and word != before
            labels.append(plan.task.labels.index(tags[word]) if first else -100)
            before = word
        rows.append({**row, "labels": labels})

optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
Trainer(
    model=model,
    args=Arguments("run", num_train_epochs=1, save_strategy="no", report_to="none"),
    train_dataset=rows,
    data_collator=DataCollatorForTokenClassification(tokenizer),
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
).train()
autopeft.save(model, sys.argv[3])
