"""From a plan to what runs in production: trained in anyone's loop, checked, and given away.

`applying` puts a plan into a model, `keeping` saves and loads what was trained. `opening` finds
model and weights again; `peft_format`, `merging`, `script` and `card` write them in forms that
others read; `verifying` holds them against their plan and what was `recorded` of them, and
`serving` says who would serve them.
"""
