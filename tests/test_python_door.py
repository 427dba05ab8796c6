"""What a program gives where a file or a plain value would be: paths, NumPy's numbers, tensors, masks, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from studies import tiny

from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError, SpecError
from tuner.spec.reader import spec_from_mapping

ROWS: NDArray[np.float64] = np.random.default_rng(3).normal(size=(30, 4))
SPACE = {"learning_rate": 0.01, "batch_size": 8, "activation": "relu", "bottleneck": 2}
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def fitted() -> Preprocessor:
    return Preprocessor.fit(ROWS, (4,), NAMES, "standard", False, each="column")


def masked() -> np.ma.MaskedArray[Any, Any]:
    made = np.ma.MaskedArray(ROWS.copy(), mask=np.zeros(ROWS.shape, bool))
    made[3, 2] = np.ma.masked
    made.data[3, 2] = 1e20
    return made


@pytest.mark.parametrize(
    "given",
    [
        ROWS.tolist(),
        ROWS.astype(object),
        torch.tensor(ROWS, requires_grad=True),
        sparse.csr_array(ROWS),
        pd.DataFrame(ROWS, columns=list(NAMES)),
        pd.DataFrame(ROWS, columns=list(NAMES)).convert_dtypes(),
        pd.DataFrame(ROWS[:, ::-1], columns=list(NAMES[::-1])),
    ],
)
def test_rows_are_taken_whoever_made_them(given: Any, fitted: Preprocessor) -> None:
    """Each is scaled to the bits that the plain array is."""
    np.testing.assert_array_equal(fitted.transform(given), fitted.transform(ROWS))


def test_a_mask_is_a_missing_value_and_never_what_lies_under_it(fitted: Preprocessor) -> None:
    """A masked array is not scored on its fill values."""
    rows = fitted.rows(masked())
    assert np.isnan(rows[3, 2])
    rows[3, 2] = ROWS[3, 2]
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ROWS.astype(complex), "must hold real numbers, got an array of complex128"),
        (torch.zeros(3, 4, dtype=torch.complex64), "must hold real numbers"),
        (ROWS[:, :3], r"rows must have the shape \(N, 4\), got \(30, 3\)"),
    ],
)
def test_what_is_no_row_is_one_sentence(given: Any, said: str, fitted: Preprocessor) -> None:
    """Complex numbers are not silently real, and a tensor's own error is not what a user sees."""
    with pytest.raises(DataError, match=said):
        fitted.transform(given)


def test_a_declaration_may_hold_what_programs_have() -> None:
    """Paths, NumPy's numbers, arrays of choices, tuples: the declaration is that of plain values."""
    plain = tiny(
        data={"source": "a.csv"},
        space={
            **SPACE,
            "depth": 1,
            "width": {"type": "categorical", "choices": [8, 16]},
        },
    )
    programs = tiny(
        data={"source": Path("a.csv")},
        space={
            **SPACE,
            "learning_rate": np.float64(0.01),
            "batch_size": np.int64(8),
            "depth": np.array(1),
            "width": {"type": "categorical", "choices": np.array([8, 16])},
        },
    )
    assert spec_from_mapping(programs) == spec_from_mapping(plain)


def test_a_table_in_a_declaration_is_told_where_it_belongs() -> None:
    """One sentence with the argument that takes it."""
    with pytest.raises(SpecError, match=r"got: a table; give it as tuner.run\(..., data=table\)"):
        spec_from_mapping(tiny(data={"source": pd.DataFrame({"a": [1.0]})}))
