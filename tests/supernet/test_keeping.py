"""A supernet on disk: found again, gone on with after a kill, and refused where it does not fit."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from autopeft.budget import Budget
from autopeft.errors import OutputError, StoreError
from autopeft.records import to_json
from autopeft.search_spaces.written.reading import read_space
from autopeft.supernet import keeping, training
from autopeft.supernet.elastic import Supernet
from autopeft.supernet.keeping import Shelf, digest_of
from autopeft.supernet.optimizer import MaskedAdamW
from autopeft.supernet.training import Schedule
from autopeft.training.loop import DivergedError
from autopeft.training.trainer import Trainer
from tests.models import recipe_of

SCHEDULE = Schedule(trainings=4.0)


def supernet(study):
    trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=1)
    return Supernet(trainer, study.space, study.ceiling, study.recipe, study.seed)


def shelf(cache, study):
    return Shelf(Path(cache), digest_of(study, SCHEDULE))


def trained(cache, study):
    net = supernet(study)
    progress = list(shelf(cache, study).trained(net, SCHEDULE))
    return net, progress


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, study):
    """A cache with a trained supernet, and its weights."""
    cache = tmp_path_factory.mktemp("cache")
    net, progress = trained(cache, study)
    assert progress == [step / 12 for step in range(1, 13)]
    return cache, {name: value.clone() for name, value in net.tensors.items()}


def test_what_is_trained_is_found_again_and_not_trained_anew(kept, study):
    cache, weights = kept

    net, progress = trained(cache, study)

    assert progress == [1.0]
    assert equal(net.tensors, weights)
    kept_files = sorted(f.name for f in shelf(cache, study).folder.iterdir())
    assert kept_files == ["lock", "weights.safetensors"]


def test_a_training_that_was_stopped_goes_on_from_where_it_was(tmp_path, study, kept):
    """Stopped after each of its first steps, it ends with the weights of an undisturbed one."""
    for stop in range(5):
        running = shelf(tmp_path, study).trained(supernet(study), SCHEDULE)
        assert next(running) == (stop + 1) / 12
        running.close()

    net, progress = trained(tmp_path, study)

    assert progress[0] == 6 / 12
    assert equal(net.tensors, kept[1])


def ctrl_c(calls, function):
    """Wrap a function: while its so manieth call runs, Ctrl-C is pressed."""
    numbers = itertools.count(1)

    def wrapped(*args, **kwargs):
        if next(numbers) == calls:
            signal.raise_signal(signal.SIGINT)
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize(
    ("where", "calls", "done"),
    [("learned", 4 * 3 + 2, 3), ("_move", 60, None)],
    ids=["between-passes", "while-tensors-move"],
)
def test_ctrl_c_at_any_moment_keeps_all_whole_steps(
    tmp_path, study, kept, monkeypatch, where, calls, done
):
    """No time was saved up for: ``every`` is a minute. A tensor is never moved half a step."""
    room = training if where == "learned" else MaskedAdamW
    with monkeypatch.context() as patched:
        patched.setattr(room, where, ctrl_c(calls, getattr(room, where)))
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, study)
    assert sorted(f.name for f in shelf(tmp_path, study).folder.iterdir()) == [
        "lock", "progress.safetensors"
    ]  # fmt: skip

    net, progress = trained(tmp_path, study)

    assert progress[0] > 1 / 12
    assert done is None or progress[0] == (done + 1) / 12
    assert equal(net.tensors, kept[1])


def test_a_state_that_cannot_be_written_hides_not_what_stopped_the_training(
    tmp_path, study, monkeypatch
):
    running = shelf(tmp_path, study).trained(supernet(study), SCHEDULE)
    next(running)
    monkeypatch.setattr(keeping, "write_bytes", full)

    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt)


def full(file, content):
    del content
    raise OutputError(f"cannot write {file}: no space left on device")


CHILD = """
import json, sys
from pathlib import Path
from autopeft.records import from_json
from autopeft.study import Study
from autopeft.supernet.elastic import Supernet
from autopeft.supernet.keeping import Shelf, digest_of
from autopeft.supernet.training import Schedule, Training
from autopeft.training.trainer import Trainer

study = from_json(Study, json.loads(Path(sys.argv[2]).read_text()))
trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=1)
net = Supernet(trainer, study.space, study.ceiling, study.recipe, study.seed)
schedule, every = Schedule(trainings=4.0), float(sys.argv[3])
own, step = [], Training._gradients
Training._gradients = lambda self, number, *rest: own.append(number) or step(self, number, *rest)
for _ in Shelf(Path(sys.argv[1]), digest_of(study, schedule)).trained(net, schedule, every):
    print("so far", *own, flush=True)
