"""The operators that methods are made of, one folder each.

``naive.py`` is the meaning, in plain PyTorch; ``eager.py`` stands beside it where a CPU has a
faster way to the same values.
"""
