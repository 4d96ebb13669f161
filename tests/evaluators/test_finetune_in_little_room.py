"""A limit on memory, and memory that runs out, for every kind of task that is trained."""

from dataclasses import replace
from itertools import pairwise

import pytest

from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.executors.inline import InlineExecutor
from autopeft.search import search
from autopeft.storage.memory import MemoryStore
from autopeft.study import Limits
from autopeft.training.room import Room
from autopeft.trial import Purpose, State
from tests.kinds import continued, save_model, tagged, write_json, write_pictures
from tests.models import opinions, recipe_of, study_on, table, trial_of, write_rows

SPARE = 300 * 2**20
FAMILIES = {
    "classification": "bert", "tokens": "distilbert", "causal_lm": "gpt2", "seq2seq": "mt5",
    "image": "vit",
}  # fmt: skip
FREE = {"image": 100_000}
"""Bytes of which a batch of 16 needs more and one example less, where it is not 250,000."""


@pytest.fixture(scope="module", params=FAMILIES)
def study(request, tmp_path_factory):
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    model = str(save_model(folder / "model", kind, FAMILIES[kind]))
    if kind == "classification":
        data = write_rows(folder / "data.csv", opinions(60))
        return study_on(model, data, recipe_of())
    if kind == "image":
        data = write_pictures(folder / "images", 60)
    else:
        data = write_json(folder / "data.jsonl", (tagged if kind == "tokens" else continued)(60))
    return study_on(model, data, recipe_of(), kind=kind, text=None, label=None, head=None)


def proposals_of(study, count):
    """Return LoRA at one place or another, all with the same seed."""
    slots = study.space.slots
    names = [slot.name for slot in slots if slot.method == "lora"]
    rows = [table(slots, study.backbone.blocks, {names[place]: 2}) for place in range(count)]
    return [trial_of(row, study.recipe).proposal for row in rows]


class Listed:
    """Proposes what it was given, and keeps what it is told."""

    def __init__(self, proposals):
        first, *rest = proposals
        self._proposals = [replace(first, purpose=Purpose.BASELINE), *rest]
        self.told = []

    def ask(self):
        return self._proposals.pop(0) if self._proposals else None

    def tell(self, trial):
        self.told.append(trial)


def searched(study, evaluator, proposals, pack=1):
    """Run a search, yielding every trial whenever it has changed."""
    store = MemoryStore()
    store.add_study(study)
    return search(
        study,
        Limits(trials=len(proposals)),
        strategy=Listed(proposals),
        evaluator=evaluator,
        executor=InlineExecutor(),
        store=store,
        pack=pack,
    )


def ended(trials):
    return [trial for trial in trials if trial.ended]


def opened(study, room):
    evaluator = FinetuneEvaluator(study, threads=1)
    evaluator.resident().room = room
    return evaluator


def test_under_a_limit_trials_take_pieces_and_find_the_same(study):
    proposals = proposals_of(study, 2)
    room = Room(SPARE + FREE.get(study.task.kind, 250_000), resident=lambda: 0)

    whole = ended(searched(study, opened(study, Room()), proposals))
    narrow = ended(searched(study, opened(study, room), proposals))

    assert "2 trainings took batches in pieces, down to " in room.told[0]
    for found, usual in zip(narrow, whole, strict=True):
        assert found.state is State.COMPLETE
        assert found.measurement.loss == pytest.approx(usual.measurement.loss, abs=1e-5)
        assert found.measurement.steps == usual.measurement.steps


def test_memory_that_runs_out_ends_one_trial_is_learned_from_and_the_search_goes_on(study):
    """The blocks of the second trial find no memory, in whatever pieces it is tried."""
    evaluator, short = opened(study, Room()), []
    trainer = evaluator.resident()

    def starve(*_):
        if short:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    hook, found = trainer.blocks[-1].register_forward_hook(starve), []
    try:
        for trial in searched(study, evaluator, proposals_of(study, 3)):
            short[:] = [True] if trial.number == 1 and not trial.ended else []
            found += [trial] if trial.ended else []
    finally:
        hook.remove()

    assert [trial.state for trial in found] == [State.COMPLETE, State.OOM, State.COMPLETE]
    assert found[1].failure == "RuntimeError: DefaultCPUAllocator: can't allocate memory"
    assert found[1].measurement is None
    assert (trainer.room.most, trainer.room.recomputes) == (1, True)
    assert "memory ran out" in evaluator.narrowed[0]


def test_a_pack_that_memory_runs_out_for_is_tried_one_by_one_and_no_other_is_packed(study):
    """The pass of a lane finds no memory; alone there is enough."""
    evaluator = opened(study, Room())
    trainer = evaluator.resident()
    room, proposals = trainer.room, proposals_of(study, 4)
    alone = ended(searched(study, opened(study, Room()), proposals))

    def starve(module, *_):
        if module is not block:  # a lane has modules of its own
            raise MemoryError("no room for a pack")

    block = trainer.blocks[-1]
    hook = block.register_forward_hook(starve)
    try:
        found = ended(searched(study, evaluator, proposals, pack=2))
    finally:
        hook.remove()

    assert room.crowded
    assert [trial.state for trial in found] == [State.COMPLETE] * 4
    for one, other in zip(found, alone, strict=True):
        assert one.measurement.loss == pytest.approx(other.measurement.loss, abs=1e-5)
    assert all(one.number < other.number for one, other in pairwise(found))
