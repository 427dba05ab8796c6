"""Claims about scalings under rules 3, against scikit-learn's and by recomputation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

from tuner.data.preprocess import Preprocessor
from tuner.data.readers import load
from tuner.data.scaling import MOST_KNOTS, ROBUST_LIMIT, ColumnScaling, fit, fit_columns
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.export.readme import _clipped
from tuner.spec.data import DataSpec
from tuner.spec.rules import TYPED

ROWS = np.random.default_rng(0).normal(5, 30, size=(400, 3))
ALL = ("minmax", "standard", "robust", "log1p", "quantile", "none")
SPREAD = arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e6, 1e6, width=32))


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("minmax", MinMaxScaler()),
        ("standard", StandardScaler()),
        ("robust", RobustScaler(quantile_range=(10, 90))),
    ],
)
def test_columns_are_scaled_as_scikit_learn_scales_them(name: str, oracle) -> None:
    """Each by itself, missing values passed over by both."""
    rows = ROWS.copy()
    rows[3, 1] = rows[7, 1] = np.nan
    made = fit_columns(name, rows)
    np.testing.assert_allclose((rows - made.offset) / made.scale, oracle.fit_transform(rows), atol=1e-12)
    assert not made.constant.any()


def test_quantiles_are_scikit_learns() -> None:
    """To a thousandth of the places."""
    values = np.random.default_rng(1).lognormal(0, 3, 5000)
    oracle = QuantileTransformer(n_quantiles=1000, subsample=None).fit_transform(values[:, None])[:, 0]
    np.testing.assert_allclose(fit("quantile", values).forward(values), oracle, atol=1.5e-3)


@given(SPREAD, st.sampled_from(ALL))
def test_a_scaled_column_comes_back(values, name: str) -> None:
    """Inside the training values' range, to rounding of its size; only what robust clips does not."""
    made = fit(name, values)
    scaled = made.forward(values)
    inside = np.abs(scaled) < made.limit
    np.testing.assert_allclose(made.inverse(scaled)[inside], values[inside], rtol=1e-9, atol=1e-9 * np.ptp(values))


@given(SPREAD, st.sampled_from(ALL))
def test_a_scaling_keeps_the_order_also_beyond_the_range(values, name: str) -> None:
    """A larger value is never scaled to a smaller one, to rounding."""
    made = fit(name, values)
    asked = np.sort(np.concatenate([values, [-1e9, 1e9], np.linspace(-2e6, 2e6, 50)]))
    scaled = made.forward(asked)
    assert (np.diff(scaled) >= -1e-12 * np.maximum(1, np.abs(scaled[1:]))).all()


@given(SPREAD, st.sampled_from(ALL))
def test_a_fitted_column_survives_json(values, name: str) -> None:
    """Equal, bit for bit."""
    made = fit(name, values)
    assert ColumnScaling.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_table_of_quantiles_is_bounded() -> None:
    """Of a hundred thousand values a thousand knots, the ends among them; ties share one."""
    values = np.random.default_rng(2).integers(0, 50_000, 100_000).astype(float)
    made = fit("quantile", values)
    assert len(made.knots) <= MOST_KNOTS
    assert (made.knots[0], made.knots[-1]) == (values.min(), values.max())
    assert fit("quantile", np.repeat([1.0, 2.0, 9.0], 50)).knots == (1.0, 2.0, 9.0)


@pytest.mark.parametrize("name", [name for name in ALL if name != "none"])
def test_a_constant_pressure_is_not_stretched(name: str) -> None:
    """101,326 Pa after 101,325 Pa is a hundred-thousandth, also where the training values differ by rounding."""
    for training in (np.full(50, 101_325.0), 101_325.0 * (1 + np.resize([0, 1, 2], 50) * 2e-16)):
        made = fit(name, training)
        assert made.constant
        assert abs(made.forward(np.array([101_326.0]))[0] - 1 / 101_325) < 1e-9
        assert made.inverse(made.forward(training)) == pytest.approx(training)


