"""How kernels are cut: timed once, remembered for all processes, and never fatal."""

import json
import multiprocessing
from functools import partial
from pathlib import Path

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels import tuning
from autopeft.kernels.tuning import FILE, Choices, Tiles, chosen, run

LAUNCHERS = sorted(Path(tuning.__file__).parent.glob("*/triton.py"))
SLOW, FAST, HUGE = (Tiles(blocks={"N": n}) for n in (16, 32, 64))
SECONDS = {16: 3.0, 32: 1.0}


class TooLargeError(Exception):
    """What a kernel raises that does not fit."""


class Kernel:
    """Something to launch; a clock reads from it how long it would have taken."""

    def __init__(self, seconds):
        self.seconds, self.launches = seconds, []

    def launch(self, tiles):
        size = tiles.blocks["N"]
        if size not in self.seconds:
            raise TooLargeError
        self.launches.append(size)

    def clock(self, run):
        run()
        return self.seconds[self.launches[-1]]

    def choices(self, folder, machine="a GPU"):
        return Choices(folder=folder, machine=machine, clock=self.clock, misfits=(TooLargeError,))

    def best(self, folder, *, key=(1,), ways=(SLOW, FAST), machine="a GPU"):
        choices = self.choices(folder, machine)
        return choices.best("a_kernel", key, ways, self.launch)


def test_without_a_gpu_it_is_the_first_way_and_nothing_is_launched():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    kernel = Kernel(SECONDS)

    assert chosen("a_kernel", (1,), (SLOW, FAST), kernel.launch) is SLOW
    assert kernel.launches == []


def test_one_way_alone_is_taken_untimed():
    kernel = Kernel(SECONDS)

    assert chosen("a_kernel", (1,), (FAST,), kernel.launch) is FAST
    assert kernel.launches == []


def test_the_fastest_way_is_taken_and_timed_only_once(tmp_path):
    kernel = Kernel(SECONDS)
    choices = kernel.choices(tmp_path)

    found = [choices.best("a_kernel", (1,), (SLOW, FAST), kernel.launch) for _ in "123"]

    assert found == [FAST] * 3
    assert kernel.launches == [16, 32]


def test_another_process_finds_what_was_chosen(tmp_path):
    Kernel(SECONDS).best(tmp_path)
    later = Kernel({})

    assert later.best(tmp_path) == FAST
    assert later.launches == []


@pytest.mark.parametrize("change", [{"key": (2,)}, {"machine": "another GPU"}])
def test_another_shape_or_machine_is_timed_anew(tmp_path, change):
    Kernel(SECONDS).best(tmp_path)
    later = Kernel({16: 1.0, 32: 3.0})

    assert later.best(tmp_path, **change) == SLOW
    assert Kernel({}).best(tmp_path) == FAST, "what was known stays known"


def test_a_kernel_whose_text_has_changed_is_timed_anew(tmp_path):
    kernel, folders = Kernel(SECONDS), (tmp_path / "before", tmp_path / "after")
    launches = []
    for number, folder in enumerate(folders):
        folder.mkdir()
        file = folder / "triton.py"
        file.write_text(f"SUM = {number}\ndef launch(kernel, tiles): kernel.launch(tiles)\n")
        scope = {}
        exec(compile(file.read_text(), str(file), "exec"), scope)
        launches.append(partial(scope["launch"], kernel))

    for launch in (*launches, *launches):
        kernel.choices(tmp_path).best("a_kernel", (1,), (SLOW, FAST), launch)

    assert kernel.launches == [16, 32, 16, 32]


def test_a_way_that_is_no_longer_offered_is_not_taken(tmp_path):
    Kernel(SECONDS).best(tmp_path)

    assert Kernel({16: 1.0}).best(tmp_path, ways=(SLOW, HUGE)) == SLOW


def test_ways_that_do_not_fit_the_device_are_left_out(tmp_path):
    assert Kernel(SECONDS).best(tmp_path, ways=(HUGE, FAST)) == FAST


def test_that_no_way_fits_is_said(tmp_path):
    with pytest.raises(KernelError, match=r"a_kernel cannot run for \(1,\) on a GPU: none of its"):
        Kernel({}).best(tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"x": 3}', '{"x": {"blocks": 1}}', "\x00" * 9]
)
def test_a_damaged_file_is_tuned_anew(tmp_path, content):
    (tmp_path / FILE).write_text(content)

    assert Kernel(SECONDS).best(tmp_path) == FAST
    assert len(json.loads((tmp_path / FILE).read_text())) == 1


def test_where_nothing_can_be_kept_it_is_timed_and_said(tmp_path, caplog):
    (tmp_path / "file").touch()

    assert Kernel(SECONDS).best(tmp_path / "file") == FAST
    assert "is tuned anew in every process" in caplog.text


def many(folder, name):
    """Choose for a dozen shapes, as one of several processes."""
    kernel = Kernel(SECONDS)
    choices = kernel.choices(folder)
    for key in range(12):
        choices.best(name, (key,), (SLOW, FAST), kernel.launch)


def test_two_processes_lose_nothing_of_one_another(tmp_path):
    forking = multiprocessing.get_context("fork")
    running = [forking.Process(target=many, args=(tmp_path, name)) for name in "ab"]
    for process in running:
        process.start()
    for process in running:
        process.join()

    assert [process.exitcode for process in running] == [0, 0]
    assert len(json.loads((tmp_path / FILE).read_text())) == 24


def test_a_launch_says_what_the_compiler_would_warn_of():
    assert Tiles(warps=8, stages=3).options == {
        "num_warps": 8,
        "num_stages": 3,
        "enable_fp_fusion": True,
    }


def test_a_kernel_is_launched_as_it_was_cut():
    launched = []

    run("kernel", (1,), (SLOW,), launched.append, torch.zeros(1))

    assert launched == [SLOW]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda file: file.parent.name)
def test_every_launcher_goes_to_the_device_of_its_operands(launcher):
    """By `run`, that is, and none by `chosen` alone, which stays on the current device."""
    text = launcher.read_text("utf-8")

    assert "run(" in text
    assert "chosen(" not in text
