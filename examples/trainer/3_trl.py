"""A plan in the SFTTrainer of TRL: prompts and what comes after them.

python 3_trl.py plan.json data.jsonl out
"""

import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import autopeft

plan = autopeft.read_plan(sys.argv[1])
folder = autopeft.find_model(plan.where.model).path
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = autopeft.apply(plan, AutoModelForCausalLM.from_pretrained(folder))

optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
SFTTrainer(
    model=model,  # no peft_config: the plan is in the model already
    args=SFTConfig(
        "run",
        num_train_epochs=1,
        save_strategy="no",
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
    ),
    train_dataset=load_dataset("json", data_files=sys.argv[2], split="train"),
    processing_class=tokenizer,
    optimizers=(optimizer, None),
    callbacks=[autopeft.FollowPlan(model)],
).train()
autopeft.save(model, sys.argv[3])
