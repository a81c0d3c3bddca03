"""Logs: key=value lines on stderr, quiet by default, with no tokens and no cell contents in them."""

from __future__ import annotations

import logging
import re
import sys

import structlog

_TOKEN = re.compile(r"(token[=:\s]+|bearer\s+)[^\s&\"']+", re.IGNORECASE)
_OURS = re.compile(r"pj_[A-Za-z0-9_-]{8,}")


def redact(text: str) -> str:
    """``text`` without anything that looks like a token.

    >>> redact("GET /api/kernels/1/link?token=abc&x=1 Bearer pj_0123456789")
    'GET /api/kernels/1/link?token=***&x=1 Bearer ***'
    """
    return _OURS.sub("***", _TOKEN.sub(r"\1***", text))


class RedactingFilter(logging.Filter):
    """For loggers of libraries, which may put a request's address into a message."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def configure_logs(level: str) -> None:
    """Set up this process's logs; for the program's start, not for a library."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    for name in ("uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.setLevel(max(threshold, logging.WARNING))
        if not any(isinstance(known, RedactingFilter) for known in logger.filters):
            logger.addFilter(RedactingFilter())
