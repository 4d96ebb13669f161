"""What can go wrong, one class per situation that a user can act on.

    AutopeftError
    ├── BudgetError         the budget cannot be read, or nothing fits into it
    ├── SpaceError          a search space is unknown or malformed
    ├── DataError           the data file cannot be used
    ├── BackboneError       the model cannot be found, read or used
    ├── StudyError          a study is unknown, ambiguous, busy or has no answer
    ├── PlanError           a plan cannot be read or does not fit
    ├── StoreError          the store cannot be opened, read or written
    ├── OutputError         results cannot be written
    ├── JobError            a job of the service is in no state for what is asked
    │   ├── UnknownError    there is no such job, key or data set
    │   └── FullError       as many jobs of its owner wait as may
    ├── KernelError         an operator cannot take its operands, or not on their device
    ├── ServiceError        the service cannot be reached, or refuses
    └── OptionError         an option has a value that does not exist or needs something installed

The message is the sentence that the user reads: what was wrong, what is allowed, what to do.
"""


class AutopeftError(Exception):
    """Something that the user can mend; the message says how."""


class BudgetError(AutopeftError):
    """The budget cannot be read, or nothing in the search space fits into it."""


class SpaceError(AutopeftError):
    """A search space is unknown or malformed."""


class DataError(AutopeftError):
    """The data file cannot be used for training."""


class BackboneError(AutopeftError):
    """The pretrained model cannot be found, read or used."""


class StudyError(AutopeftError):
    """A study is unknown, ambiguous, busy, or has no answer yet."""


class PlanError(AutopeftError):
    """A plan cannot be read, or does not fit the backbone or the data."""


class StoreError(AutopeftError):
    """The store cannot be opened, read or written."""


class OutputError(AutopeftError):
    """Results cannot be written to the output directory."""


class KernelError(AutopeftError):
    """An operator cannot take its operands, or has no form for their device."""


class OptionError(AutopeftError):
    """An option has a value that does not exist, or needs a package that is not installed."""


class JobError(AutopeftError):
    """A job, key or data set of the service is unknown, or in no state for what is asked."""


class UnknownError(JobError):
    """There is no such job, key or data set, or it is somebody else's."""


class FullError(JobError):
    """As many jobs of its owner wait as may."""


class ServiceError(AutopeftError):
    """The service cannot be reached, or refuses what it was asked."""
