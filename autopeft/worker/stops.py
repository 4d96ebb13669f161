"""Why the work on a job ends before it is done; every `StopError` puts back what was begun."""

from autopeft.errors import AutopeftError


class StopError(AutopeftError):
    """The work on a job is to end in an orderly way."""


class WishError(StopError):
    """Somebody wants the job to be paused or cancelled."""


class ExtendedError(StopError):
    """The job has got other limits: it goes on at once, with these."""


class LaterError(StopError):
    """The job is to wait for another one, which goes first."""


class SlowError(AutopeftError):
    """A part of the work takes longer than it may, and was interrupted."""


class ShutdownError(StopError):
    """This process is to end; the job goes on elsewhere, or when there is a worker again."""


class LostError(StopError):
    """The job is not ours any more: another worker has it, or it was taken away."""
