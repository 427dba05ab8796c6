"""The model that a study recommends and `export` writes: all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tuner.analysis.final_stage import Winner
from tuner.answers.parts import Configuration, Measures, ModelLosses
from tuner.answers.study import Recommendation, StudyAnswer
from tuner.answers.summary import Summary
from tuner.ledger.records import StudyRecord
from tuner.spec.architecture import Architecture
from tuner.spec.final import chosen_from, name_of

if TYPE_CHECKING:
    from tuner.data.rows import Rows


def recommendation(
    study: StudyRecord, winner: Winner, known: Summary | None, features: int, complete: int
) -> Recommendation:
    """The object `winner` of `--json`.

    Args:
        study: the study's record.
        winner: the model.
        known: the ledger's summary of the study.
        features: of a row; 0 where that is not recorded.
        complete: how many trials are complete.
    """
    run, tried = winner.record, _configuration(winner, known)
    shape = Architecture.of(features, run.point) if features else None
    test_loss = _test_losses(known).get(run.number)
    final = None if known is None or tried is None else known.final
    compared = known if known is not None and known.scored and known.scored.trial == winner.trial else None
    return Recommendation(
        trial=winner.trial,
        run=name_of(run.number),
        params=run.params,
        seed=run.seed,
        loss=study.spec.loss,
        sizes=shape and tuple(shape.sizes),
        parameters=shape and shape.parameters,
        best_epoch=run.best_epoch,
        epochs=run.epochs,
        validation_loss=run.value,
        validation_loss_is=_kind(tried, complete),
        validation_losses=tried and tried.losses,
        mean=tried and tried.mean,
        low=tried and tried.low,
        high=tried and tried.high,
        test_loss=test_loss,
        mean_test_loss=test_loss if final is None else final.mean_test_loss,
        measures=Measures.model_validate(dict(run.measures)),
        fingerprint=study.fingerprint,
        baselines=compared and compared.baselines,
        validation_baselines=compared and compared.validation_baselines,
    )


def _configuration(winner: Winner, known: Summary | None) -> Configuration | None:
    """What the final stage says of the winner's configuration; None where there was no such stage."""
    if winner.index is None or known is None or known.final is None:
        return None
    return known.final.best


def _kind(tried: Configuration | None, complete: int) -> str:
    return chosen_from(complete, "complete trial") if tried is None else chosen_from(len(tried.completed), "seed")


def _test_losses(known: Summary | None) -> Mapping[int, float]:
    """Test losses by run."""
    if known is None or known.scored is None:
        return {}
    return dict(zip(known.scored.runs, known.scored.losses, strict=True))


def known_losses(answer: StudyAnswer, exported: Winner, winner: Winner, rows: Rows) -> ModelLosses:
    """What is known of an exported model's losses beside its validation loss; the test split is only the winner's.

    Args:
        answer: the study's.
        exported: the model.
        winner: the study's.
        rows: the prepared splits.
    """
    from tuner.analysis.baselines import baselines  # noqa: PLC0415 - numpy, which a study that is shown does not need

    best = answer.winner
    if best is None:
        return ModelLosses()
    is_winner = exported == winner
    is_scored = is_winner and best.test_loss is not None
    test, validation = best.baselines, best.validation_baselines
    if not is_scored or test is None:  # the answer's are of another trial, whose code may have another length
        beside = baselines(rows, exported.record.point.bottleneck, best.loss)
        test, validation = beside.test, beside.validation
    return ModelLosses(
        validation_is=best.validation_loss_is if is_winner else None,
        test=best.test_loss if is_scored else None,
        final=answer.final if is_scored else None,
        baselines=test,
        validation_baselines=validation,
        threshold_on_test=is_scored,
        columns=answer.columns if is_scored else (),
    )
