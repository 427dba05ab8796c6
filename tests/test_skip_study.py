"""Claims about whole studies with a skip: never above PCA, and an export is what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from studies import tiny

import tuner

WILD = {"type": "float", "low": 0.1, "high": 100.0, "log": True}


def declared(source: str = "iris", **space: Any) -> dict[str, Any]:
    return tiny(space={**tiny()["space"], **space}, data={"source": f"sklearn:{source}"}, search={"epochs": 3})


@pytest.mark.parametrize("source", ["iris", "wine", "breast_cancer"])
def test_no_trial_is_worse_than_pca_on_the_validation_rows(source: str, workspace: Path) -> None:
    """With learning rates that ruin networks: whatever a trial was, pruned or complete, its value is PCA's or lower."""
    study = tuner.run(declared(source, learning_rate=WILD), workers=0)
    pca = study.summary.validation_baselines.pca
    assert {record.best_epoch for record in study.records} >= {0}
    assert max(record.value for record in study.records) <= pca * (1 + 1e-4)


def test_without_the_skip_there_are_worse_ones(workspace: Path) -> None:
    """The claim above is one that could fail."""
    study = tuner.run(declared(learning_rate=WILD, skip="none"), workers=0)
    assert max(record.value for record in study.records) > study.summary.validation_baselines.pca


def test_an_export_of_epoch_0_is_pca(workspace: Path) -> None:
    """Raw rows come back as scikit-learn's PCA of scaled rows gives them; its configuration trains to it again."""
    study = tuner.run(declared(learning_rate=50.0, batch_size=16, depth=2, width=20, activation="relu"), workers=0)
    assert study.best.best_epoch == 0
    study.export("best")
    rows = study.raw_rows(len(study._trained(study.best).rows.validation))
    prepared = study._trained(study.best)
    train, scale = prepared.rows.train.astype(np.float64), prepared.prepared.preprocessor
    pca = PCA(2).fit(train)
    expected = scale.inverse(pca.inverse_transform(pca.transform(scale.transform(rows))).astype(np.float32))
    np.testing.assert_allclose(tuner.load_model("best").reconstruct(rows), expected, rtol=1e-4, atol=1e-4)
    again = tuner.train("best/config.yaml")
    assert (again.value, again.best_epoch) == (study.best.value, 0)


def test_a_skip_may_depend_on_the_kind(workspace: Path) -> None:
    """It is none where its condition does not hold; a variational one is exported with graphs that give its numbers."""
    kinds = {"kind": {"type": "categorical", "choices": ["plain", "variational"]}, "beta": 0.01}
    skip = {"value": "pca", "when": {"kind": "variational"}}
    study = tuner.run(declared(**kinds, skip=skip), workers=0)
    assert {(record.point.kind, record.point.skip) for record in study.records} == {
        ("plain", "none"),
        ("variational", "pca"),
    }
    best = min((r for r in study.records if r.point.skip == "pca" and r.state == "complete"), key=lambda r: r.value)
    folder = study.export("best", trial=best.number)
    assert (folder / "model.onnx").is_file()
    model = tuner.load_model(folder)
    rows = study.raw_rows(5)
    np.testing.assert_allclose(model.reconstruct(rows), model.decode(model.encode(rows)), rtol=1e-5)
