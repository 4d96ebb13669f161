from dataclasses import replace

import numpy as np
import pytest
import torch

from autopeft.search_spaces.genes import Gene
from autopeft.search_spaces.sampling import Sampler
from autopeft.supernet.elastic import Supernet
from autopeft.supernet.training import Schedule, Training
from autopeft.training.loop import DivergedError
from autopeft.training.room import Room
from autopeft.training.trainer import Trainer
from tests.models import FEW, recipe_of, table


def trained(study, schedule=Schedule(trainings=4.0), room=None, hook=None, **recipe):  # noqa: B008  # frozen
    trainer = Trainer.open(
        study.task, study.backbone, study.where, test=False, threads=1, room=room
    )
    if hook:
        trainer.blocks[-1].register_forward_hook(hook)
    whole = replace(study.recipe, **recipe)
    net = Supernet(trainer, study.space, study.ceiling, whole, study.seed)
    training = Training(net, schedule)
    for _ in training.run():
        pass
    return training


def only(space, configuration):
    """Return the space that holds one configuration."""
    genes = tuple(
        Gene(name=f"{block} {column}", choices=(size,), cells=((block, column),))
        for block, row in enumerate(configuration.sizes)
        for column, size in enumerate(row)
        if size
    )
    return replace(space, genes=genes, followers=(), patterns=(), allocations=())


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(sampling="single")], ids=str)
def test_a_space_of_one_configuration_is_trained_as_a_plain_training_does(study, schedule):
    """The same batches in the same order, the same steps; to rounding, for AdamW is our own."""
    wanted = table(study.space.slots, study.backbone.blocks, FEW)
    alone = replace(study, space=only(study.space, wanted))
    each = 1 if schedule.sampling == "single" else 4
    net = trained(alone, replace(schedule, trainings=float(each)), weight_decay=0.1).net
    found = net.extract(wanted)

    trainer, recipe = net.trainer, recipe_of(epochs=4, weight_decay=0.1)
    start = Supernet(trainer, alone.space, alone.ceiling, recipe, study.seed)
    weights, head = start.extract(wanted), start.head()
    with trainer.tuned(study.space.slots, wanted, recipe, seed=0) as tuned:
        tuned.injection.load(weights)
        for name, parameter in tuned.model.head().items():
            parameter.data.copy_(head[name])
        rng = np.random.default_rng([study.seed, 0])
        steps = _fit(tuned, trainer.parts["train"], recipe, rng)
        expected = {name: value.clone() for name, value in tuned.injection.state().items()}

    assert steps == 12
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def _fit(tuned, train, recipe, rng):
    from autopeft.training.loop import fit, steps_of

    *_, last = fit(
        tuned.model, train, recipe, tuned.injection.by_method(), steps=steps_of(len(train), recipe),
        rng=rng,
    )  # fmt: skip
    return last


@pytest.mark.parametrize("twice", [False, True])
def test_a_supernet_keeps_a_limit_and_comes_out_the_same(study, twice):
    """In pieces, and with blocks that run twice besides; to the rounding of other sums."""
    schedule = Schedule(trainings=4.0)
    whole = trained(study, schedule)
    room = Room(300 * 2**20 + 400_000, resident=lambda: 0)
    room.recomputes = twice

    narrow = trained(study, schedule, room=room)

    assert "1 training took batches in pieces" in room.told[0]
    assert ("1 training computed activations twice" in room.told[0]) == twice
    assert narrow.losses == pytest.approx(whole.losses, abs=1e-4)
    for name, value in whole.net.tensors.items():
        torch.testing.assert_close(narrow.net.tensors[name], value, rtol=1e-3, atol=1e-4)


def test_memory_that_runs_out_in_a_supernet_is_learned_from(study):
    """Also within a step whose configurations share a forward."""
    schedule, room = Schedule(trainings=4.0), Room()
    whole, short = trained(study, schedule), []

    def hook(_module, args, _output):
        if len(args[0]) > 8 and torch.is_grad_enabled():
            short.append(len(args[0]))
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    narrow = trained(study, schedule, room=room, hook=hook)

    assert short == [16]
    assert "memory ran out 1 time" in room.told[0]
    assert narrow.losses == pytest.approx(whole.losses, abs=1e-4)


def test_sharing_the_frozen_forward_changes_nothing(study):
    shared, plain = (
        trained(study, Schedule(trainings=4.0, share=share)) for share in (True, False)
    )

    assert shared.losses == plain.losses
    assert shared.net.tensors.keys() == plain.net.tensors.keys()
    for name, value in shared.net.tensors.items():
        assert torch.equal(value, plain.net.tensors[name]), name


def test_with_dropout_nothing_is_shared(study):
    shared, plain = (
        trained(study, Schedule(trainings=1.0, share=share), dropout=0.1) for share in (True, False)
    )

    assert shared.losses == plain.losses


@pytest.mark.parametrize(
    ("sampling", "trainings", "steps"),
    [("sandwich", 2.0, 6), ("single", 2.0, 24), ("single", 0, 1)],
)
def test_the_steps_follow_from_what_it_may_cost(study, sampling, trainings, steps):
    """Twelve steps are a training; a sandwich takes four passes a step."""
    assert trained(study, Schedule(sampling=sampling, trainings=trainings)).done == steps


def test_the_global_random_state_neither_matters_nor_moves(study):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = trained(study, Schedule(trainings=1.0), dropout=0.1)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)

    assert trained(study, Schedule(trainings=1.0), dropout=0.1).losses == first.losses


def test_cells_that_were_never_drawn_are_what_they_were_drawn_as(study):
    net = trained(study, Schedule(sampling="single", trainings=0)).net
    fresh = Supernet(net.trainer, study.space, study.ceiling, study.recipe, study.seed)
    rng = np.random.default_rng(1)
    drawn = study.space.decode(Sampler(study.space, study.ceiling).draw(rng))

    now, before = net.extract(drawn), fresh.extract(drawn)

    moved = {name for name, value in now.items() if not torch.equal(value, before[name])}
    assert 0 < len(moved) < len(now)


def test_a_loss_that_is_no_number_ends_it(study):
    with pytest.raises(DivergedError, match=r"the supernet's loss became (nan|inf) at step \d+ of"):
        trained(study, Schedule(trainings=60.0), head_learning_rate=1e38)


def test_the_weights_are_better_than_none(study):
    """The labels follow from four words each: what inherits has learned them."""
    net = trained(study, Schedule(trainings=16.0)).net
    with net.active(study.space.smallest()) as subnet:
        predictions, _ = subnet.tuned.predict(net.trainer.parts["validation"])

    assert np.mean(predictions == net.trainer.parts["validation"].labels) > 0.8
