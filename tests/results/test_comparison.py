"""Claims about comparisons: numbers are the studies' own, and what cannot be compared is said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from studies import tiny

from tuner.answers.comparison import Comparison
from tuner.answers.parts import BaselineLosses, Measures
from tuner.answers.study import MlflowLinks, Recommendation, StudyAnswer
from tuner.report.comparison import as_text, compare
from tuner.report.facts import Facts
from tuner.search.lengths import declared_length
from tuner.spec.reader import spec_from_mapping

LINKS = MlflowLinks(
    tracking_uri="sqlite:///mlflow.db", experiment_id=None, run_id=None, view=None, url=None, local=True, waiting=0,
    aside=0, reasons=(),
)  # fmt: skip


def winner(value: float, test_loss: float | None, bottleneck: int, seeds: Seeds | None) -> Recommendation:
    losses = None if seeds is None else seeds.losses
    return Recommendation(
        trial=4,
        run="trial-0004",
        params={"learning_rate": value, "bottleneck": bottleneck},
        seed=1,
        loss="mse",
        sizes=None,
        parameters=None,
        best_epoch=2,
        epochs=2,
        validation_loss=value,
        validation_loss_is="of the only seed",
        validation_losses=losses,
        mean=None if losses is None else float(np.mean([loss for loss in losses if loss is not None])),
        low=None,
        high=None,
        test_loss=test_loss,
        mean_test_loss=test_loss if seeds is None else seeds.mean_test_loss,
        measures=Measures(),
        fingerprint="ab",
        baselines=None,
        validation_baselines=None,
    )


def answer(name: str, recommended: Recommendation | None) -> StudyAnswer:
    return StudyAnswer(
        study=name,
        state="finished",
        counts={"complete": 1},
        stopped_early=None,
        warm_start=None,
        best=None,
        winner=recommended,
        final=None,
        test_uses=1,
        front=None,
        front_pca={},
        baselines=BaselineLosses(mean=1.0, pca=0.4),
        validation_baselines=None,
        columns=(),
        seconds=2.0,
        trained=(),
        mlflow=LINKS,
    )


@dataclass(frozen=True)
class Seeds:
    """The winner's validation loss for each seed, and its mean test loss over them."""

    losses: tuple[float | None, ...]
    mean_test_loss: float = 0.2


def facts(
    name: str, value: float, test_loss: float | None, bottleneck: int = 8, seeds: Seeds | None = None, **more: Any
) -> Facts:
    """A finished study with one trial, as `Study.facts` gives it."""
    spec = spec_from_mapping(tiny())
    data = spec.data.model_copy(update={"source": "rows.csv", **more.pop("data", {})})
    return Facts(
        study=name,
        state="finished",
        loss=more.pop("loss", "mse"),
        seed=more.pop("seed", 0),
        split_seed=more.pop("split_seed", 0),
        fingerprint=more.pop("fingerprint", "ab"),
        rules=2,
        created_at=0.0,
        changed_at=0.0,
        versions={},
        source="x.yaml",
        declaration="",
        objective=("val_loss",),
        search=spec.search,
        data=data,
        searched={},
        trials=[],
        curves={0: [0.5, value]},
        length=declared_length(spec.search),
        segments=[],
        events=[],
        answer=answer(name, winner(value, test_loss, bottleneck, seeds)),
        **more,
    )


def test_equal_terms_make_a_fair_comparison_of_test_losses() -> None:
    """Same data, loss, code and split: the lower test loss is named, and the parameters that differ are marked."""
    found = compare([facts("a", 0.30, 0.20), facts("b", 0.25, 0.25)])
    assert found.fair
    assert found.verdict.startswith("a has the lowest test loss, 0.2: 20.0 % lower than b")
    assert found.rows["test loss / PCA's"] == pytest.approx((0.5, 0.625))
    assert found.differing == ("learning_rate",)
    assert "* learning_rate" in as_text(found)
    assert Comparison.model_validate_json(found.as_json()) == found


def test_studies_are_ranked_by_the_mean_over_the_winners_seeds() -> None:
    """Which seed is exported is chance: a's exported model is better, its configuration is not."""
    lucky, steady = Seeds((0.3, 0.4), mean_test_loss=0.3), Seeds((0.3, 0.3), mean_test_loss=0.2)
    found = compare([facts("a", 0.3, 0.1, seeds=lucky), facts("b", 0.3, 0.2, seeds=steady)])
    assert found.verdict.startswith("b has the lowest test loss (the mean over its winner's seeds), 0.2: 33.3 % low")
    assert found.rows["test loss"] == (0.1, 0.2)
    assert found.rows["its mean over the winner's seeds"] == (0.3, 0.2)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"loss": "bce"}, "loss differs"),
        ({"bottleneck": 4}, "bottleneck differs"),
        ({"split_seed": 1}, "the seed that draws the split"),
        ({"data": {"scaling": "standard"}, "fingerprint": "cd"}, "data.scaling differs"),
        ({"data": {"columns": ["x"]}, "fingerprint": "cd"}, "data.columns differs"),
        ({"fingerprint": "cd"}, "the data differs"),
        ({"data": {"source": "other.csv"}, "fingerprint": "cd"}, "the data differs"),
    ],
)
def test_other_terms_are_named_and_the_losses_not_compared(change: Facts, word: str) -> None:
    """One difference that changes what a loss means: one sentence that names it, and no winner."""
    found = compare([facts("a", 0.3, 0.2), facts("b", 0.25, 0.25, **change)])
    assert len(found.differences) == 1
    assert word in found.differences[0]
    assert "cannot be compared" in found.verdict
    assert "lowest" not in as_text(found)


def test_another_search_seed_is_fair_where_the_rows_are_the_same() -> None:
    """How the split's seed was declared is nothing that a loss depends on."""
    written = facts("b", 0.3, 0.2, seed=1, data={"seed": 0})
    assert compare([facts("a", 0.3, 0.2, data={"seed": None}), written]).fair


def test_moved_data_is_the_same_data() -> None:
    """The fingerprint is of the rows: another path with the same rows is fair."""
    assert compare([facts("a", 0.3, 0.2), facts("b", 0.3, 0.2, data={"source": "moved.csv"})]).fair


def test_studies_without_an_answer_are_compared_as_far_as_they_go() -> None:
    """Without test losses the validation losses are; without a complete trial nothing is."""
    running = facts("b", 0.25, None)
    assert "b has the lowest validation loss" in compare([facts("a", 0.3, 0.2), running]).verdict
    found = compare([facts("a", 0.3, 0.2), replace(running, answer=answer("b", None))])
    assert found.verdict == "Not every study has a complete trial yet."
    assert found.rows["validation loss"] == (0.3, None)


@pytest.mark.parametrize(
    ("second", "word"), [((0.9, 1.1, 1.0), "they do not differ beyond"), ((1.5, 1.6, None, 1.55), "they differ beyond")]
)
def test_seed_noise_is_told_where_final_stages_are(second: tuple[float | None, ...], word: str) -> None:
    """Means that lie within the scatter of their seeds are not told apart; lost runs are left out."""
    found = compare([facts("a", 1, 1, seeds=Seeds((1.0, 1.05, 0.98))), facts("b", 1, 1, seeds=Seeds(second))])
    assert word in found.noise
    assert "is not known" in compare([facts("a", 1, 1), facts("b", 1, 1)]).noise