"""
"""Trains, or waits until another has; every line names the steps that this process has taken."""


def started(cache, study, tmp_path, every=0.0):
    import json

    document = tmp_path / "study.json"
    document.write_text(json.dumps(to_json(study)), encoding="utf-8")
    command = [sys.executable, "-c", CHILD, str(cache), str(document), str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_from_its_last_state(tmp_path, study, kept):
    process = started(tmp_path, study, tmp_path)
    for _ in range(4):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (shelf(tmp_path, study).folder / "progress.safetensors").exists()

    net, progress = trained(tmp_path, study)

    assert progress[0] > 3 / 12
    assert equal(net.tensors, kept[1])


@pytest.mark.slow
def test_a_process_that_is_interrupted_keeps_what_it_trained_a_moment_ago(tmp_path, study, kept):
    process = started(tmp_path, study, tmp_path, every=60.0)
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == -signal.SIGINT

    net, progress = trained(tmp_path, study)

    assert 4 / 12 < progress[0] < 1
    assert equal(net.tensors, kept[1])


def steps_of(lines):
    """Return the steps that a process has taken itself, by its last line."""
    return [int(word) for word in lines.splitlines()[-1].removeprefix("so far").split()]


@pytest.mark.slow
def test_of_two_processes_at_once_one_trains_and_the_other_uses_it(tmp_path, study, kept):
    processes = [started(tmp_path, study, tmp_path) for _ in range(2)]
    told = [process.communicate()[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(map(steps_of, told)) == [[], list(range(12))]
    net, progress = trained(tmp_path, study)
    assert progress == [1.0]
    assert equal(net.tensors, kept[1])


@pytest.mark.slow
def test_what_a_killed_process_leaves_the_one_that_waits_goes_on_with(tmp_path, study, kept):
    first = started(tmp_path, study, tmp_path)
    for _ in range(3):
        first.stdout.readline()
    first.send_signal(signal.SIGSTOP)  # it holds the lock, and is at its third step
    second = started(tmp_path, study, tmp_path)
    assert second.stdout.readline() == "so far\n"
    first.kill()
    first.communicate()

    told = second.communicate()[0]

    assert second.returncode == 0
    assert steps_of(told)[0] >= 2
    assert steps_of(told)[-1] == 11
    assert equal(trained(tmp_path, study)[0].tensors, kept[1])


def test_who_waits_hears_how_far_the_other_is_and_takes_what_it_finished(tmp_path, study, kept):
    other = shelf(tmp_path, study).trained(supernet(study), SCHEDULE, every=0.0)
    for _ in range(4):
        next(other)
    waiting = shelf(tmp_path, study).trained(net := supernet(study), SCHEDULE)

    assert next(waiting) == 3 / 12  # of which the state is on disk
    list(other)

    assert list(waiting)[-1] == 1.0
    assert equal(net.tensors, kept[1])


def test_who_waits_hears_that_the_other_has_given_up(tmp_path, study):
    wild = replace(study, recipe=recipe_of(epochs=4, head_learning_rate=1e38))
    other = shelf(tmp_path, wild).trained(supernet(wild), SCHEDULE)
    next(other)
    waiting = shelf(tmp_path, wild).trained(None, SCHEDULE)
    assert next(waiting) == 0.0

    with pytest.raises(DivergedError, match="the supernet's loss became"):
        list(other)

    with pytest.raises(DivergedError, match="the supernet's loss became"):
        list(waiting)


def changes(study):
    space = read_space("lora").on(study.backbone)
    return {
        "backbone": replace(study, backbone=replace(study.backbone, digest="f" * 64)),
        "task": replace(study, task=replace(study.task, digest="f" * 64)),
        "space": replace(study, space=space),
        "budget": replace(study, budget=Budget.parse("40%")),
        "recipe": replace(study, recipe=replace(study.recipe, batch_size=8)),
        "seed": replace(study, seed=1),
    }


@pytest.mark.parametrize("what", ["backbone", "task", "space", "budget", "recipe", "seed"])
def test_the_supernet_of_another_study_is_not_taken(kept, study, what):
    """It has another name, and where its file is put under this one's it is refused."""
    cache, _ = kept
    other = changes(study)[what]
    name = digest_of(other, SCHEDULE)
    assert name != digest_of(study, SCHEDULE)

    file = shelf(cache, other).folder / "weights.safetensors"
    file.parent.mkdir()
    file.write_bytes((shelf(cache, study).folder / file.name).read_bytes())

    with pytest.raises(
        StoreError, match="another backbone, task, space, recipe or version: delete"
    ):
        next(shelf(cache, other).trained(supernet(study), SCHEDULE))


