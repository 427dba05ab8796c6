"""Claims about models whose loss has terms, in use: numpy, torch, the compiled step and both graphs say the same."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from mixed import mixed_rows, mixed_terms
from plain import trial

from tuner.data.terms import Kind, Terms
from tuner.learning import scoring
from tuner.learning.checkpoint import padded_row
from tuner.learning.compiled.library import library
from tuner.learning.inference.graphs import check_onnx, write_graphs
from tuner.learning.inference.network import Network
from tuner.learning.inference.onnx import OnnxNetwork
from tuner.learning.inference.rounding import Rounding
from tuner.spec.architecture import Architecture

FEATURES = 33
POINT = trial(0, width=20, bottleneck=3, activation="tanh").point
SHAPE = Architecture.of(FEATURES, POINT)
needs_a_build = pytest.mark.skipif(library() is None, reason="no C++ compiler was there when it was installed")


def network(terms: Terms, size: float = 1.0) -> Network:
    """Random weights."""
    draw, sizes = np.random.default_rng(5), SHAPE.sizes
    model = torch.nn.Sequential(*[torch.nn.Linear(a, b) for a, b in pairwise(sizes)])
    names = [f"{side}.{2 * at}" for side in ("encoder", "decoder") for at in range(POINT.depth + 1)]
    weights = {
        f"{name}.{part}": (size * draw.standard_normal(tuple(value.shape)) / np.sqrt(sizes[1])).astype(np.float32)
        for name, layer in zip(names, model, strict=True)
        for part, value in layer.named_parameters()
    }
    return Network(sizes, "tanh", "mixed", weights, terms)


def outputs_of(model: Network, rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.module(torch.from_numpy(rows)).numpy()


@pytest.mark.parametrize("missing", [False, True])
def test_a_network_gives_numpys_links_cells_and_scores(missing: bool) -> None:
    """Of its own outputs, to single precision; and the same in another process, which it goes to in this way."""
    terms = mixed_terms(2, FEATURES, missing)
    rows = mixed_rows(3, terms, 50)
    for model in (network(terms), copy.deepcopy(network(terms))):
        outputs = outputs_of(model, rows)
        cells = terms.cells(outputs, rows)
        np.testing.assert_allclose(model.reconstruct(rows), terms.link(outputs), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.cells(rows), cells, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(model.losses(rows), terms.scores(cells, rows), rtol=1e-5)
        assert model.mean_loss(rows) == pytest.approx(cells.mean(), rel=1e-5)
        assert np.array_equal(model.decode(model.encode(rows)), model.reconstruct(rows))


@needs_a_build
@pytest.mark.parametrize("missing", [False, True])
def test_the_compiled_step_scores_and_reconstructs_as_torch_does(missing: bool) -> None:
    """Mean losses, codes, rows' scores and reconstructions, to single precision."""
    terms = mixed_terms(4, FEATURES, missing)
    rows, model = mixed_rows(5, terms, 150), network(terms)
    weights = model.weights()
    assert scoring.mean_loss(POINT, "mixed", weights, rows, True, terms) == pytest.approx(
        model.mean_loss(rows), rel=1e-5
    )
    rebuilt = scoring.reconstruct(POINT, "mixed", weights, rows, True, terms)
    np.testing.assert_allclose(rebuilt, model.reconstruct(rows), rtol=3e-5, atol=3e-5)
    row = padded_row(weights, SHAPE)
    compiled, torchs = (scoring.encode(POINT, "mixed", row, rows, by, terms) for by in (True, False))
    np.testing.assert_allclose(compiled.codes, torchs.codes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(compiled.errors, torchs.errors, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1.0, 4.0])
def test_both_graphs_give_the_networks_numbers(seed: int, size: float, tmp_path: Path) -> None:
    """Raw rows with and without missing cells: ONNX to 1e-4 of each output's range, pt2 to the bit, numpy's scores."""
    terms, draw = mixed_terms(seed, FEATURES), np.random.default_rng(seed)
    numeric = (terms.kinds == Kind.SQUARE) | (terms.kinds == Kind.HUBER)
    offset, scale = np.where(numeric, draw.normal(0, 100, FEATURES), 0.0), np.where(numeric, 50.0, 1.0)
    model = network(terms, size)
    rows = mixed_rows(seed + 1, terms, 50).astype(np.float64) * scale + offset
    raw = model.raw(offset, scale, clip=False)
    write_graphs(raw, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    check_onnx(tmp_path / "m.onnx", raw, rows)
    onnx = OnnxNetwork((tmp_path / "m.onnx").read_bytes(), "m.onnx")
    again = torch.export.load(tmp_path / "m.pt2").module()
    for part in (rows, rows[:1]):
        expected = [output.detach().numpy() for output in raw(torch.from_numpy(part))]
        for got, also, value in zip(onnx.run(part), again(torch.from_numpy(part)), expected, strict=True):
            assert np.isfinite(value).all()
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-4 * np.abs(value).max())
            np.testing.assert_array_equal(also.detach().numpy(), value)
    scaled = raw.scaled(torch.from_numpy(rows)).numpy()
    scores = terms.scores(terms.cells(outputs_of(model, scaled), scaled), scaled)
    np.testing.assert_allclose(onnx.run(rows)[2], scores, rtol=1e-4)


def test_single_precision_stays_within_what_is_said_of_it() -> None:
    """Codes, reconstructions and scores are within `Rounding` of those of the same network in double precision."""
    for seed in range(5):
        terms = mixed_terms(seed, FEATURES)
        model, rows = network(terms, 3.0), mixed_rows(seed + 1, terms, 40).astype(np.float64)
        raw = model.raw(np.zeros(FEATURES), np.ones(FEATURES), clip=False)
        room = Rounding.of(raw, rows)
        assert room.near.all()
        single = [output.detach().double() for output in raw(torch.from_numpy(rows))]
        exact = network(terms, 3.0).module.double()
        wide = torch.from_numpy(rows)
        with torch.no_grad():
            double = exact.encode(wide), exact.reconstruct(wide), exact.scores(wide)
        for name, got, value in zip(("code", "reconstruction", "score"), single, double, strict=True):
            assert ((got - value).abs().numpy() <= getattr(room, name)).all(), name


def test_a_missing_cell_is_read_as_its_fill_and_rescales_the_score() -> None:
    """The stored value of a missing cell is nothing; a row with half of its equal cells scores what they all would."""
    ones = np.ones(FEATURES, np.float32)
    none = np.zeros((0, 2), np.int32)
    terms = Terms(np.zeros(FEATURES, np.int32), none, ones, ones, 0 * ones, True, (0.9, 0.9, 0.9))
    cells = np.where(np.arange(FEATURES) % 2, np.nan, 2.0)
    complete, half = np.full((1, FEATURES), 2.0), np.where(np.isnan(cells), 0, cells)[None]
    assert terms.scores(half, cells[None])[0] == pytest.approx(terms.scores(complete, complete)[0])
    assert terms.scores(np.zeros((1, FEATURES)), np.full((1, FEATURES), np.nan))[0] == 0
    model, rows = network(terms), mixed_rows(1, terms, 20)
    filled = terms.filled(rows)
    assert np.array_equal(model.encode(rows), model.encode(filled))
    assert np.array_equal(model.reconstruct(rows), model.reconstruct(filled))
