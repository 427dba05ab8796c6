"""Claims about training on normal rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.data.labels import Labels
from tuner.data.normal import normal_training
from tuner.data.prepare import Prepared, prepare
from tuner.data.sources import Sources
from tuner.data.split import split_rows
from tuner.errors import DataError, SpecError
from tuner.spec.reader import spec_from_mapping

ROWS = np.random.default_rng(0).normal(size=(300, 4))
FAULT = np.arange(300) % 10 == 0


def prepared(folder: Path, **data: Any) -> Prepared:
    np.savez(folder / "a.npz", rows=ROWS + 50 * FAULT[:, None], fault=np.where(FAULT, "worn", "fine"))
    spec = spec_from_mapping(
        {
            "name": "x",
            "data": {"source": "a.npz", "label": "fault", **data},
            "space": {"bottleneck": 2, "batch_size": 16},
            "search": {"trials": 1, "epochs": 1, "seed": 0},
        }
    )
    return prepare(spec, Sources(folder), folder)


def test_no_fault_is_trained_on_or_fitted_to(tmp_path: Path) -> None:
    """The scaling is of normal rows; validation and test are as they were; labels and rows stay together."""
    split = split_rows(300, 0.2, 0.1, 0)
    every, made = prepared(tmp_path), prepared(tmp_path, train_on="normal")
    gone = int(FAULT[split.train].sum())
    assert gone > 0
    assert made.counts == (every.train - gone, every.validation, every.test)
    assert made.fingerprint != every.fingerprint
    normal = ROWS[split.train][~FAULT[split.train]]
    np.testing.assert_array_equal(made.preprocessor.offset, normal.min(0))
    rows, labels = made.open(), made.source.open_labels()
    assert labels is not None
    assert labels.anomaly == 1  # worn
    assert not labels.train.any()
    np.testing.assert_array_equal(rows.train, made.preprocessor.transform(normal))
    np.testing.assert_array_equal(labels.validation, FAULT[split.validation])
    (note,) = [note for note in made.notes if "train_on" in note]
    assert note.startswith(
        f"data.train_on normal: {gone} training rows whose fault is worn, the rarer class, are left out"
    )
    assert not any("train_on" in note for note in every.notes)


def test_it_needs_two_classes(tmp_path: Path) -> None:
    """Neither three nor none; a label at all is asked for when the file is read."""
    split = split_rows(300, 0.2, 0.1, 0)
    three = Labels.of("kind", np.arange(300) % 3, "row", 1)
    with pytest.raises(DataError, match=r"a.csv: data.train_on normal needs a data.label of two classes, got 3"):
        normal_training(split, three, "a.csv")
    with pytest.raises(SpecError, match=r"data.label: must be given with train_on normal"):
        prepared(tmp_path, train_on="normal", label=None)
