"""Every error a user can meet, as one tree.

    TunerError                    exit code 1 unless said otherwise
    ├── InputError                2   something the user wrote or named is wrong
    │   ├── SpecError             2   the study's declaration; carries every mistake at once
    │   ├── DataError             2   the data that the declaration names
    │   ├── UnknownDataError      2   no such registered data
    │   ├── QuotaError            2   the operator lets studies and uploads take no more of the disk
    │   ├── DeviceError           2   the device that the declaration asks for
    │   └── StudyError            2   it cannot be continued or changed like this
    │       └── UnknownStudyError 2   no such study
    ├── LedgerError               1   the durable record cannot be opened, read or written
    ├── StorageError              1   the tuner's own folder cannot be written
    ├── TrackingError             1   MLflow cannot be reached or refuses
    ├── ServerError               1   a tuner server cannot be reached, or cannot do it now
    ├── ClusterError              4   the cluster that was named cannot be joined
    ├── WorkerError               1   a worker died more often than it is retried
    ├── HelperError               1   a helper process or a thread could not be started, or ended early
    ├── ExportError               1   a folder cannot be written or is no export
    │   └── PlaceError        2   what the user named for an output or as an export is wrong (an InputError as well)
    └── StoppedError        130   the user ended a call before it had a result

A message is one sentence: where, what was expected, what came. The doors (`cli`, later `service`) print it and
exit with `exit_code`; nothing else is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_SENTENCE = 900
MOST_SHOWN = 100


class TunerError(Exception):
    """The root: an expected failure with one clear sentence for the user."""

    exit_code = 1


class InputError(TunerError):
    """Something the user wrote or named is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a declaration.

    Attributes:
        key: dotted path of the key, `space.width.high`; empty for the file as a whole.
        message: what was expected and what came.
        line: line in the file, counted from 1; None where there is none (an override, Python).
        source: the file's name, or `--set`, or `spec`.
    """

    key: str
    message: str
    line: int | None = None
    source: str = "spec"

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return sentence(f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}")


class SpecError(InputError):
    """The declaration has mistakes; `problems` holds all of them, in the file's order, its message the first 100."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:MOST_SHOWN]]
        more = len(self.problems) - len(lines)
        super().__init__("\n".join(lines + [f"... and {more} more."] * bool(more)))


class DataError(InputError):
    """The data cannot be used; the message names file, column and row."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))


def sentence(text: str) -> str:
    """One line of limited length, even where it quotes names and values of damaged files.

    Line ends and what would steer the terminal are written out as in Python; what is long is cut in its middle.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    ends = LONGEST_SENTENCE // 2
    return text if len(text) <= LONGEST_SENTENCE else f"{text[:ends]} ... {text[-ends:]}"


class UnknownDataError(InputError):
    """There is no registered data of that name."""


class QuotaError(InputError):
    """The operator lets studies and uploaded data take no more of the disk."""


class DeviceError(InputError):
    """The device asked for is not there."""


class StudyError(InputError):
    """No such study, or it cannot be continued in the way asked for."""


class UnknownStudyError(StudyError):
    """There is no study of that name."""


class LedgerError(TunerError):
    """The ledger cannot be opened, read or written."""


class StorageError(TunerError):
    """The folder for prepared data cannot be written; there may be room or rights another time."""


class ClusterError(TunerError):
    """The cluster that was named cannot be joined: there is none now, or it refuses."""

    exit_code = 4


class TrackingError(TunerError):
    """MLflow cannot be reached or refuses."""


class ServerError(TunerError):
    """A tuner server cannot be reached, or cannot do now what it was asked for."""


class WorkerError(TunerError):
    """A worker process died more often than its segment is retried."""


class HelperError(TunerError):
    """A helper process or a thread could not be started, or the process ended before it answered."""


class ExportError(TunerError):
    """An export cannot be written, or a folder is not an export."""


class PlaceError(ExportError, InputError):
    """What the user named for an output, or as an export, is wrong: another name would do."""


class StoppedError(TunerError):
    """The user ended a call before it had a result."""

    exit_code = 130
