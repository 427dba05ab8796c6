"""The one place where the test split is looked at: what came of a study, once it is settled who wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tuner.analysis.baselines import baselines, pca_losses, value_losses
from tuner.analysis.columns import column_quality
from tuner.analysis.final_stage import winners_runs
from tuner.analysis.winner import plan_of, winner_weights
from tuner.answers.parts import ColumnQuality, FinalStage, Scores
from tuner.answers.summary import BestScore, Summary
from tuner.data.encoded import EncodedColumn
from tuner.data.pca import Tick, quiet
from tuner.data.rows import Rows
from tuner.data.terms import TEST, split_scale
from tuner.learning.checkpoint_store import CheckpointStore
from tuner.learning.packs import compiled, training_data
from tuner.learning.scoring import mean_loss, reconstruct
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import TrialRecord
from tuner.spec.final import is_final, name_of, trial_of
from tuner.spec.length import study_plan
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial

USE = "test"  # the event that says: the test split was used, when, and for which models


@dataclass(frozen=True, slots=True)
class _Use:
    """The models that met the test split: their trial, and the runs' numbers."""

    trial: int
    runs: tuple[int, ...]


class Scorer:
    """Scores the winner on the test split, and writes down that it did.

    Args:
        ledger: where that is written.
        study: its id there, and its declaration.
        rows: the prepared splits.
        states: where its states are kept.
        device: a resolved device.
        tick: called with what is being done; what it raises ends the scoring, and nothing but its use is written down.
    """

    def __init__(
        self,
        ledger: Ledger,
        study: tuple[int, StudySpec],
        rows: Rows,
        states: CheckpointStore,
        device: str,
        tick: Tick = quiet,
    ) -> None:
        self._ledger, self._rows, self._states, self._device, self._tick = ledger, rows, states, device, tick
        self._study_id, self._spec = study
        self._made: dict[int, dict[str, NDArray[np.float32]]] = {}

    def summary(
        self,
        best: TrialRecord,
        answered: FinalStage | None,
        known: Summary | None,
        lengths: Sequence[int] = (),
        columns: Sequence[EncodedColumn] = (),
    ) -> Summary:
        """What came of the study; its time is that of the summary so far.

        Args:
            best: the search's best trial; the winner where there was no final stage, or nothing came of it.
            answered: what the final stage says.
            known: the summary so far: models that it has scores of are not scored again.
            lengths: of the Pareto front's codes: PCA is compared with them on the validation split, for of the front
                only the knee meets the test split.
            columns: of the table, if the rows are one's.
        """
        finals = self._ledger.finals(self._study_id)
        runs = winners_runs(answered, finals) if answered else []
        models = runs or [best]
        use = _Use(trial_of(runs[0].number) if runs else best.number, tuple(run.number for run in models))
        if _use(known) != use:
            self._note(use, known)
        qualities = self._columns(models[0], known, columns)
        scores = tuple(self._test_loss(run, _scores(known)) for run in models)
        compared = baselines(self._rows, models[0].point.bottleneck, self._spec.loss, self._tick)
        tested = {"test_loss": scores[0], "mean_test_loss": fmean(scores)} if runs else {}
        return Summary(
            best=BestScore(number=best.number, value=float(best.value or 0.0), test_loss=None if runs else scores[0]),
            final=answered and answered.model_copy(update=tested),
            scored=Scores(trial=use.trial, runs=use.runs, losses=scores),
            test_uses=len(self._uses()),
            baselines=compared.test,
            validation_baselines=compared.validation,
            front_pca=pca_losses(self._rows, lengths, self._spec.loss, self._tick) if lengths else {},
            columns=qualities,
            seconds=0.0 if known is None else known.seconds,
        )

    def _uses(self) -> list[_Use]:
        bodies = [event.body for event in self._ledger.events(self._study_id) if event.kind == USE]
        return [_Use(body["trial"], tuple(body["runs"])) for body in bodies]

    def _note(self, use: _Use, known: Summary | None) -> None:
        """Before the test split is read, so that no use of it can go unrecorded; a kill in between scores once more."""
        uses, before = self._uses(), _use(known)
        for each in ([before] if before and not uses else []) + [use]:  # older studies have no such event
            if each not in uses:
                self._ledger.record_event(self._study_id, USE, {"trial": each.trial, "runs": list(each.runs)})

    def _test_loss(self, run: TrialRecord, known: Mapping[int, float]) -> float:
        if run.number in known:
            return known[run.number]
        rows, terms = self._rows, self._rows.terms
        by_step = compiled(self._device, self._spec.step)
        scored = mean_loss(run.point, self._spec.loss, self._weights(run), rows.test, by_step, terms)
        return scored * split_scale(terms, TEST)

    def _columns(
        self, run: TrialRecord, known: Summary | None, columns: Sequence[EncodedColumn]
    ) -> tuple[ColumnQuality, ...]:
        """Of the exported run; what a summary has of the same run stays."""
        use = _use(known)
        if known is not None and use is not None and use.runs[0] == run.number:
            return known.columns
        if not columns:
            return ()
        weights, loss, terms = self._weights(run), self._spec.loss, self._rows.terms
        by_step = compiled(self._device, self._spec.step)

        def rebuild(part: NDArray[np.float32]) -> NDArray[np.float32]:
            self._tick(f"{name_of(run.number)}, its columns on the test split")
            return reconstruct(run.point, loss, weights, part, by_step, terms)

        return column_quality(columns, value_losses(loss, terms), self._rows.test, rebuild)

    def _weights(self, run: TrialRecord) -> dict[str, NDArray[np.float32]]:
        """Those of the run that was asked for last are kept: where its state is gone, making them is a training."""
        if run.number not in self._made:
            self._made = {run.number: self._weights_again(run)}
        return self._made[run.number]

    def _weights_again(self, run: TrialRecord) -> dict[str, NDArray[np.float32]]:
        name = name_of(run.number)
        self._tick(f"{name} on the test split")
        rows, spec = self._rows, self._spec
        checkpoint = self._ledger.curves(self._study_id, [run.number])[run.number].checkpoint
        kinds = self._device, spec.precision, spec.step
        again = partial(training_data, rows.train, rows.validation, *kinds, rows.terms, start=rows.start)
        trial = Trial(run.number, run.point, run.seed)
        state = None if checkpoint is None else self._states.get(checkpoint)
        plan = plan_of(study_plan(spec.search, self._ledger.events(self._study_id)), run)

        def tick(epoch: int) -> None:
            self._tick(f"{name}, epoch {epoch}")

        return winner_weights(trial, run.epochs, state, again, spec.loss, tick, plan=plan, start=rows.start)


def free_final_states(ledger: Ledger, states: CheckpointStore, study_id: int, exported: int | None) -> None:
    """Of the final stage only the exported run's state is worth its space: any other can be trained again."""
    for number, newest in ledger.checkpoints(study_id, 2).items():
        if is_final(number):
            states.remove(newest[1:] if number == exported else newest)


def _use(known: Summary | None) -> _Use | None:
    """What a summary has scores of."""
    return None if known is None or known.scored is None else _Use(known.scored.trial, known.scored.runs)


def _scores(known: Summary | None) -> Mapping[int, float]:
    """The test losses that a summary holds, by run or trial."""
    if known is None or known.scored is None:
        return {}
    return dict(zip(known.scored.runs, known.scored.losses, strict=True))