def test_what_does_not_change_the_weights_changes_no_name(study):
    same = (
        replace(study, strategy="tpe", finals=5, rungs=(0.5, 1.0)),
        replace(study, where=replace(study.where, model="/elsewhere")),
        replace(study, recipe=replace(study.recipe, learning_rates={})),
    )

    assert {digest_of(other, SCHEDULE) for other in same} == {digest_of(study, SCHEDULE)}
    assert digest_of(study, replace(SCHEDULE, share=False)) == digest_of(study, SCHEDULE)
    assert digest_of(study, replace(SCHEDULE, sampling="single")) != digest_of(study, SCHEDULE)


def copied(kept, study, tmp_path):
    """Return a cache of one's own, and the file with the weights there."""
    file = shelf(tmp_path, study).folder / "weights.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes((shelf(kept[0], study).folder / file.name).read_bytes())
    return file


def test_a_truncated_file_is_refused(kept, study, tmp_path):
    file = copied(kept, study, tmp_path)
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(StoreError, match=r"cannot read the supernet in .*: .*; delete the folder"):
        trained(tmp_path, study)


def test_a_damaged_file_is_refused(kept, study, tmp_path):
    file = copied(kept, study, tmp_path)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)

    with pytest.raises(StoreError, match="is damaged: delete the folder"):
        trained(tmp_path, study)


def test_a_file_of_others_is_refused(kept, study, tmp_path):
    file = copied(kept, study, tmp_path)
    save_file(load_file(file), file)

    with pytest.raises(StoreError, match="another backbone, task, space, recipe or version"):
        trained(tmp_path, study)


def test_a_training_that_failed_is_not_tried_again(tmp_path, study):
    wild = replace(study, recipe=recipe_of(epochs=4, head_learning_rate=1e38))
    place = shelf(tmp_path, wild)
    with pytest.raises(DivergedError, match="the supernet's loss became"):
        list(place.trained(supernet(wild), SCHEDULE))
    assert place.problem.startswith("the supernet's loss became")
    before = time.perf_counter()

    with pytest.raises(DivergedError, match="the supernet's loss became"):
        next(shelf(tmp_path, wild).trained(None, SCHEDULE))

    assert time.perf_counter() - before < 5


def test_scores_are_remembered_line_by_line(tmp_path, study):
    place = shelf(tmp_path, study)
    place.folder.mkdir(parents=True)
    assert place.remembered() == {}
    place.remember("one", 0.1 + 0.2)
    with (place.folder / "scores.jsonl").open("a") as stream:
        stream.write('["two", 0.')  # its writer was killed

    place.remember("three", -1.0)

    assert place.remembered() == {"one": 0.1 + 0.2, "three": -1.0}


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.5", "0.6"), ('"one"', '"two"'), ('"]', "]"), ("0.5", '"0.5'), ("[", '{"a": ')],
    ids=["the score", "the key", "the end", "a quote", "the form"],
)
def test_a_line_of_scores_that_was_changed_is_not_believed(tmp_path, study, before, after):
    place = shelf(tmp_path, study)
    place.folder.mkdir(parents=True)
    place.remember("one", 0.5)
    place.remember("good", -0.25)
    file = place.folder / "scores.jsonl"
    file.write_text(file.read_text().replace(before, after, 1))

    assert place.remembered() == {"good": -0.25}


def test_scores_of_another_supernet_are_not_believed(tmp_path, study):
    place, other = shelf(tmp_path, study), shelf(tmp_path, replace(study, seed=1))
    for each in (place, other):
        each.folder.mkdir(parents=True)
    other.remember("one", 0.5)

    (place.folder / "scores.jsonl").write_bytes((other.folder / "scores.jsonl").read_bytes())

    assert place.remembered() == {}


def test_a_score_that_is_no_number_is_remembered_as_such(tmp_path, study):
    place = shelf(tmp_path, study)
    place.folder.mkdir(parents=True)
    place.remember("one", float("nan"))

    assert str(place.remembered()) == "{'one': nan}"
