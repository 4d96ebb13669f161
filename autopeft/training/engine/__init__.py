"""What makes a training step fast on a CPU: frozen weights as bf16 copies, where bf16 is asked for.

`halves` keeps the copies, `blocks` lets a backbone's blocks run on them.
"""
