"""What the ledger holds, in MLflow's own words; nothing here talks to MLflow.

Losses that are not finite are published as NaN: MLflow would store infinity as 1.8e308, which flattens every chart.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from tuner.answers.parts import FinalStage
from tuner.answers.summary import Summary
from tuner.ledger.records import Event, StudyRecord, TrialRecord
from tuner.ledger.table import MEASURE
from tuner.spec.architecture import Architecture
from tuner.spec.final import chosen_from, index_of, is_choosing, is_final, name_of, trial_of
from tuner.spec.work import Curve, TrialState
from tuner.tracking.entries import Dataset, Metric

END_STATUS: Final = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
    TrialState.INFEASIBLE: "FAILED",
}
STUDY_STATUS: Final = {"running": "RUNNING", "stopped": "KILLED", "finished": "FINISHED"}

IMAGE_KEY: Final = "reconstructions"
WORST_KEY: Final = "worst_rows"
_SYSTEM: Final = ("device", "step", "workers", "cores", "memory", "features")
_DIGEST_LENGTH = 36
_PLACE_LENGTH = 16
PLACE_TAG: Final = "tuner.ledger"
_TAG_LENGTH = 5000


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return round(seconds * 1000)


def key(study: StudyRecord, number: int | None) -> str:
    """What a run is found by: the same for the same trial, in whichever process and however often it is published."""
    return study.key if number is None else f"{study.key}/{number}"


def run_name(study: StudyRecord, number: int | None) -> str:
    """The study's own name, `trial-0042`, or `final-0042-3` for a run of the final stage."""
    return study.name if number is None else name_of(number)


def place(where: str) -> str:
    """What tells a ledger from those elsewhere, without naming user, machine or folder.

    Names are unique in a ledger and nothing removes a study from one: two studies of one name that come from the same
    place come from a ledger that was deleted, and from the one that was begun there anew.

    Args:
        where: the ledger's file, or its address without secrets.
    """
    address = where if "://" in where else f"{socket.gethostname()}:{Path(where).absolute()}"
    return hashlib.sha256(f"{_user()}@{address}".encode()).hexdigest()[:_PLACE_LENGTH]


def last_run(events: Sequence[Event]) -> dict[str, Any]:
    """Where the study was last trained, and on how many features; empty for one that was only written down."""
    return next((event.body for event in reversed(events) if event.kind == "run"), {})


def study_tags(study: StudyRecord, run: Mapping[str, Any], place: str) -> dict[str, str]:
    """Everything about a study that may change when it is continued: MLflow's parameters cannot.

    Args:
        study: as it is now.
        run: from `last_run`.
        place: from `place`.
    """
    spec = json.loads(study.spec_json)
    declared = {f"tuner.{name}": _text(value) for name, value in spec.get("search", {}).items() if value is not None}
    return _cut(
        {
            **_common_tags(study),
            **declared,
            **{f"tuner.version.{name}": version for name, version in study.versions.items()},
            **{f"tuner.{name}": _text(run[name]) for name in _SYSTEM if name in run},
            "tuner.key": key(study, None),
            PLACE_TAG: place,
            "tuner.state": study.state,
            "tuner.loss": _text(spec.get("loss", "")),
            "tuner.fingerprint": study.fingerprint,
        }
    )


def trial_tags(study: StudyRecord, parent_run_id: str, record: TrialRecord) -> dict[str, str]:
    """What a run is made with: a trial's, or one of the final stage, which is no trial and is not counted as one."""
    return {
        **_common_tags(study),
        "mlflow.parentRunId": parent_run_id,
        "tuner.key": key(study, record.number),
        "tuner.state": TrialState.RUNNING.value,
        **(_final_tags(record.number) if is_final(record.number) else _search_tags(record)),
    }


def _search_tags(record: TrialRecord) -> dict[str, str]:
    return {"tuner.stage": "search", "tuner.trial": str(record.number), "tuner.cohort": str(record.cohort)}


def _final_tags(number: int) -> dict[str, str]:
    stage = "choosing" if is_choosing(number) else "final"
    return {"tuner.stage": stage, "tuner.of_trial": str(trial_of(number)), "tuner.run": str(index_of(number))}


def end_tags(record: TrialRecord) -> dict[str, str]:
    """How a trial ended."""
    reason = {"tuner.reason": record.reason} if record.reason else {}
    return _cut({"tuner.state": record.state.value, **reason})


def params(record: TrialRecord) -> dict[str, str]:
    """A trial's hyperparameters, the active ones, and its seed."""
    return {name: str(value) for name, value in {**record.shown, "seed": record.seed}.items() if value is not None}


