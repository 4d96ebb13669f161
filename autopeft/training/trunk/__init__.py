"""The trunk: the frozen blocks below all that a configuration changes, run once for all trials.

`kept` is what a trainer talks to. `standing` lets recorded outputs stand in for blocks, `layout`
knows what a model's blocks return, `filling` computes it, `row_file` and `shelf` keep it on disk.
"""
