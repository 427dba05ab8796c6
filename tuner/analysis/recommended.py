"""The model that a study recommends and `export` writes: all that is known of it, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner.analysis.final_stage import Winner
from tuner.ledger.records import StudyRecord
from tuner.spec.architecture import Architecture
from tuner.spec.final import chosen_from, name_of

if TYPE_CHECKING:
    from tuner.data.rows import Rows


def winner_facts(
    study: StudyRecord, winner: Winner, known: Mapping[str, Any], features: int, complete: int
) -> dict[str, Any]:
    """The object `winner` of `--json`.

    Args:
        study: the study's record.
        winner: the model.
        known: the ledger's summary of the study, empty while there is none.
        features: of a row; 0 where that is not recorded.
        complete: how many trials are complete.

    Returns:
        `trial` (that found the configuration), `run` (the run that is exported), `params`, `seed`, `loss`, `sizes`
        and `parameters` (None where the number of features is not recorded), `best_epoch`, `epochs`, `validation_loss`
        (of the run), `validation_loss_is` (what it was chosen from), `validation_losses` (of every seed), `mean`, `low`
        and `high` (over the seeds), `test_loss` (of the run), `mean_test_loss` (over the seeds), `measures` (of the
        run) and `fingerprint`. What was not measured is None.
    """
    run, tried = winner.record, _configuration(winner, known)
    shape = Architecture.of(features, run.point) if features else None
    tests = _test_losses(known)
    mean_test = (known.get("final") or {}).get("mean_test_loss") if tried else tests.get(run.number)
    return {
        "trial": winner.trial,
        "run": name_of(run.number),
        "params": {name: value for name, value in run.shown.items() if value is not None},
        "seed": run.seed,
        "loss": study.spec.loss,
        "sizes": shape and list(shape.sizes),
        "parameters": shape and shape.parameters,
        "best_epoch": run.best_epoch,
        "epochs": run.epochs,
        "validation_loss": run.value,
        "validation_loss_is": _kind(tried, complete),
        "validation_losses": tried.get("losses"),
        **{name: tried.get(name) for name in ("mean", "low", "high")},
        "test_loss": tests.get(run.number),
        "mean_test_loss": mean_test,
        "measures": dict(run.measures),
        "fingerprint": study.fingerprint,
    }


def _configuration(winner: Winner, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the final stage says of the winner's configuration; empty where there was no such stage."""
    if winner.index is None:
        return {}
    return next((one for one in known["final"]["configurations"] if one["trial"] == winner.trial), {})


def _kind(tried: Mapping[str, Any], complete: int) -> str:
    if not tried:
        return chosen_from(complete, "complete trial")
    return chosen_from(sum(loss is not None for loss in tried["losses"]), "seed")


def _test_losses(known: Mapping[str, Any]) -> dict[int, float | None]:
    """Test losses by run. Summaries of versions without a final stage name the best trial's alone."""
    if scored := known.get("scored"):
        return dict(zip(scored["runs"], scored["losses"], strict=True))
    best = known.get("best") or {}
    return {best["number"]: best.get("test_loss")} if best else {}


def known_losses(summary: Mapping[str, Any], exported: Winner, winner: Winner, rows: Rows) -> dict[str, Any]:
    """What `write_export` is told of a model's losses beside its validation loss; the test split is only the winner's.

    Args:
        summary: `Study.summary`.
        exported: the model.
        winner: the study's.
        rows: the prepared splits.
    """
    from tuner.analysis.baselines import baselines  # noqa: PLC0415 - numpy, which a study that is shown does not need

    best = summary["winner"]
    if exported != winner or best["test_loss"] is None:
        beside = baselines(rows, exported.record.point.bottleneck, best["loss"])
        own = {} if exported != winner else {"validation_loss_is": best["validation_loss_is"]}
        return {"baselines": beside["test"], "validation_baselines": beside["validation"], **own}
    losses = {name: summary[name] for name in ("final", "baselines", "validation_baselines")}
    if losses["baselines"] is None:  # the summary's are of another trial, whose code may have another length
        beside = baselines(rows, exported.record.point.bottleneck, best["loss"])
        losses |= {"baselines": beside["test"], "validation_baselines": beside["validation"]}
    own = {"best": {"test_loss": best["test_loss"]}, "validation_loss_is": best["validation_loss_is"]}
    return {**losses, **own, "threshold_on_test": True}
