"""Several trials trained together on one resident backbone, each as if it were alone.

Every trial of a pack has a lane: modules of its own around the tensors that all share, so that no
method notices that there are others. `together` lets the lanes take turns, step by step. What they
have in common is done once: `below` the frozen blocks under the lowest that a trial changes,
`abreast` the pass of several lanes that are at the same point. `cost` decides how many.
"""
