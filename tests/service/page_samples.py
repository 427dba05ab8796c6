"""Answers that pages are made from, whole ones and hostile ones."""

from __future__ import annotations

from typing import Any

from tuner.answers.parts import BaselineLosses, Configuration, FinalStage, Measures
from tuner.answers.service import CurveItem, DatasetItem, StudyDetail, StudyItem, TokenItem, TrialItem
from tuner.answers.study import BestTrial, MlflowLinks, Recommendation, StudyAnswer
from tuner.service.pages.study import StudyView

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(1)> hx-on:click='alert(1)' javascript:alert(1)"


def study_item(name: str = "digits", **changes: Any) -> StudyItem:
    given: dict[str, Any] = {
        "name": name,
        "state": "running",
        "phase": "training",
        "wanted": "run",
        "total": 12,
        "ended": 5,
        "counts": {"complete": 3, "pruned": 2, "running": 1},
        "best": 0.25,
        "epochs_per_second": 1234.5,
        "seconds_left": 61.0,
        "unit": "epochs",
        "detail": "",
        "waiting": 0,
        "message": "",
        "attempts": 0,
        "place": None,
        "created_at": 1_700_000_000.0,
        "by": "anna",
        "tags": (),
        "note": "",
        "executor": "processes",
    }
    return StudyItem(**{**given, **changes})


def trial(number: int, value: float | None, state: str = "complete", **changes: Any) -> TrialItem:
    given: dict[str, Any] = {
        "number": number,
        "state": state,
        "value": value,
        "best_epoch": 3,
        "epochs": 3,
        "params": {"learning_rate": 0.01 * (number + 1), "bottleneck": 8, "activation": "relu"},
        "reason": "" if state in ("complete", "running") else f"{state} at epoch 3",
        "measures": {},
        "seconds": 1.5,
    }
    return TrialItem(**{**given, **changes})


def trials() -> list[TrialItem]:
    """The best first, as pages are given them."""
    ended = [trial(3, 0.25), trial(0, 0.5), trial(1, 0.75), trial(2, 0.9, "pruned"), trial(4, None, "failed")]
    return [*ended, trial(5, 0.8, "running")]


def curves() -> list[CurveItem]:
    losses = {3: (0.75, 0.5, 0.25), 0: (1.0, float("nan"), 0.5)}
    return [
        CurveItem(number=n, before=None, epochs=(1, 2, 3), train=each, validation=each) for n, each in losses.items()
    ]


def answer(**changes: Any) -> StudyAnswer:
    pca = BaselineLosses(mean=1.0, pca=0.5)
    params = {"learning_rate": 0.04, "bottleneck": 8, "activation": "relu"}
    tried = Configuration(trial=3, params=params, mean=0.26, low=0.24, high=0.28, losses=(0.25, 0.27), lost=())
    given: dict[str, Any] = {
        "study": "digits",
        "state": "finished",
        "counts": {"complete": 3, "pruned": 2},
        "stopped_early": None,
        "warm_start": None,
        "best": BestTrial(number=3, value=0.25, params=params, test_loss=None, measures=Measures()),
        "winner": Recommendation(
            trial=3,
            run="final-0003-0",
            params=params,
            seed=7,
            loss="mse",
            sizes=(64, 8, 64),
            parameters=1096,
            best_epoch=3,
            epochs=3,
            validation_loss=0.25,
            validation_loss_is="the lowest of 2 seeds",
            validation_losses=(0.25, 0.27),
            mean=0.26,
            low=0.24,
            high=0.28,
            test_loss=0.3,
            mean_test_loss=0.31,
            measures=Measures(),
            fingerprint="0" * 64,
            baselines=pca,
            validation_baselines=pca,
        ),
        "final": FinalStage(
            top=1,
            seeds=2,
            trials=5,
            method="Student's t",
            configurations=(tried,),
            winner=3,
            exported=0,
            sentence="Trial 3 won.",
        ),
        "test_uses": 1,
        "front": None,
        "front_pca": {},
        "baselines": pca,
        "validation_baselines": pca,
        "columns": (),
        "seconds": 12.0,
        "trained": (),
        "mlflow": MlflowLinks(
            tracking_uri="sqlite:///mlflow.db",
            experiment_id="1",
            run_id="r",
            view=None,
            url=None,
            local=True,
            waiting=0,
            aside=0,
            reasons=(),
        ),
    }
    return StudyAnswer(**{**given, **changes})


def view(state: str = "finished", **changes: Any) -> StudyView:
    detail = StudyDetail(item=study_item(state=state, **changes), spec_text="name: digits\n", answer=answer())
    return StudyView(detail, trials(), curves(), None, "https://mlflow.example.org/#/experiments/1")


def hostile_view() -> StudyView:
    """Every text that comes from a user, a file or a driver tries to be more than text."""
    item = study_item(state="failed", message=EVIL, by=EVIL, tags=(EVIL,), note=EVIL, detail=EVIL)
    odd = [trial(0, 0.5, params={EVIL: EVIL}), trial(1, 0.6, "failed", reason=EVIL, params={EVIL: "other"})]
    return StudyView(StudyDetail(item=item, spec_text=EVIL, answer=answer()), odd, curves())


def dataset_item(name: str = "pumps", **changes: Any) -> DatasetItem:
    return DatasetItem(**{"name": name, "size": 12_345_678, "at": 1_700_000_000.0, "by": "anna", **changes})


def token_item(number: int = 1, **changes: Any) -> TokenItem:
    given: dict[str, Any] = {
        "id": number,
        "kind": "token",
        "name": "anna",
        "role": "launch",
        "created_at": 1_700_000_000.0,
        "expires_at": 4_000_000_000.0,
        "used_at": None,
        "revoked_at": None,
    }
    return TokenItem(**{**given, **changes})
