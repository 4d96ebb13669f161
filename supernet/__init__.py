"""All configurations of a space in one set of shared weights on one backbone.

A smaller size is the first rows of a larger one (weight entanglement, as in NOAH and AutoFormer).
There are no elastic copies of the methods: a configuration that is *active* is the plain injected
model, whose parameters are views of the first rows of the shared tensors.
"""
