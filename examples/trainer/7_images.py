"""A plan in the Trainer of transformers: images in a folder a class.

python 7_images.py plan.json folder out
"""

import sys
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoImageProcessor, AutoModelForImageClassification, Trainer
from transformers import TrainingArguments as Arguments

import autopeft

plan = autopeft.read_plan(sys.argv[1])
folder = autopeft.find_model(plan.where.model).path
processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
model = AutoModelForImageClassification.from_pretrained(folder, num_labels=len(plan.task.labels))
model = autopeft.apply(plan, model)

images = load_dataset("imagefolder", data_dir=sys.argv[2], split="train")
names = images.features["label"].names


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Turn images into a batch as it is needed; all of them at once would fill the memory."""
    pixels = processor([row["image"].convert("RGB") for row in rows], return_tensors="pt")
    labels = [plan.task.labels.index(names[row["label"]]) for row in rows]
    return {**pixels, "labels": torch.tensor(labels)}


optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
Trainer(
    model=model,
    args=Arguments(
        "run",
        num_train_epochs=1,
        remove_unused_columns=False,  # the images are what is collated
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=images,
    data_collator=collate,
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
).train()
autopeft.save(model, sys.argv[3])
