"""Claims about the bounds of outputs: which are found, that trainings keep them, and that they go with the weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import Kind, kinds
from plain import digits, trial
from sklearn.decomposition import PCA

from tuner.data.bounds import NONE, Bounds, found
from tuner.data.linear_start import LinearStart
from tuner.learning.checkpoint import dumps
from tuner.learning.folding import best_weights, bounds_of, folded_row
from tuner.learning.inference.graphs import check_onnx, write_graphs
from tuner.learning.inference.network import Network
from tuner.learning.inference.onnx import OnnxNetwork
from tuner.learning.layout import Layout
from tuner.learning.plain import plain_losses
from tuner.learning.scoring import encode, mean_loss, reconstruct
from tuner.learning.stacked.pack import reproducible
from tuner.learning.training import train
from tuner.spec.architecture import Architecture, layer_sizes
from tuner.spec.work import TrainingPlan

PARTS: tuple[dict[str, Any], ...] = (
    {},
    {"skip": "pca"},
    {"skip": "linear", "depth": 0, "input_noise": 0.1},
    {"kind": "variational", "beta": 0.1, "activation": "gelu"},
    {"norm": "layer", "dropout": 0.2, "clip_norm": 0.5, "activation": "tanh", "skip": "pca"},
)


@pytest.fixture(params=kinds())
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind.of(request.param)


@cache
def started() -> tuple[tuple[np.ndarray, np.ndarray], LinearStart]:
    """Digits of 61 features, so that some columns are padding: most pixels are often black."""
    train_rows, held_out = (part[:, :61].copy() for part in digits(300, 101))
    start = LinearStart.of(train_rows, "mse", None, (4,))
    return (train_rows, held_out), replace(start, bounds=found(train_rows, held_out))


def test_a_limit_is_where_many_training_rows_lie_and_no_validation_row_is_beyond() -> None:
    """By a count of one side of each column: 5 % of 200 rows are ten."""
    draw = np.random.default_rng(0)
    rows = draw.uniform(1, 2, (200, 7)).astype(np.float32)
    held_out = draw.uniform(1.1, 1.9, (50, 7)).astype(np.float32)
    rows[:10, 0] = 0.5  # just enough below
    rows[:9, 1] = 0.5  # one too few
    rows[:100, 2] = 3  # above
    rows[:100, 3], rows[100:, 3] = 0, 1  # both
    held_out[:, 3] = 1
    rows[:, 4] = held_out[:, 4] = 7  # constant
    rows[:100, 5], held_out[3, 5] = 0.5, 0.4  # a validation row is below
    known = found(rows, held_out)
    assert known is not None
    np.testing.assert_array_equal(known.low_F, np.array([0.5, -NONE, -NONE, 0, 7, -NONE, -NONE], np.float32))
    np.testing.assert_array_equal(known.high_F, np.array([NONE, NONE, 3, 1, 7, NONE, NONE], np.float32))


def test_rows_without_limits_have_none() -> None:
    """Four rows of few do not make one, whatever their share."""
    rows = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    rows[:4, 0] = -9
    assert found(rows, rows) is None


@pytest.mark.parametrize("parts", PARTS, ids=lambda value: "-".join(value) or "plain")
def test_losses_are_the_plain_loops(kind: Kind, parts: dict[str, Any]) -> None:
    """Before the first epoch and after each of two; and without bounds they are others."""
    rows, start = started()
    one = trial(1, bottleneck=4, **parts)
    expected = plain_losses(one, *rows, "mse", 2, start=start, double=True)
    free = plain_losses(one, *rows, "mse", 2, start=replace(start, bounds=None), double=True)
    with reproducible():
        (curve,) = train(kind.pack([one], kind.data(rows, None, start), "mse", plan=TrainingPlan(2)), 2)
    if curve.before is not None:
        assert curve.before == pytest.approx(expected.before, rel=1e-5)
    rounding = 1e-3 if one.point.skip == "pca" else 1e-5  # where gradients are nearly zero AdamW makes steps of it
    np.testing.assert_allclose(curve.val_loss, expected.validation, rtol=rounding)
    np.testing.assert_allclose(curve.train_loss, expected.train, rtol=rounding)
    assert expected.validation[1] < (1 - 5 * rounding) * free.validation[1]


def test_the_start_is_pca_cut_off(kind: Kind) -> None:
    """scikit-learn's, and so never above it."""
    (train_rows, held_out), start = started()
    pca = PCA(4).fit(train_rows.astype(np.float64))
    guess, known = pca.inverse_transform(pca.transform(held_out)), start.bounds
    assert known is not None
    cut = float(np.mean((held_out - np.clip(guess, known.low_F, known.high_F)) ** 2))
    with reproducible():
        pack = kind.pack([trial(1, bottleneck=4, skip="pca")], kind.data((train_rows, held_out), None, start), "mse")
    assert pack.before == [pytest.approx(cut, rel=1e-5)]
    assert cut < float(np.mean((held_out - guess) ** 2))


def test_a_network_that_has_diverged_is_seen(kind: Kind) -> None:
    """Outputs that are no number are not cut off to one."""
    rows, start = started()
    one = trial(1, skip="linear")
    with reproducible():
        data = kind.data(rows, None, start)
        (state,) = kind.pack([one], data, "mse").states()
        state.parameters[:] = np.nan
        (curve,) = train(kind.pack([one], data, "mse", [state]), 1)
    assert curve.diverged
    assert np.isnan(curve.val_loss[0])


