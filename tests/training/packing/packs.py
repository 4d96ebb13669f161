"""Trainings alone and together, and how far apart they are."""

from dataclasses import dataclass, replace

import torch

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.checking import clashes, partners
from autopeft.training.packing.turns import Wanted, together
from autopeft.trial import Fidelity, Measurement, Proposal
from tests.models import recipe_of

ROUNDING = 1e-5
"""Sums of single precision in another order, over a dozen steps of training."""

WITHOUT_EFFECT = (
    *("/attention.key", "glora_E.X"),
    *("attention.key/glora_C.Xd", "attention.key/glora_C.Xu", "attention.key/glora_D.X"),
)


@dataclass(frozen=True)
class Trained:
    """What became of a training: its measurement and its weights, those of its head included."""

    measurement: Measurement
    weights: dict[str, torch.Tensor]


def wanted(bench, sizes, *, seed=0, share=1.0, paused=None, **recipe):
    """Return a training; ``sizes`` are those of slots, in all blocks, or a whole table."""
    configuration = bench.table(sizes) if isinstance(sizes, dict) else sizes
    proposal = Proposal(
        configuration=configuration,
        recipe=recipe_of(**recipe),
        seed=seed,
        fidelity=Fidelity(share=share),
    )
    return Wanted(proposal=proposal, paused=paused)


def in_rows(bench, sizes, rows):
    """Return a table that has sizes in some rows only."""
    everywhere = bench.table(sizes).sizes
    nothing = (0,) * len(bench.slots)
    return type(bench.table({}))(
        tuple(row if number in rows else nothing for number, row in enumerate(everywhere))
    )


def everywhere(slots, method):
    """Return sizes of a method at all its sites, as far as they do not clash."""
    own = [slot for slot in slots if slot.method == method]
    dropped = {second for _, second in clashes(tuple(own))}
    sizes = {s.name: min(3, s.most or 3) for i, s in enumerate(own) if i not in dropped}
    for column, allowed in partners(tuple(slots)):
        if slots[column].name in sizes:
            found = [slots[i].name for i in allowed if METHODS[slots[i].method].identity]
            sizes |= {found[0]: 2} if found else {slots[column].name: 0}
    return sizes


def alone(bench, one):
    """Train as without packs."""
    proposal = one.proposal
    with bench.trainer.tuned(
        bench.slots, proposal.configuration, proposal.recipe, proposal.seed
    ) as tuned:
        *_, measured = bench.trainer.measure(
            tuned, proposal.seed, proposal.fidelity, paused=one.paused
        )
        return Trained(_counted(measured), _weights(tuned))


def packed(bench, trainings, **options):
    """Train together, and return what became of each: `Trained`, or the error."""
    found = {}
    for turn in together(bench.trainer, bench.slots, trainings, **options):
        if isinstance(turn.event, Measurement):
            measured = _counted(turn.event)
            found[turn.place] = Trained(measured, _weights(turn.tuned))
        elif not isinstance(turn.event, float):
            found[turn.place] = turn.event
    return [found[place] for place in range(len(trainings))]


def assert_equal(one, other, tolerance=ROUNDING):
    """Compare weights and loss to rounding, and exactly all that is counted.

    Left out is what has no effect, so that its gradient is nothing but rounding, of which AdamW
    makes whole steps: a softmax takes away the bias of keys, and a norm one number for all outputs.
    """
    loss = other.measurement.loss
    exact = replace(one.measurement, loss=loss)
    weights = [
        {n: v for n, v in found.weights.items() if not n.endswith(WITHOUT_EFFECT)}
        for found in (one, other)
    ]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=tolerance)
    assert abs(one.measurement.loss - loss) < tolerance
    assert exact == other.measurement


def _counted(measured):
    """Leave out the time, and the operators: what a pass of several runs in one call is another."""
    return replace(measured, seconds=0.0, operators=())


def _weights(tuned):
    found = tuned.injection.state() | tuned.model.head()
    return {name: value.detach().clone() for name, value in found.items()}
