"""Which process holds a study, and whether it still lives."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, named so that neither another machine nor a reused id can be taken for it.

    ``namespace`` tells containers apart that share a host name, each with a process 1 of its
    own. ``started`` is the time since boot at which the process began, in clock ticks. Both are
    empty or zero where the system does not say.
    """

    host: str
    namespace: str
    pid: int
    started: int

    def seen_from(self, other: "Process") -> bool:
        """Whether ``other`` can ask its own system if this process lives."""
        return (self.host, self.namespace) == (other.host, other.namespace)

    @property
    def lives(self) -> bool:
        """Whether the process runs on this machine, and is no later one with the same id."""
        if os.name != "posix":
            return True  # there is no harmless way to ask; the heartbeat decides alone
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it lives, as another user's
        state, started = _status(self.pid)
        return state not in {"Z", "X"} and (0 in {started, self.started} or started == self.started)


def process_of(pid: int) -> Process:
    """Describe a process of this machine."""
    return Process(
        host=socket.gethostname(), namespace=_namespace(), pid=pid, started=_status(pid)[1]
    )


def this_process() -> Process:
    """Describe the process that asks."""
    return process_of(os.getpid())


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _status(pid: int) -> tuple[str, int]:
    """Read state and start time, fields 3 and 22 of proc(5); empty and 0 where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return "", 0
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return fields[0], int(fields[19])
