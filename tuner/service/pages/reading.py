"""What the pages show of a study, read once for all who look at it."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tuner.answers.service import StudyItem, TrialItem
from tuner.service.options import ServiceOptions
from tuner.service.pages.charts import MOST_CURVES
from tuner.service.pages.study import StudyView
from tuner.service.rest.trials import curve_items, trial_items
from tuner.service.studies import ServiceStudies
from tuner.spec.length import recorded_length
from tuner.tracking.links import study_url

if TYPE_CHECKING:
    from tuner.answers.study import MlflowLinks

EVERY: Final = 2.0  # seconds between two readings of all trials of a study that runs
MOST_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class _Read:
    view: StudyView
    key: object
    at: float


@dataclass(slots=True)
class Views:
    """The views of studies; those that many look at are read once. Its methods block, from any thread.

    Attributes:
        studies: where they are read.
        options: where MLflow is.
    """

    studies: ServiceStudies
    options: ServiceOptions
    _read: dict[str, _Read] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def view(self, name: str, is_live: bool = False) -> StudyView:
        """A study as it is now.

        Args:
            name: the study.
            is_live: trials may be as they were two seconds ago, as long as the study's state is the same.

        Raises:
            StudyError: there is none of that name.
        """
        item = self.studies.item(name)
        with self._lock:
            known = self._read.get(name)
            if known is None or not is_live or not _is_fresh(known, item):
                known = _Read(self._all(name), _key(item), time.monotonic())
                self._keep(name, known)
        return replace(known.view, detail=known.view.detail.model_copy(update={"item": item}))

    def _keep(self, name: str, read: _Read) -> None:
        self._read.pop(name, None)
        self._read[name] = read
        if len(self._read) > MOST_KEPT:
            del self._read[next(iter(self._read))]

    def _all(self, name: str) -> StudyView:
        detail, record = self.studies.detail(name), self.studies.record(name)
        if detail.answer is None or record is None:
            return StudyView(detail)
        trials = sorted(trial_items(self.studies, name), key=_rank)
        best = [trial.number for trial in trials[:MOST_CURVES]]
        curves = {curve.number: curve for curve in curve_items(self.studies, name, best)} if best else {}
        return StudyView(
            detail,
            trials,
            [curves[number] for number in best if number in curves],
            recorded_length(self.studies.ledger.events(record.id)),
            self._mlflow(detail.answer.mlflow),
        )

    def _mlflow(self, links: MlflowLinks) -> str | None:
        """Where a browser sees these runs; an address of this machine is shown on this machine alone."""
        if links.experiment_id is None or links.run_id is None:
            return None
        if self.options.mlflow_url is not None:
            return study_url(self.options.mlflow_url, links.experiment_id, links.run_id, links.view)
        return links.url if self.options.is_local or not links.local else None


def _is_fresh(known: _Read, item: StudyItem) -> bool:
    same = known.key == _key(item)
    return same or (known.view.detail.item.state == item.state and time.monotonic() - known.at < EVERY)


def _key(item: StudyItem) -> object:
    return item.state, tuple(sorted(item.counts.items())), item.best, item.total, item.waiting, item.message


def _rank(trial: TrialItem) -> tuple[bool, int, float, int]:
    """Complete trials by loss, then the others by how far they came."""
    value = math.inf if trial.value is None else trial.value
    is_complete = trial.state == "complete"
    return not is_complete, 0 if is_complete else -trial.epochs, value, trial.number