def test_an_output_outside_is_drawn_back(kind: Kind) -> None:
    """One whose bias has carried it far below its limit still learns: its gradient passes."""
    rows, start = started()
    one = trial(1, learning_rate=0.01, batch_size=20, activation="tanh")
    with reproducible():
        data = kind.data(rows, None, start)
        (state,) = kind.pack([one], data, "mse").states()
        output = Layout.own(Architecture.of(61, one.point)).places[-1]
        state.parameters[output.bias : output.bias + 61] = -3  # of a spread of 1
        first, *_, after = train(kind.pack([one], data, "mse", [state]), 60)[0].val_loss
    assert first > rows[1].var(0).mean()  # worse than the mean row
    assert after < rows[1].var(0).mean() / 2


@pytest.mark.parametrize("parts", PARTS, ids=lambda value: "-".join(value) or "plain")
def test_bounds_go_with_the_weights(parts: dict[str, Any]) -> None:
    """Folded for scaled rows, by torch and by the compiled step: the loss that training measured, outputs within."""
    kind, (rows, start) = Kind(None), started()
    one = trial(1, bottleneck=4, **parts)
    with reproducible():
        pack = kind.pack([one], kind.data(rows, None, start), "mse", plan=TrainingPlan(2))
        train(pack, 2)
        (state,) = pack.states()
    shape = Architecture.of(61, one.point)
    weights = best_weights(dumps(state, shape), start)
    network = Network(shape.sizes, one.point.activation, "mse", weights)
    known = bounds_of(weights)
    assert known is not None
    assert network.mean_loss(rows[1]) == pytest.approx(state.best_value, rel=1e-4)
    assert network.parameters == sum(value.size for value in weights.values()) - 2 * 61
    for by_compiled in (False, True):
        assert mean_loss(one.point, "mse", weights, rows[1], by_compiled) == pytest.approx(state.best_value, rel=1e-4)
        rebuilt = reconstruct(one.point, "mse", weights, rows[1], by_compiled)
        np.testing.assert_allclose(rebuilt, network.reconstruct(rows[1]), atol=1e-5)
        assert (rebuilt >= known.low_F).all()
        assert (rebuilt <= known.high_F).all()
        row_P = folded_row(state.best, shape, start)
        encoded = encode(one.point, "mse", row_P, rows[1], by_compiled, bounds=start.bounds)
        assert encoded.errors.mean() == pytest.approx(state.best_value, rel=1e-4)
        np.testing.assert_allclose(encoded.codes, network.encode(rows[1]), atol=1e-4 * np.abs(encoded.codes).max())
    assert (network.decode(np.full((1, 4), 1e3, np.float32)) <= known.high_F).all()


def test_the_graphs_have_them(tmp_path: Path) -> None:
    """ONNX and pt2 give the module's reconstructions of raw rows, which end at the data's own limits."""
    (train_rows, held_out), start = started()
    point = trial(1, bottleneck=4, skip="pca").point
    with reproducible():
        pack = Kind(None).pack(
            [trial(1, **point.as_dict())], Kind(None).data((train_rows, held_out), None, start), "mse"
        )
        train(pack, 1)
        (state,) = pack.states()
    weights = best_weights(dumps(state, Architecture.of(61, point)), start)
    network = Network(layer_sizes(61, point), point.activation, "mse", weights)
    model, raw = network.raw(np.full(61, -8.0), np.full(61, 16.0), clip=False), held_out.astype(np.float64) * 16 - 8
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    check_onnx(tmp_path / "m.onnx", model, raw)
    rebuilt = OnnxNetwork((tmp_path / "m.onnx").read_bytes(), "m.onnx").run(raw)[1]
    again = torch.export.load(tmp_path / "m.pt2").module()(torch.from_numpy(raw))[1].detach().numpy()
    for values in (rebuilt, again):
        assert values.min() == -8
        assert np.mean(values == -8) > 0.2


def test_a_start_with_bounds_comes_back_from_its_file() -> None:
    """To the bit; and one without has the bytes that it had before there were any."""
    _, start = started()
    again = LinearStart.from_bytes(start.to_bytes())
    assert again.to_bytes() == start.to_bytes()
    assert again.bounds is not None
    assert start.bounds is not None
    np.testing.assert_array_equal(again.bounds.low_F, start.bounds.low_F)
    free = replace(start, bounds=None)
    assert LinearStart.from_bytes(free.to_bytes()).bounds is None
    assert b"low_F" not in free.to_bytes()


def test_bounds_in_other_units_are_the_rows_own_bits() -> None:
    """A row on its limit has no error there, and a side without a limit has none in any unit."""
    rows, start = started()
    known = start.output_bounds
    assert known is not None
    assert start.bounds is not None
    read = start.read(rows[0])
    has = start.bounds.low_F != -NONE
    np.testing.assert_array_equal(known.low_F[has], read.min(0)[has])
    np.testing.assert_array_equal(known.low_F[~has], -NONE)
    tiny = Bounds(np.float32([-NONE]), np.float32([2])).of_outputs(np.float32([1]), 1e-30)
    assert (tiny.low_F[0], np.isfinite(tiny.high_F[0])) == (-NONE, True)
