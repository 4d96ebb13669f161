"""A plan in the Seq2SeqTrainer of transformers: texts and what to write for them.

python 6_translation.py plan.json data.jsonl out
"""

import json
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

import autopeft

plan = autopeft.read_plan(sys.argv[1])
folder = autopeft.find_model(plan.where.model).path
tokenizer = AutoTokenizer.from_pretrained(folder)
model = autopeft.apply(plan, AutoModelForSeq2SeqLM.from_pretrained(folder))

columns, size = plan.task.columns, plan.task.max_length
with Path(sys.argv[2]).open(encoding="utf-8") as file:
    rows = [
        {
            **tokenizer(row[columns.text], truncation=True, max_length=size),
            "labels": tokenizer(text_target=row[columns.label], max_length=size, truncation=True)[
                "input_ids"
            ],
        }
        for row in map(json.loads, file)
    ]
train, validation = rows[len(rows) // 10 :], rows[: len(rows) // 10]

optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
trainer = Seq2SeqTrainer(
    model=model,
    args=Seq2SeqTrainingArguments(
        "run",
        num_train_epochs=1,
        predict_with_generate=True,
        generation_max_length=size,
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=train,
    data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
)
trainer.train()
autopeft.save(model, sys.argv[3])

written = trainer.predict(validation).predictions
written[written < 0] = tokenizer.pad_token_id
for row, ids in zip(validation, written, strict=True):
    told = tokenizer.decode(row["input_ids"], skip_special_tokens=True)
    said = tokenizer.decode(ids, skip_special_tokens=True)
    sys.stdout.write(f"{told} -> {said}\n")
