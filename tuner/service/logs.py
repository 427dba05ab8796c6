"""Logs of the service: one line an event, as JSON for machines or plain for a terminal, never with a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Final, TextIO, final

from tuner.errors import InputError, sentence
from tuner.masks import without_secrets

FORMAT: Final = "TUNER_LOG"
FORMATS: Final = ("text", "json")
# What a line may say beside its message, by `extra=`: which study and trial it is about first of all.
FIELDS: Final = ("study", "trial", "driver", "attempt", "outcome", "actor", "method", "route", "status", "seconds")


def set_up(stream: TextIO | None = None) -> None:
    """Send every log line of this process to a stream, in the form that TUNER_LOG names.

    Args:
        stream: standard error by default.

    Raises:
        InputError: TUNER_LOG is neither text nor json.
    """
    form = os.environ.get(FORMAT, "").strip() or "text"
    if form not in FORMATS:
        raise InputError(f"{FORMAT}: must be {' or '.join(FORMATS)}, got {form}.")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Plain())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)


@final
class JsonLines(logging.Formatter):
    """Each line one JSON object: at, level, logger, message, and those of FIELDS that are known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_known(record),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(said, ensure_ascii=False, default=str))


@final
class Plain(logging.Formatter):
    """Each line for people: the time, the message, and what is known beside it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback follows it."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        said = record.getMessage()
        known = "".join(f" {name}={value}" for name, value in _known(record).items() if str(value) not in said)
        line = sentence(f"{at} {level}{said}{known}")
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return without_secrets(line + trace)


def _known(record: logging.LogRecord) -> dict[str, object]:
    found = {name: getattr(record, name, None) for name in FIELDS}
    return {name: value for name, value in found.items() if value is not None}