def epoch_metrics(curve: Curve, first: int, last: int) -> Iterator[Metric]:
    """Both losses of the epochs after `first` up to `last`, each with the time at which it was measured."""
    for epoch in range(first, last):
        at = milliseconds(curve.at[epoch])
        yield Metric("train_loss", _shown(curve.train_loss[epoch]), at, epoch + 1)
        yield Metric("val_loss", _shown(curve.val_loss[epoch]), at, epoch + 1)


def end_metrics(record: TrialRecord, features: int | None) -> list[Metric]:
    """What a trial came to; no objective where no epoch was finite, no size where the data's is unknown.

    What a run of the final stage came to has another name: sorted by `objective`, the search's trials stay among
    themselves.
    """
    values = {
        _loss_name(record.number): record.value,
        "best_epoch": record.best_epoch,
        "epochs": record.epochs,
        "n_params": None if features is None else Architecture.of(features, record.point).parameters,
        # MLflow's axes are linear.
        "log10_learning_rate": math.log10(record.point.learning_rate),
        **{f"{MEASURE}{name}": value for name, value in record.measures.items()},
    }
    at = milliseconds(record.ended_at or record.asked_at)
    return [Metric(name, float(value), at, 0) for name, value in values.items() if value is not None]


def _loss_name(number: int) -> str:
    if is_choosing(number):
        return "choosing_loss"
    return "final_loss" if is_final(number) else "objective"


def summary_metrics(summary: Summary, at: float) -> list[Metric]:
    """The best trial's losses, the winner's, and what they are to be compared with."""
    best, final, baselines = summary.best, summary.final, summary.baselines
    winner = final and final.best
    values = {
        **({f"final.{name}": getattr(winner, name) for name in ("mean", "low", "high")} if winner else {}),
        **({f"final.{name}": getattr(final, name) for name in ("test_loss", "mean_test_loss")} if final else {}),
        "final.exported_loss": _exported_loss(final),
        "best.value": best and best.value,
        "best.test_loss": best and best.test_loss,
        **({f"baseline.{name}": loss for name, loss in baselines} if baselines else {}),
    }
    numbers = {name: float(value) for name, value in values.items() if value is not None}
    return [Metric(name, _shown(value), milliseconds(at), 0) for name, value in numbers.items()]


def _exported_loss(final: FinalStage | None) -> float | None:
    if final is None or final.best is None or final.exported is None:
        return None
    return final.best.losses[final.exported]


def summary_tags(summary: Summary, best: TrialRecord | None) -> dict[str, str]:
    """The best trial's number and hyperparameters, and what the final stage says.

    Args:
        summary: the study's.
        best: the trial that it names as the best.
    """
    final = summary.final
    if summary.best is None:
        return {}
    chosen = {f"best.{name}": _text(value) for name, value in (best.params if best else {}).items()}
    said = {"final.winner": "none", "final.sentence": "There was no final stage."}
    if final is not None:
        said = {"final.winner": _text(final.winner), "final.sentence": final.sentence, **_exported(final)}
    uses = {} if summary.test_uses is None else {"tuner.test_uses": str(summary.test_uses)}
    return _cut({"best.trial": str(summary.best.number), **chosen, **said, **uses})


def _exported(final: FinalStage) -> dict[str, str]:
    """What the exported run's validation loss is, beside their mean."""
    return {"final.exported_loss_is": chosen_from(len(final.best.completed), "seed")} if final.best else {}


def file_tags(folder: Path) -> dict[str, str]:
    """What MLflow's page looks for beside files as `log_image` and `log_table` leave them."""
    images = {"mlflow.loggedImages": "True"} if (folder / "images").is_dir() else {}
    tables = [{"path": path.name, "type": "table"} for path in sorted(folder.glob("*.json"))]
    return images | ({"mlflow.loggedArtifacts": json.dumps(tables)} if tables else {})


def dataset(study: StudyRecord) -> Dataset:
    """The data that the study is about, told apart by its fingerprint."""
    block = json.loads(study.spec_json).get("data", {})
    source = str(block.get("source", ""))
    bundled = source.startswith("sklearn:")
    name = source.partition(":")[2] if bundled else PurePath(source).name
    return Dataset(
        name=name or study.name,
        digest=study.fingerprint[:_DIGEST_LENGTH],
        source_type="sklearn" if bundled else "local",
        source=json.dumps({"uri": source}),
        profile=json.dumps({"fingerprint": study.fingerprint}),
    )


def _common_tags(study: StudyRecord) -> dict[str, str]:
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": study.source,
        "mlflow.source.type": "LOCAL",
        "tuner.study": study.name,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # A container's user without a name.
        return "unknown"


def _shown(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_TAG_LENGTH] for name, value in tags.items()}
