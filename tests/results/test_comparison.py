"""Claims about comparisons: numbers are the studies' own, and what cannot be compared is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tuner.report.comparison import as_text, compare

Facts = dict[str, Any]


def facts(name: str, value: float, test_loss: float | None, **more: Any) -> Facts:
    """A finished study with one trial, as `Study.facts` tells it."""
    params = {"learning_rate": value, "bottleneck": more.pop("bottleneck", 8)}
    best = {"number": 4, "value": value, "test_loss": test_loss, "params": params}
    summary = {"best": best, "counts": {"complete": 1}, "seconds": 2.0, "baselines": {"pca": 0.4, "mean": 1.0}}
    data = {"source": "rows.csv", "scaling": "minmax", "validation": 0.2, "test": 0.1, **more.pop("data", {})}
    summary["final"] = more.pop("final", None)
    known = {
        "study": name,
        "state": "finished",
        "loss": "mse",
        "seed": 0,
        "split_seed": 0,
        "fingerprint": "ab",
        "trials": [],
        "curves": {0: [0.5, value]},
    }
    return {**known, "summary": summary, "data": data, **more}


def final(losses: list[float | None]) -> Facts:
    kept = [loss for loss in losses if loss is not None]
    tried = {"trial": 4, "params": {"bottleneck": 8}, "mean": float(np.mean(kept)), "losses": losses}
    return {"configurations": [tried], "winner": 4, "test_loss": 0.2}


def test_equal_terms_make_a_fair_comparison_of_test_losses() -> None:
    """Same data, loss, code and split: the lower test loss is named, and the parameters that differ are marked."""
    found = compare([facts("a", 0.30, 0.20), facts("b", 0.25, 0.25)])
    assert found["fair"]
    assert found["verdict"].startswith("a has the lowest test loss, 0.2: 20.0 % lower than b")
    assert found["rows"]["test loss / PCA's"] == [pytest.approx(0.5), pytest.approx(0.625)]
    assert found["differing"] == ["learning_rate"]
    assert "* learning_rate" in as_text(found)
    assert json.loads(json.dumps(found)) == found


def test_studies_are_ranked_by_the_mean_over_the_winners_seeds() -> None:
    """Which seed is exported is chance: a's exported model is better, its configuration is not."""
    lucky = {**final([0.3, 0.4]), "test_loss": 0.1, "mean_test_loss": 0.3}
    steady = {**final([0.3, 0.3]), "test_loss": 0.2, "mean_test_loss": 0.2}
    found = compare([facts("a", 0.3, 0.1, final=lucky), facts("b", 0.3, 0.2, final=steady)])
    assert found["verdict"].startswith("b has the lowest test loss (the mean over its winner's seeds), 0.2: 33.3 % low")
    assert found["rows"]["test loss"] == [0.1, 0.2]
    assert found["rows"]["its mean over the winner's seeds"] == [0.3, 0.2]


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
    assert len(found["differences"]) == 1
    assert word in found["differences"][0]
    assert "cannot be compared" in found["verdict"]
    assert "lowest" not in as_text(found)


def test_another_search_seed_is_fair_where_the_rows_are_the_same() -> None:
    """How the split's seed was declared is nothing that a loss depends on."""
    written = facts("b", 0.3, 0.2, seed=1, data={"seed": 0})
    assert compare([facts("a", 0.3, 0.2, data={"seed": None}), written])["fair"]


def test_moved_data_is_the_same_data() -> None:
    """The fingerprint is of the rows: another path with the same rows is fair."""
    assert compare([facts("a", 0.3, 0.2), facts("b", 0.3, 0.2, data={"source": "moved.csv"})])["fair"]


def test_studies_without_an_answer_are_compared_as_far_as_they_go() -> None:
    """Without test losses the validation losses are; without a complete trial nothing is."""
    running = facts("b", 0.25, None)
    assert "b has the lowest validation loss" in compare([facts("a", 0.3, 0.2), running])["verdict"]
    running["summary"]["best"] = None
    found = compare([facts("a", 0.3, 0.2), running])
    assert found["verdict"] == "Not every study has a complete trial yet."
    assert found["rows"]["validation loss"] == [0.3, None]


@pytest.mark.parametrize(
    ("second", "word"), [([0.9, 1.1, 1.0], "they do not differ beyond"), ([1.5, 1.6, None, 1.55], "they differ beyond")]
)
def test_seed_noise_is_told_where_final_stages_are(second: list[float | None], word: str) -> None:
    """Means that lie within the scatter of their seeds are not told apart; lost runs are left out."""
    found = compare([facts("a", 1, 1, final=final([1.0, 1.05, 0.98])), facts("b", 1, 1, final=final(second))])
    assert word in found["noise"]
    assert "is not known" in compare([facts("a", 1, 1), facts("b", 1, 1)])["noise"]
