"""A study's answer and facts, and the files that MLflow shows of it: record, search and training meet here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.analysis.final_stage import recommended
from tuner.analysis.pareto import chosen_trial, front_points
from tuner.analysis.recommended import recommendation
from tuner.answers.parts import ColumnQuality, FrontPoint, Measures
from tuner.answers.study import BestTrial, MlflowLinks, Recommendation, StoppedEarly, StudyAnswer, WarmStarted
from tuner.answers.summary import Summary
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord, StudyState, TrialRecord
from tuner.ledger.trainers import trained_on
from tuner.ledger.whole_record import WholeRecord
from tuner.orchestration.warm_start import WarmStart
from tuner.search.patience import stopped_early
from tuner.settings import Workspace
from tuner.spec.final import name_of
from tuner.spec.objectives import is_front
from tuner.spec.work import TrialState
from tuner.tracking.links import study_links

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared
    from tuner.report.facts import Facts


def study_answer(record: WholeRecord, state: StudyState, mlflow: MlflowLinks) -> StudyAnswer:
    """A study's answer, as `--json` prints it.

    Args:
        record: what the ledger holds of the study.
        state: its state, in which a study whose owner was killed is stopped.
        mlflow: where MLflow shows it.
    """
    spec, known = record.study.spec, record.summary
    best = chosen_trial(spec, record.trials, record.features)
    winner = None if best is None else _winner(record, best)
    flat, warm = stopped_early(record.events), WarmStart.recorded(record.events)
    return StudyAnswer(
        study=record.study.name,
        state=state,
        counts=dict(Counter(str(trial.state) for trial in record.trials)),
        stopped_early=flat and StoppedEarly(patience=flat.patience, min_improvement=flat.min_improvement),
        warm_start=warm and WarmStarted(origin=warm.origin, trials=len(warm.points), left_out=warm.left_out),
        best=best and _best(best, known),
        winner=winner,
        final=known.final if known is not None and spec.final_stage is not None else None,
        test_uses=known and known.test_uses,
        front=_front(record) if is_front(spec) else None,
        front_pca={} if known is None else known.front_pca,
        baselines=winner and winner.baselines,
        validation_baselines=winner and winner.validation_baselines,
        columns=_columns(known, winner),
        seconds=known and known.seconds,
        trained=trained_on(record.events),
        mlflow=mlflow,
    )


def _best(best: TrialRecord, known: Summary | None) -> BestTrial:
    scored = None if known is None else known.best
    return BestTrial(
        number=best.number,
        value=float(best.value or 0.0),
        params=best.params,
        test_loss=scored.test_loss if scored is not None and scored.number == best.number else None,
        measures=Measures.model_validate(dict(best.measures)),
    )


def _winner(record: WholeRecord, best: TrialRecord) -> Recommendation:
    known = record.summary
    winner = recommended(record.study.spec, best, known, record.finals)
    complete = sum(trial.state is TrialState.COMPLETE for trial in record.trials)
    return recommendation(record.study, winner, known, record.features, complete)


def _columns(known: Summary | None, winner: Recommendation | None) -> tuple[ColumnQuality, ...]:
    """What the summary says of the winner's columns; one that was scored before another won says it of that one."""
    if known is None or known.scored is None or winner is None or name_of(known.scored.runs[0]) != winner.run:
        return ()
    return known.columns


def _front(record: WholeRecord) -> tuple[FrontPoint, ...]:
    pca = {} if record.summary is None else record.summary.front_pca
    return tuple(front_points(record.study.spec, record.trials, record.features, pca))


def facts_of(record: WholeRecord, answer: StudyAnswer) -> Facts:
    """All that figures are drawn from and studies are compared by.

    Args:
        record: what the ledger holds of the study.
        answer: what the study answers.
    """
    from tuner.report.facts import study_facts
    from tuner.search.importance import importances
    from tuner.search.lengths import length_of
    from tuner.search.rebuild import optuna_study

    spec = record.study.spec
    rebuilt = optuna_study(spec, record.trials, record.curves, record.features)
    return study_facts(record, answer, length_of(spec.search, record.events), importances(rebuilt))


def answer_of(
    ledger: Ledger, study: StudyRecord, workspace: Workspace, device: str, prepare: Callable[[], Prepared]
) -> Path:
    """The study's folder of files for MLflow in the workspace, made where it is not there.

    See `tuner.report.answer_files`.

    Raises:
        DataError: the data cannot be used.
        OSError: the folder cannot be written.
    """
    from tuner.report.answer_files import answer_files

    figures = partial(_figures, ledger, study, workspace.tracking)
    return answer_files(ledger, study, workspace.work, device, prepare, figures)


def _figures(ledger: Ledger, study: StudyRecord, tracking: str) -> Iterator[tuple[str, bytes]]:
    from tuner.report.figures import all_figures
    from tuner.report.svg import standalone

    record = WholeRecord.of(ledger, study)
    answer = study_answer(record, study.state, study_links(ledger, study.id, tracking))
    for name, figure in all_figures(facts_of(record, answer)).items():
        yield f"study/figures/{name}.svg", standalone(figure).encode()
