"""Claims about scaling, against scikit-learn's scalers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tuner.data.preprocess import Preprocessor
from tuner.errors import DataError

NAMES = ("a", "b", "c")
ROWS = np.random.default_rng(0).normal(5, 30, size=(40, 3))


def fitted(scaling: str = "minmax", clip: bool = False) -> Preprocessor:
    return Preprocessor.fit(ROWS, (3,), NAMES, scaling, clip)


@pytest.mark.parametrize(("scaling", "oracle"), [("minmax", MinMaxScaler()), ("standard", StandardScaler())])
def test_tables_are_scaled_as_scikit_learn_scales_them(scaling: str, oracle) -> None:
    """Column by column, to float32's precision."""
    np.testing.assert_allclose(fitted(scaling).transform(ROWS), oracle.fit_transform(ROWS), atol=1e-6)


def test_images_are_scaled_by_one_range() -> None:
    """All pixels share the lowest and the highest value, so that a dim pixel stays dim."""
    pixels = np.random.default_rng(1).uniform(0, 16, size=(10, 4))
    pixels[:, 0] = 0
    scaled = Preprocessor.fit(pixels, (2, 2), ("p", "q", "r", "s"), "minmax", False).transform(pixels)
    np.testing.assert_allclose(scaled, pixels / pixels.max(), atol=1e-6)


@settings(max_examples=100)
@given(
    arrays(np.float64, (6, 3), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from(["minmax", "standard", "none"])
)
def test_scaling_is_inverted(rows, scaling: str) -> None:
    """In float64 the inverse gives the raw values back to 1e-12 of their column's size, constant columns included."""
    made = Preprocessor.fit(rows, (3,), NAMES, scaling, False)
    back = made.inverse((rows - made.offset) / made.scale)
    np.testing.assert_allclose(back, rows, rtol=1e-12, atol=1e-12 * np.abs(rows).max())


def test_it_survives_json_bit_for_bit() -> None:
    """Offsets and scales come back as the same floats."""
    made = fitted("standard", clip=True)
    again = Preprocessor.from_json(made.to_json())
    assert (again.offset == made.offset).all()
    assert (again.scale == made.scale).all()
    assert (again.scaling, again.shape, again.names, again.clip) == ("standard", (3,), NAMES, True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda known: {**known, "version": 3},
        lambda known: {**known, "scale": [0.0, 1.0, 1.0]},
        lambda known: {**known, "offset": [0.0, 1.0]},
        lambda known: {**known, "offset": ["a", 1.0, 2.0]},
        lambda known: {name: value for name, value in known.items() if name != "names"},
        lambda known: [],
    ],
)
def test_other_json_is_refused(damage) -> None:
    """Another version, a scale of zero, lengths that disagree: one sentence."""
    with pytest.raises(DataError, match="expected version 1"):
        Preprocessor.from_json(json.dumps(damage(json.loads(fitted().to_json()))))


def test_rows_come_as_arrays_images_or_tables() -> None:
    """A DataFrame's columns are taken by name, in any order, others passed over."""
    made = fitted()
    frame = pd.DataFrame(ROWS, columns=list(NAMES)).assign(other="x")[["other", "c", "a", "b"]]
    assert (made.transform(frame) == made.transform(ROWS)).all()
    image = Preprocessor.fit(ROWS[:, :2].repeat(2, 1), (2, 2), ("p", "q", "r", "s"), "minmax", False)
    flat = ROWS[:, :2].repeat(2, 1)
    assert (image.transform(flat.reshape(-1, 2, 2)) == image.transform(flat)).all()
    assert image.inverse(image.transform(flat)).shape == (40, 2, 2)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((2, 4)), r"shape \(N, 3\), got \(2, 4\)"),
        (np.zeros(3), r"shape \(N, 3\), got \(3,\)"),
        ([["x", 1, 2]], "every value must be a number"),
        ([[1.0, np.nan, 2.0]], "column b, row 1: must be a finite number of a usable size, got nan"),
        ([[1.0, 2.0, 1e300]], "column c, row 1"),
        (pd.DataFrame({"a": [1.0], "b": [2.0]}), "missing: c"),
    ],
)
def test_other_rows_are_refused(rows, said: str) -> None:
    """Wrong shapes, text, missing values and columns, values beyond float32."""
    with pytest.raises(DataError, match=said):
        fitted("none").transform(rows)


def test_clipping_keeps_values_between_0_and_1() -> None:
    """For bce, rows beyond the training range are clipped; without clip they are not."""
    beyond = ROWS * 3
    assert fitted(clip=True).transform(beyond).min() == 0
    assert fitted(clip=True).transform(beyond).max() == 1
    assert fitted().transform(beyond).max() > 1


def test_a_range_beyond_float_is_refused() -> None:
    """Its width would be infinite."""
    rows = np.array([[-1.7e308, 0.0], [1.7e308, 1.0]])
    with pytest.raises(DataError, match="column a"):
        Preprocessor.fit(rows, (2,), ("a", "b"), "minmax", False)