def test_what_was_always_nothing_cannot_swamp_the_loss() -> None:
    """3,000 after nothing but 0 is one column that is wrong."""
    made = Preprocessor.fit(np.tile([0.0, 5.0], (9, 1)), (2,), ("a", "b"), "minmax", False, each="column")
    scaled = made.transform([[3000.0, 5.0], [-0.25, 5.5]])
    np.testing.assert_allclose(scaled, [[1, 0], [-0.25, 0.1]], atol=1e-7)
    np.testing.assert_array_equal(made.limited(np.array([[3000.0, 5.0]])), [[1.0, 5.0]])
    assert made.extent is not None and made.extent.constant.all()


def test_a_small_spread_that_is_real_is_stretched() -> None:
    """A millionth of a Pascal around 101,325 is no rounding."""
    made = fit("minmax", 101_325 + np.array([0, 1e-6, 5e-7]))
    assert not made.constant
    assert made.forward(np.array([101_325.0]))[0] == 0


def test_three_cells_far_out_leave_a_robust_scaling_as_it_is() -> None:
    """The others are scaled as without them, and the three are clipped."""
    rows = ROWS.copy()
    rows[[5, 77, 300], [0, 1, 2]] = 1e9
    made, clean = (
        Preprocessor.fit(each, (3,), ("a", "b", "c"), "robust", False, each="column") for each in (rows, ROWS)
    )
    np.testing.assert_allclose(made.scale, clean.scale, rtol=0.05)
    scaled = made.transform(rows)
    assert (scaled == ROBUST_LIMIT).sum() == 3
    assert np.delete(np.abs(scaled), [5, 77, 300], axis=0).max() < 3


def test_a_column_of_mostly_zeros_has_a_robust_range() -> None:
    """The 10th and 90th percentile agree, the 1st and 99th do not; then the ends."""
    few, fewest = np.zeros((2, 1000))
    few[:50], fewest[0] = 7, 7
    assert fit("robust", few).scale == 7
    assert fit("robust", fewest).scale == 7
    assert fit("robust", np.full(5, np.nan)).constant


def test_channels_have_ranges_of_their_own_and_images_one() -> None:
    """4 steps by 2 channels of different units: by channel as scikit-learn over all steps; as images jointly."""
    rows = np.random.default_rng(3).uniform([0, 1000], [1, 5000], size=(30, 4, 2))
    flat, names = rows.reshape(30, -1), tuple("abcdefgh")
    channels = Preprocessor.fit(flat, (4, 2), names, "minmax", False, each="channel")
    oracle = MinMaxScaler().fit_transform(rows.reshape(-1, 2)).reshape(30, -1)
    np.testing.assert_allclose(channels.transform(rows), oracle, atol=1e-6)
    joint = Preprocessor.fit(flat, (4, 2), names, "minmax", False, each="image")
    before = Preprocessor.fit(flat, (4, 2), names, "minmax", False)
    np.testing.assert_array_equal(joint.transform(rows), before.transform(rows))


@pytest.mark.parametrize("scaling", ["minmax", "robust"])
def test_a_preprocessor_of_version_2_survives_json(scaling: str) -> None:
    """With what the training rows span; one without that is written as version 1, as it always was."""
    made = Preprocessor.fit(ROWS, (3,), ("a", "b", "c"), scaling, False, each="column")
    again = Preprocessor.from_json(made.to_json())
    assert again.to_json() == made.to_json()
    assert json.loads(made.to_json())["version"] == 2
    np.testing.assert_array_equal(again.transform(ROWS), made.transform(ROWS))
    assert json.loads(Preprocessor.fit(ROWS, (3,), ("a", "b", "c"), "minmax", False).to_json())["version"] == 1


