"""The operators that methods are made of, one folder each.

``naive.py`` is the meaning, in plain PyTorch; ``eager.py`` stands beside it where a CPU has a
faster way to the same values, and ``triton.py`` is the speed on a GPU. ``operator.py`` is what is
called: it takes the form for the device of its operands.
"""
