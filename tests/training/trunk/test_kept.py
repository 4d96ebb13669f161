"""Trials that go on from lower blocks on disk are those that compute them, whatever is on disk."""

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autopeft.training.pausing import Paused
from autopeft.training.trunk.shelf import Shelf
from autopeft.trial import Fidelity
from tests.models import ALWAYS, recipe_of
from tests.training.trunk.grounds import KINDS, above, again, bench, trained

LARGE = 2**30
ROUNDING = 2e-4  # the same numbers are summed in batches of other shapes
FAMILIES = [
    pytest.param(family, marks=() if family in ALWAYS else pytest.mark.slow)
    for family in KINDS
    if family != "albert"
]


@pytest.fixture(scope="module", params=FAMILIES)
def ground(request, tmp_path_factory):
    return bench(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "trunks", LARGE)


def files(shelf):
    return sorted(shelf.folder.glob("*.safetensors"))


def same(found, expected):
    (measured, state), (plain, weights) = found, expected
    assert measured.loss == pytest.approx(plain.loss, rel=ROUNDING)
    assert measured.score == pytest.approx(plain.score, rel=1e-3)
    assert state.keys() == weights.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, weights[name], rtol=1e-2, atol=2e-3, msg=name)
    assert replace(measured, loss=0, score=0, predictions=b"") == replace(
        plain, loss=0, score=0, predictions=b""
    )


def test_a_trial_is_the_same_from_every_row_on(ground, shelf):
    """Losses, scores and trained weights, of encoders, decoders, both in one, and images."""
    rows = len(ground.trainer.blocks)
    trainer = again(ground, shelf)
    for row in range(rows + 1):
        same(trained(ground, trainer, row), trained(ground, ground.trainer, row))

    listed = ", ".join(str(row) for row in range(1, rows + 1))
    assert shelf.told == (f"trials start from cached blocks {listed} of {rows}",)


def test_blocks_below_do_not_run(ground, shelf):
    """But once to see what they return, and, of T5, the first for the biases of one example."""
    trainer = again(ground, shelf)
    row = len(trainer.blocks) - 1
    trained(ground, trainer, row)
    runs = []
    inner = [next(m for m in block.modules() if not list(m.children())) for block in trainer.blocks]
    hooks = [
        module.register_forward_pre_hook(
            lambda _module, args, number=number: runs.append((number, len(args[0])))
        )
        for number, module in enumerate(inner)
    ]
    trained(ground, trainer, row)
    for hook in hooks:
        hook.remove()

    below = [count for number, count in runs if number < row]
    tried = 4 * row
    assert sum(below) <= tried + sum(count == 1 for count in below)


def test_bfloat16_goes_on_from_files_of_its_own(bert, shelf):
    trainer = again(bert, shelf)
    trained(bert, trainer, 2)
    known = files(shelf)

    measured, _ = trained(bert, trainer, 2, precision="bf16")
    plain, _ = trained(bert, bert.trainer, 2, precision="bf16")

    assert len(files(shelf)) == 2 * len(known)
    assert measured.loss == pytest.approx(plain.loss, rel=3e-2)  # eight bits


def test_the_result_is_equal_to_the_bit_whoever_filled_the_cache(bert, tmp_path):
    """Another trial, of other rows, with another seed: each leaves the same files."""
    found = []
    for order in ((1, 2), (2, 1)):
        shelf = Shelf(tmp_path / str(order), LARGE)
        trainer = again(bert, shelf)
        results = {row: trained(bert, trainer, row) for row in order}
        found.append((results[2][0], [file.read_bytes() for file in files(shelf)]))

    assert found[0] == found[1]


def test_the_files_are_used_by_a_process_that_comes_later(bert, shelf):
    first = trained(bert, again(bert, shelf), 2)
    written = [file.stat().st_ino for file in files(shelf)]

    later = Shelf(shelf.folder, LARGE)
    assert trained(bert, again(bert, later), 2)[0] == first[0]
    assert [file.stat().st_ino for file in files(shelf)] == written


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-8]), id="truncated"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(b"no such thing" * 999), id="foreign"),
        pytest.param(
            lambda file: file.write_bytes(file.read_bytes()[:-9] + b"?" + file.read_bytes()[-8:]),
            id="a byte changed",
        ),
    ],
)
def test_a_damaged_file_is_made_anew(bert, shelf, spoil):
    expected = trained(bert, again(bert, shelf), 2)
    contents = [file.read_bytes() for file in files(shelf)]
    for file in files(shelf):
        spoil(file)

    assert trained(bert, again(bert, Shelf(shelf.folder, LARGE)), 2)[0] == expected[0]
    assert [file.read_bytes() for file in files(shelf)] == contents


