"""What memory there is, by files as Linux writes them, and how a lack of it is recognised."""

import errno

import pytest

from autopeft.training.memory import (
    NoRoomError,
    free_bytes,
    is_out_of_memory,
    resident_bytes,
    sized,
)

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """Return folders that stand for /proc and the control groups: 8 GiB are available."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    groups.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    return proc, groups


def grouped(folder, most, used, cached, *, names, line):
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in zip(names, (most, used), strict=True):
        (folder / name).write_text(f"{number}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{line} {cached}\n")


def test_what_is_available_is_free(machine):
    assert free_bytes(*machine) == 8 * GIB


def test_a_container_may_leave_less_and_its_caches_can_go(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/jobs/one\n")
    names = "memory.max", "memory.current"
    grouped(groups / "jobs/one", "max", GIB, 0, names=names, line="inactive_file")
    grouped(groups / "jobs", 4 * GIB, 3 * GIB, GIB, names=names, line="inactive_file")

    assert free_bytes(*machine) == 2 * GIB


def test_older_control_groups_are_read_too(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("3:cpu:/a\n2:memory:/box\n")
    names = "memory.limit_in_bytes", "memory.usage_in_bytes"
    grouped(groups / "memory/box", 3 * GIB, 2 * GIB, 0, names=names, line="total_inactive_file")

    assert free_bytes(*machine) == GIB


def test_a_group_that_says_nothing_readable_is_passed_over(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/odd\n")
    (groups / "odd").mkdir()
    (groups / "odd" / "memory.max").write_text("12\n")

    assert free_bytes(*machine) == 8 * GIB


def test_a_system_that_tells_nothing_has_half_of_all(tmp_path):
    assert free_bytes(tmp_path, tmp_path) > 0
    assert resident_bytes(tmp_path) > 0


def test_this_process_has_memory():
    assert 2**20 < resident_bytes() < 2**50


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (NoRoomError("a step needs more"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (OSError(errno.ENOMEM, "no"), True),
        (OSError(errno.ENOENT, "no"), False),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_recognised(error, lacks):
    assert is_out_of_memory(error) is lacks


def test_sizes_are_written_for_people():
    assert (sized(2.5 * GIB), sized(300 * 2**20)) == ("2.5 GiB", "300.0 MiB")
