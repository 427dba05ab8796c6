"""A study's facts, and the files that MLflow shows of it: what was recorded, searched and trained meets here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.spec.objectives import is_front

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared
    from tuner.report.facts import Record


def facts_of(record: Record, summary: Mapping[str, Any]) -> dict[str, Any]:
    """All that figures are drawn from and studies are compared by, as `tuner.report.facts` lists it.

    Args:
        record: what the ledger holds of the study.
        summary: its answer.
    """
    from tuner.analysis.pareto import front_points, front_rows
    from tuner.report.facts import study_facts
    from tuner.search.importance import importances
    from tuner.search.rebuild import optuna_study
    from tuner.search.rungs import rungs

    spec, events = record.study.spec, record.events
    features = next((event.body["features"] for event in reversed(events) if event.kind == "run"), 0)
    rebuilt = optuna_study(spec, record.trials, record.curves, features)
    front = []
    if is_front(spec):
        known = {int(code): loss for code, loss in summary.get("front_pca", {}).items()}
        front = front_rows(front_points(spec, record.trials, features, known))
    found = {"rungs": rungs(spec.search), "importance": importances(rebuilt), "front": front}
    return study_facts(record, summary) | found


def answer_of(ledger: Ledger, study: StudyRecord, work: Path, device: str, prepare: Callable[[], Prepared]) -> Path:
    """The study's folder of files for MLflow below `work`, made where it is not there; see `tuner.report.answer_files`.

    Raises:
        DataError: the data cannot be used.
        OSError: the folder cannot be written.
    """
    from tuner.report.answer_files import answer_files

    return answer_files(ledger, study, work, device, prepare, partial(_figures, ledger, study))


def _figures(ledger: Ledger, study: StudyRecord) -> Iterator[tuple[str, bytes]]:
    from tuner.report.facts import Record
    from tuner.report.figures import all_figures
    from tuner.report.svg import standalone

    trials, events = ledger.trials(study.id), ledger.events(study.id)
    record = Record(study, trials, ledger.curves(study.id), ledger.segments(study.id), events)
    for name, figure in all_figures(facts_of(record, ledger.summary(study.id) or {})).items():
        yield f"study/figures/{name}.svg", standalone(figure).encode()