def test_files_that_were_exchanged_are_not_taken_for_one_another(bert, shelf):
    expected = trained(bert, again(bert, shelf), 2)
    one, other = files(shelf)
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])

    assert trained(bert, again(bert, Shelf(shelf.folder, LARGE)), 2)[0] == expected[0]
    assert (one.read_bytes(), other.read_bytes()) == content


def test_a_folder_that_cannot_be_written_is_told_of_once(bert, tmp_path, caplog):
    """As with a full disk: the trial runs as without, and no later one tries again."""
    (tmp_path / "file").write_text("")
    shelf = Shelf(tmp_path / "file" / "trunks", LARGE)
    trainer = again(bert, shelf)
    with caplog.at_level(logging.WARNING, "autopeft"):
        found = [trained(bert, trainer, row) for row in (2, 1, 2)]

    assert found[0][0] == trained(bert, bert.trainer, 2)[0]
    assert len(caplog.records) == len(shelf.told) == 1
    assert shelf.told[0].startswith("trials compute all blocks: ")
    assert shelf.told[0].endswith("trunks cannot be used: Not a directory")


@pytest.mark.skipif(os.name != "posix", reason="the size of files is limited on POSIX alone")
def test_a_disk_that_takes_no_more_stops_no_trial(bert, shelf):
    """It ends in the middle of a file, of which nothing is left."""
    resource = pytest.importorskip("resource")
    trainer, expected = again(bert, shelf), trained(bert, bert.trainer, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        found = trained(bert, trainer, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert found[0] == expected[0]
    assert shelf.told[0].endswith("cannot be used: File too large")
    assert [file.name for file in shelf.folder.iterdir()] == ["filling.lock"]


def test_what_one_block_module_does_several_times_is_left_out(tmp_path, shelf):
    ground = bench(tmp_path, "albert", num_hidden_layers=2)
    trainer = again(ground, shelf)

    assert trained(ground, trainer, 1)[0] == trained(ground, ground.trainer, 1)[0]
    assert shelf.told == (
        "trials compute all blocks: block 0 runs 2 times in one pass, and not once",
    )


@pytest.mark.parametrize(
    "recipe",
    [{"dropout": 0.1}, {"epochs": 1}, {"gate_mean": "all"}],
    ids=["dropout", "epoch", "gate"],
)
def test_chance_one_epoch_and_gates_that_see_padding_do_without(bert, shelf, recipe):
    found = trained(bert, again(bert, shelf), 2, **recipe)

    assert found[0] == trained(bert, bert.trainer, 2, **recipe)[0]
    assert not shelf.folder.exists()


def test_what_holds_something_in_its_first_row_does_without(bert, shelf):
    """Prompts at the embeddings are in the first row of their stack."""
    for sizes in (None, {"prompt_tuning@embeddings": 3}):
        found = trained(bert, again(bert, shelf), 0, sizes)
        assert found[0] == trained(bert, bert.trainer, 0, sizes)[0]

    assert not shelf.folder.exists()


def test_a_model_that_gives_something_else_from_them_is_noticed(bert, shelf):
    """Here one whose last block looks at what the first one was given."""
    trainer = again(bert, shelf)
    given = []
    first, *_, last = trainer.blocks
    inside = next(m for m in first.modules() if not list(m.children()))
    hooks = [
        inside.register_forward_pre_hook(lambda _module, _args: given.append(1.0)),
        last.register_forward_hook(
            lambda _m, _a, out: out + 3 * len(given[-1:]) * torch.arange(32)
        ),
        trainer.module.register_forward_pre_hook(lambda _module, _args: given.clear()),
    ]
    trained(bert, trainer, 2)
    for hook in hooks:
        hook.remove()

    assert shelf.told[0].startswith("trials compute all blocks: from cached ones the")


def test_a_model_that_fails_on_them_is_noticed(bert, shelf):
    trainer = again(bert, shelf)
    first, *_, last = trainer.blocks
    ran = []

    def looking(_module, _args):
        if not ran:
            raise ValueError("where is the first block?")

    inside = next(m for m in first.modules() if not list(m.children()))
    hooks = [
        inside.register_forward_pre_hook(lambda _module, _args: ran.append(1)),
        last.register_forward_pre_hook(looking),
        trainer.module.register_forward_pre_hook(lambda _module, _args: ran.clear()),
    ]
    trained(bert, trainer, 2)
    for hook in hooks:
        hook.remove()

    assert shelf.told == (
        "trials compute all blocks: it fails on cached ones: where is the first block?",
    )


def test_where_not_every_row_fits_those_at_equal_distances_are_kept(bert, tmp_path):
    """Three rows, and room for one: the second; a trial on the first alone has none below it."""
    shelf = Shelf(tmp_path / "all", LARGE)
    trained(bert, again(bert, shelf), 3)
    need = sum(file.stat().st_size for file in files(shelf))
    small = Shelf(tmp_path / "one", int(1.5 * need))
    shelf = small
    trainer = again(bert, shelf)
    for row in (3, 2, 1):
        same(trained(bert, trainer, row), trained(bert, bert.trainer, row))

    assert "that the setting block_cache allows" in shelf.told[0]
    assert shelf.told[1] == "trials start from cached block 2 of 3"
    assert len(files(small)) == 2


def test_what_is_too_large_for_the_bound_is_not_kept(bert, tmp_path):
    shelf = Shelf(tmp_path / "trunks", 1000)
    trainer = again(bert, shelf)

    assert trained(bert, trainer, 2)[0] == trained(bert, bert.trainer, 2)[0]
    (told,) = shelf.told
    assert told.startswith("trials compute all blocks: what one gives takes 0.1 MiB of the 0.0 MiB")


def test_progress_is_zero_while_it_is_filled(bert, shelf):
    trainer = again(bert, shelf)
    with trainer.tuned(bert.slots, above(bert, 2), recipe_of(epochs=2), 0) as tuned:
        *progress, _ = trainer.measure(tuned, 0, Fidelity())

    assert progress[0] == 0.0
    assert [p for p in progress if p] == [step / 6 for step in range(1, 7)]


def test_a_paused_trial_goes_on_from_them(bert, shelf, tmp_path):
    trainer, recipe = again(bert, shelf), recipe_of(epochs=2)
    paused = Paused(tmp_path / "state", "it")
    for share in (0.5, 1.0):
        with trainer.tuned(bert.slots, above(bert, 2), recipe, 0) as tuned:
            *_, found = trainer.measure(tuned, 0, Fidelity(share=share), paused=paused)

    assert replace(found, seconds=0.0) == trained(bert, trainer, 2)[0]


FILLS = """
import sys
from pathlib import Path
from tests.training.trunk.grounds import again, bench, trained
from tests.models import Bench
from autopeft.study import DataFiles
from autopeft.training.trunk.shelf import Shelf
folder = Path(sys.argv[1])
ground = Bench(folder / "model", DataFiles(train=str(folder / "data.csv")))
shelf = Shelf(folder / "trunks", 2**30)
print("ready", flush=True)
sys.stdin.readline()
print(trained(ground, again(ground, shelf), 2)[0].loss)
"""


@pytest.mark.slow
def test_two_processes_that_fill_at_once_both_end_well(tmp_path):
    ground = bench(tmp_path, "bert")
    expected, _ = trained(ground, again(ground, Shelf(tmp_path / "alone", LARGE)), 2)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", FILLS, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]  # fmt: skip
    for one in both:
        assert one.stdout.readline() == "ready\n"
    losses = [one.communicate("go\n", timeout=120)[0].strip() for one in both]

    assert losses == [repr(expected.loss)] * 2
    names = {file.name for file in (tmp_path / "trunks").iterdir()}
    assert names == {file.name for file in (tmp_path / "alone").iterdir()}
