"""What is sent to MLflow, as plain values: nothing here needs MLflow's own classes, which take a second to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from tuner.ledger.records import StudyRecord

KEY = "tuner.key"


class Metric(NamedTuple):
    """One value of a metric; `timestamp` in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int


class Dataset(NamedTuple):
    """The data that a run is about, its context being training; `source` and `profile` are JSON."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str


class Runs(Protocol):
    """The runs of one experiment, each made once under a key of its own."""

    def transaction(self) -> AbstractContextManager[bool]:
        """What is logged within belongs together; true where it is lost as a whole when anything is raised."""

    def attempt(self) -> AbstractContextManager[None]:
        """One trial's part of a transaction: where something is raised, nothing of it stays."""

    def ensure(self, name: str, tags: Mapping[str, str], started_at: int) -> str:
        """The id of the run with this key among its tags, made where there is none."""

    def tagged(self, tags: Mapping[str, str]) -> list[str]:
        """The ids of the runs that carry all of these tags, the oldest first."""

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log all of it; what is there already stays as it is."""

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Name the data that the run is about."""

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep a text as an artifact."""

    def log_files(self, run_id: str, folder: Path) -> None:
        """Keep all that lies in a folder as artifacts, under their own names; what has such a name is replaced."""

    def set_status(self, run_id: str, status: str, ended_at: int) -> None:
        """Set a run's `status`, and its end unless it is running."""


class Experiments(Protocol):
    """One MLflow, before an experiment is chosen."""

    def ensure(self, name: str, artifacts: str | None) -> str:
        """The id of the experiment of that name, made where there is none."""

    def of_run(self, run_id: str) -> str:
        """The id of a run's experiment."""

    def runs(self, experiment_id: str) -> Runs:
        """The runs of that experiment."""

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        """Set a tag of that experiment, in a transaction of its own."""


Answer = Callable[[StudyRecord], Path | None]  # a folder: `study/` of the study's run, `trial-N/` of a trial's


def without_files(_: StudyRecord) -> None:
    """An answer of which there is nothing to look at."""


def never() -> bool:
    """Nobody says stop."""
    return False


class StoppedError(Exception):
    """The one who asked for a publication said stop; what was not published waits."""


def pieces(metrics: Sequence[Metric], size: int) -> Iterator[Sequence[Metric]]:
    """The metrics in parts of that size, at least one part."""
    for start in range(0, max(1, len(metrics)), size):
        yield metrics[start : start + size]


class StoreError(Exception):
    """MLflow said no, in a word of its own REST interface.

    Attributes:
        error_code: such as `RESOURCE_DOES_NOT_EXIST`.
    """

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code

    def __reduce__(self) -> tuple[type[StoreError], tuple[str, str]]:
        return StoreError, (self.error_code, str(self))


GONE = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"
INVALID = "INVALID_PARAMETER_VALUE"
_REJECTIONS = frozenset({INVALID, "BAD_REQUEST"})


def is_gone(error: Exception) -> bool:
    """MLflow does not know what it is asked about: its store was removed or is another one."""
    return getattr(error, "error_code", None) == GONE


def is_rejection(error: Exception) -> bool:
    """MLflow will never take it."""
    return getattr(error, "error_code", None) in _REJECTIONS
