"""The log: JSON lines for programs. No secret reaches it, whatever is logged."""

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

Log = FilteringBoundLogger
_TOKEN = re.compile(r"apk_([0-9A-Za-z]+)_[\w-]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+")
_PASSWORD = re.compile(r"(://[^/\s:@\"]*):[^@\s\"]+@")


def without_secrets(text: str) -> str:
    """Take the secrets out of a text: tokens, Authorization headers, passwords in addresses.

    Example:
        >>> without_secrets("apk_0a1b_c2d3 at postgresql://me:secret@host/db")
        'apk_0a1b_*** at postgresql://me:***@host/db'
    """
    if "apk_" in text:
        text = _TOKEN.sub(r"apk_\1_***", text)
    if "earer" in text or "asic" in text:
        text = _BEARER.sub(r"\1 ***", text)
    return _PASSWORD.sub(r"\1:***@", text) if "://" in text else text


def open_log(stream: TextIO | None = None) -> Log:
    """Open a log that writes JSON lines to a stream, to stderr unless another is given."""
    log: Log = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
            _clean,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return log


def _clean(_logger: WrappedLogger, _name: str, line: EventDict) -> str:
    return without_secrets(str(line))


class ToLog(logging.Handler):
    """Passes what libraries log on to ours, such as uvicorn's errors."""

    def __init__(self, log: Log, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log what a library has logged."""
        self._log.log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
