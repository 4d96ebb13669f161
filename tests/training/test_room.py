"""Batches in pieces and blocks that run twice: when, and that they give the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from autopeft.errors import OptionError
from autopeft.kernels.remade import is_sparing
from autopeft.training.fitting import Work
from autopeft.training.loop import fit
from autopeft.training.memory import NoRoomError
from autopeft.training.room import Room
from tests.models import recipe_of
from tests.training.trunk.grounds import above, bench

SPARE = 300 * 2**20
CLOSE = {"rtol": 1e-4, "atol": 2e-6}
"""Sums of single precision in another order."""

PIECES, TWICE, NOTHING = 400_000, 70_000, 10_000
"""Bytes for which a batch of a tiny model takes pieces, runs its blocks twice, does not fit."""


MUCH = 1e12
"""Bytes of which no one is sure that there is room."""


SMALLER = {PIECES: 100_000, TWICE: 40_000}
"""The same for tiny images, which are fewer tokens than a text."""


def room_of(free):
    return Room(SPARE + free, resident=lambda: 0)


@pytest.fixture(scope="module", params=["bert", "gpt2", "mt5", "albert", "modernbert", "vit"])
def ground(request, tmp_path_factory):
    return bench(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("bert"), "bert")


def work_of(trainer, tuned, recipe, most):
    return Work(
        model=tuned.model, train=trainer.parts["train"], judged=tuned.model,
        validation=trainer.parts["validation"], blocks=trainer.blocks, injection=tuned.injection,
        recipe=recipe, most=most,
    )  # fmt: skip


def first_step(ground, room, *, most=0.0, **recipe):
    """Return the gradients that the first step leaves, and the number of examples at once."""
    found = {}
    trainer, chosen = ground.trainer, recipe_of(**({"dropout": 0.0} | recipe))
    with trainer.tuned(ground.slots, above(ground, 0), chosen, 0) as tuned:
        injection, named = tuned.injection, tuned.injection.named()
        with room.training(work_of(trainer, tuned, chosen, most)) as pace:
            for _ in fit(
                tuned.model, trainer.parts["train"], chosen, injection.by_method(), steps=1,
                rng=np.random.default_rng(0), penalty=injection.penalty, pace=pace,
                stepped=lambda *_: found.update({n: p.grad.clone() for n, p in named.items()}),
            ):  # fmt: skip
                pass
        return found, pace.most


def ground_inputs(ground):
    """Return what a model takes."""
    return ground.trainer.parts["train"].batch([0]).inputs


@pytest.mark.parametrize("free", [PIECES, TWICE])
def test_pieces_and_blocks_that_run_twice_give_the_same_gradients(ground, free):
    whole, batch = first_step(ground, room_of(2**40))
    narrow = room_of(free if "input_ids" in ground_inputs(ground) else SMALLER[free])

    found, most = first_step(ground, narrow, most=MUCH)

    assert batch == 16 > most
    assert ("computed activations twice" in narrow.told[0]) == (free == TWICE)
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient, **CLOSE)


def test_a_training_in_pieces_is_scored_and_told_of(bert):
    whole = bert.run()
    bert.trainer.room, usual = room_of(PIECES), bert.trainer.room
    try:
        found = bert.run()
        told = bert.trainer.room.told
    finally:
        bert.trainer.room = usual

    assert found.loss == pytest.approx(whole.loss, abs=1e-5)
    said = "to keep to --memory 300.4 MiB: 1 training took batches in pieces, down to "
    assert told[0].startswith(said)


def test_what_has_room_is_measured_at_most_and_not_divided(bert):
    roomy = room_of(2**40)

    assert first_step(bert, roomy, most=MUCH)[1] == 16
    assert roomy.told == ()


@pytest.mark.parametrize(("most", "short"), [(0.0, False), (MUCH, True)])
def test_activations_are_made_again_where_it_is_not_sure_that_there_is_room(bert, most, short):
    room = room_of(2**30)
    with bert.trainer.tuned(bert.slots, above(bert, 0), recipe_of(), 0) as tuned:
        work = work_of(bert.trainer, tuned, recipe_of(), most)
        with room.training(work):
            assert is_sparing() == short
    assert not is_sparing()


def test_a_limit_below_what_is_there_at_first_is_refused_once():
    with pytest.raises(
        OptionError,
        match=r"--memory 200\.0 MiB is too little: this process has 150\.0 MiB before any "
        r"training, and trainings need more than 450\.0 MiB in all; allow more",
    ):
        Room(200 * 2**20, resident=lambda: 150 * 2**20).check()
    Room(500 * 2**20, resident=lambda: 150 * 2**20).check()
    Room(resident=lambda: 2**40).check()


def test_one_example_too_many_is_out_of_memory(bert):
    with pytest.raises(
        NoRoomError,
        match=r"a step on the longest example needs more than 300\.\d MiB, also with its "
        r"activations computed twice; --memory allows 300\.0 MiB, of which 0\.0 MiB are taken: "
        r"allow more, cut texts \(--max-length of a search\), or take a smaller model",
    ):
        first_step(bert, room_of(NOTHING), most=MUCH)


def test_without_a_limit_what_is_free_counts_and_is_shared_out(bert):
    free = PIECES / 0.9
    alone = Room(available=lambda: int(free))
    one_of_four = Room(share=1 / 4, available=lambda: int(free))

    assert first_step(bert, alone, most=MUCH)[1] > first_step(bert, one_of_four, most=MUCH)[1]
    assert "the memory that is free" in alone.told[0]


def test_memory_that_runs_out_is_learned_from_by_later_trainings(bert):
    """The third block of a step of more than four examples finds no memory."""
    room, block = Room(), bert.trainer.blocks[2]
    whole, _ = first_step(bert, Room())
    hook = block.register_forward_hook(_short_of_memory)
    try:
        found, most = first_step(bert, room)
    finally:
        hook.remove()
    again, started = first_step(bert, room)

    assert (most, started) == (4, 4)
    assert "memory ran out 2 times, which was learned from" in room.told[0]
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient, **CLOSE)
        torch.testing.assert_close(again[name], gradient, **CLOSE)


def test_a_step_is_taken_again_with_the_same_random_numbers(bert):
    """With dropout too it is as if it had been taken in pieces from the beginning."""
    room, block = Room(), bert.trainer.blocks[2]
    hook = block.register_forward_hook(_short_of_memory)
    try:
        torch.manual_seed(3)
        found, _ = first_step(bert, room, dropout=0.3)
    finally:
        hook.remove()
    torch.manual_seed(3)
    begun, _ = first_step(bert, room, dropout=0.3)

    assert all(torch.equal(found[name], gradient) for name, gradient in begun.items())


def test_memory_that_always_runs_out_ends_the_training(bert):
    def never(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    room, hook = Room(), bert.trainer.blocks[0].register_forward_hook(never)
    try:
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            first_step(bert, room)
    finally:
        hook.remove()

    assert room.most == 1
    assert room.recomputes


def test_another_error_is_not_tried_again(bert):
    def wrong(*_):
        raise RuntimeError("shapes do not fit")

    room, hook = Room(), bert.trainer.blocks[0].register_forward_hook(wrong)
    try:
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            first_step(bert, room)
    finally:
        hook.remove()

    assert room.told == ()


def test_scoring_takes_fewer_tokens_where_memory_runs_out():
    room, asked = Room(), []

    def score(tokens):
        asked.append(tokens)
        if tokens > 1024:
            raise MemoryError
        return "scored"

    assert room.scored(score) == "scored"
    assert asked == [4096, 2048, 1024]
    assert room.tokens == 1024


def test_scoring_of_one_example_that_has_no_memory_is_an_error():
    def score(_):
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        Room().scored(score)


def test_trials_train_one_by_one_once_memory_has_run_out():
    room = Room()
    assert room.ample(1e6)

    room.learn(4, recomputes=False)

    assert not room.ample(1e6)


def test_several_do_not_train_together_again_where_memory_ran_out():
    room = Room()

    room.crowded = True

    assert not room.ample(1e6)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["trials", "supernet", "gates"])
def test_a_search_stays_below_its_limit(what, tmp_path):
    """The most that the process ever had, as the system counts it."""
    script = Path(__file__).with_name("limited.py")
    root = str(script.parents[2])
    code = (
        f"import runpy, sys; sys.path.append({root!r}); "
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    most = {}
    for limit in (1000, 1200):
        done = subprocess.run(
            [sys.executable, "-c", code, str(script), str(tmp_path / f"{limit}"), str(limit),
             what],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        said = json.loads(done.stdout)
        assert "took batches in pieces" in said["told"][0]
        assert said["states"] == (["complete"] * 2 if what == "trials" else ["3 steps"])
        most[limit] = said["peak"]

    assert most[1000] < 1000
    assert most[1200] < 1200


@pytest.mark.slow
def test_a_lack_of_address_space_is_learned_from(tmp_path):
    """A real allocation of a real step fails; the next training begins with what was learned."""
    script = Path(__file__).with_name("starved.py")
    root = str(script.parents[2])
    code = (
        f"import runpy, sys; sys.path.append({root!r}); "
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(script), str(tmp_path), "60000000"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)

    assert said["plain told"] == []
    assert "memory ran out" in said["first told"][0]
    assert "1 training took batches in pieces" in said["second told"][0]
    assert said["first"] == pytest.approx(said["plain"], abs=1e-5)
    assert said["second"] == pytest.approx(said["plain"], abs=1e-5)


def _short_of_memory(_module, args, _output):
    if len(args[0]) > 4:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