@pytest.mark.parametrize(
    "damage",
    [{"each": "row"}, {"constant": [0, 1, 0]}, {"low": [1.0]}, {"high": [-9e9, 0.0, 0.0]}, {"scaling": "quantile"}],
)
def test_a_damaged_extent_is_refused(damage) -> None:
    known = json.loads(Preprocessor.fit(ROWS, (3,), ("a", "b", "c"), "minmax", False, each="column").to_json())
    with pytest.raises(DataError, match="expected version 1 or 2"):
        Preprocessor.from_json(json.dumps({**known, **damage}))


@pytest.mark.parametrize(
    "damage",
    [{"scale": 0.0}, {"knots": [1.0]}, {"limit": -1}, {"name": "log"}, {"places": [0.5, 0.1, 1.0]}, {"more": 1}],
)
def test_a_damaged_column_is_refused(damage) -> None:
    known = fit("quantile", np.array([1.0, 2.0, 9.0])).to_json()
    with pytest.raises(DataError, match="expected the scaling of a column"):
        ColumnScaling.from_json({**known, **damage})


def test_a_limit_lets_no_infinity_through() -> None:
    """It would become the limit."""
    made = Preprocessor.fit(ROWS, (3,), ("a", "b", "c"), "robust", False, each="column")
    with pytest.raises(DataError, match="column b, row 1: must be a finite number"):
        made.transform([[1.0, np.inf, 2.0]])


@pytest.mark.parametrize(
    ("scaling", "clip", "said"),
    [("quantile", False, "single columns of a table; use robust"), ("robust", True, "loss bce needs values")],
)
def test_scalings_that_are_not_for_arrays_are_refused(scaling: str, clip: bool, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Preprocessor.fit(ROWS, (3,), ("a", "b", "c"), scaling, clip, each="column")


STEPS = np.random.default_rng(4).uniform(0, 3, size=(5, 6, 6))


@pytest.mark.parametrize(
    ("array", "is_image"),
    [
        ((STEPS * 80).astype(np.uint8), True),
        ((STEPS * 80).astype(np.uint8) / np.float32(255), True),
        ((STEPS * 80).astype(np.uint8)[..., None].repeat(3, 3), True),
        ((STEPS * 80).astype(np.uint8)[..., None].repeat(2, 3), False),
        ((STEPS * 80).astype(np.uint8)[..., :3], False),
        ((STEPS * 80).astype(np.int64), False),
        (STEPS, False),
    ],
)
def test_what_counts_as_an_image(array, is_image: bool, tmp_path: Path) -> None:
    """Bytes, or 255ths, in the form of pictures; all else is scaled by channel; by older rules all are one."""
    np.save(tmp_path / "a.npy", array)
    read = load(DataSpec(source="a.npy"), Sources(tmp_path))
    assert read.each == ("image" if is_image else "channel")
    assert load(DataSpec(source="a.npy"), Sources(tmp_path), TYPED - 1).each is None


def test_other_sources_say_what_they_are(tmp_path: Path) -> None:
    """Digits and IDX files of more than two dimensions are images; a table has columns."""
    head = bytes([0, 0, 0x0E, 3]) + np.array([4, 2, 2], ">u4").tobytes()
    (tmp_path / "x.idx").write_bytes(head + np.arange(16, dtype=">f8").tobytes())
    assert load(DataSpec(source="x.idx"), Sources(tmp_path)).each == "image"
    assert load(DataSpec(source="sklearn:digits"), Sources(tmp_path)).each == "image"
    assert load(DataSpec(source="sklearn:iris"), Sources(tmp_path)).each == "column"


def test_readme_says_what_is_clipped() -> None:
    """Of a constant column and of robust scaling."""
    rows = np.column_stack([ROWS, np.full(400, 7.0)])
    said = [_clipped(Preprocessor.fit(rows, (4,), tuple("abcd"), name, False, each="column")) for name in ALL[:3]]
    assert said[0] == said[1] == " and kept within 1 of 0, of columns that are constant there"
    assert said[2] == " and kept within 1 of 0 or within 5 of 0"
