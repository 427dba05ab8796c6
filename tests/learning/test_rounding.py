"""Claims about the check of an exported graph: a correct model always passes, and one with another weight does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tuner.errors import ExportError
from tuner.learning.inference.graphs import check_onnx, write_graphs
from tuner.learning.inference.model import Autoencoder, cross_entropy
from tuner.learning.inference.onnx import OnnxNetwork
from tuner.learning.inference.raw import RawModel

Rows = NDArray[np.float64]
Make = Callable[[], tuple[RawModel, NDArray[np.float64]]]


def of_rank_two() -> tuple[RawModel, Rows]:
    """A table of 400 x 6 of rank 2, and the linear code of 2 that loses nothing of it but rounding."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(400, 2)) @ draw.normal(size=(2, 6))
    low, span = rows.min(0), np.ptp(rows, 0)
    scaled = (rows - low) / span
    middle = scaled.mean(0)
    directions = np.linalg.svd(scaled - middle, full_matrices=False).Vh[:2]
    model = Autoencoder((6, 2, 6), "relu")
    first, second = model.linears()
    with torch.no_grad():
        for layer, weight, bias in ((first, directions, -directions @ middle), (second, directions.T, middle)):
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
    return RawModel(model, low, span, clip=False), rows


def certain() -> tuple[RawModel, Rows]:
    """Black and white pixels, of which the model is so certain that the sigmoid of its logits is 0 or 1."""
    model = Autoencoder((4, 2, 4), "relu", "bce")
    first, second = model.linears()
    with torch.no_grad():
        for layer in (first, second):
            layer.bias.zero_()
        first.weight.copy_(torch.tensor([[1.0, 0, 0, -1], [0, 1, -1, 0]]))
        second.weight.copy_(150 * torch.tensor([[1.0, 0], [0, 1], [0, -1], [-1, 0]]))
    return RawModel(model, np.zeros(4), np.ones(4), clip=True), np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0.6, 0, 0, 0]])


def far_out() -> tuple[RawModel, Rows]:
    """Rows whose squares are at the end of single precision: the last bit says which of them are infinite."""
    model, rows = of_rank_two()
    return model, rows * np.geomspace(1, 1e22, len(rows))[:, None]


def close_together() -> tuple[RawModel, Rows]:
    """Values of 1e12 that differ by 1: double precision has four digits of what is left."""
    model, rows = of_rank_two()
    offset = 1e12 + model.offset.numpy()
    return RawModel(model.model, offset, model.scale.numpy(), clip=False), rows + 1e12


def without_a_code() -> tuple[RawModel, Rows]:
    """Every code is a difference of large values, zero but for rounding."""
    model, rows = of_rank_two()
    with torch.no_grad():
        first = model.model.linears()[0]
        first.weight[0] = torch.tensor([1000.0, -1000, 0, 0, 0, 0])
        first.weight[1] = -first.weight[0]
        first.bias.zero_()
    offset, scale = model.offset.numpy(), model.scale.numpy()
    rows[:, 1] = offset[1] + (rows[:, 0] - offset[0]) / scale[0] * scale[1]
    return model, rows


CORRECT = [of_rank_two, certain, far_out, close_together, without_a_code]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], Path]:
    """The folder with a model's graphs, written once: torch's exporter takes a second."""

    @cache
    def write(make: Make) -> Path:
        folder = tmp_path_factory.mktemp(make.__name__)
        write_graphs(make()[0], folder / "m.onnx", folder / "m.pt2", {})
        return folder

    return write


@pytest.mark.parametrize("make", CORRECT)
def test_a_correct_model_is_always_exportable(make: Make, written: Callable[[Make], Path]) -> None:
    """Losses that are rounding alone, infinite certainty, codes that cancel, rows far out or close together: they pass,
    and so does each of some rows by itself."""
    model, rows = make()
    path = written(make) / "m.onnx"
    for part in (rows, *(rows[i : i + 1] for i in range(0, len(rows), max(1, len(rows) // 20)))):
        check_onnx(path, model, part)


@pytest.mark.parametrize("make", [of_rank_two, certain])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_model_with_another_weight_fails(make: Make, layer: int, written: Callable[[Make], Path]) -> None:
    """One weight of either layer off by a hundredth is told, however good the model is."""
    model, rows = make()
    with torch.no_grad():
        weight = model.model.linears()[layer].weight
        weight[0, 0] += 0.01 * weight.abs().max()
    with pytest.raises(ExportError, match=r"^m\.onnx: expected onnxruntime to give PyTorch's "):
        check_onnx(written(make) / "m.onnx", model, rows)


def test_the_very_good_model_is_as_good_as_it_is_said(written: Callable[[Make], Path]) -> None:
    """Its loss is rounding in both runtimes, so neither's last digits mean anything."""
    model, rows = of_rank_two()
    with torch.no_grad():
        loss = model(torch.from_numpy(rows))[2].mean().item()
    assert loss < 1e-13
    assert OnnxNetwork((written(of_rank_two) / "m.onnx").read_bytes(), "m.onnx").run(rows)[2].mean() < 1e-13


def test_a_certain_models_scores_are_those_of_its_logits(written: Callable[[Make], Path]) -> None:
    """In torch, ONNX and torch.export, against the same in double precision; a sure mistake costs its logit."""
    model, rows = certain()
    logits = model.model.double()(torch.from_numpy(rows)).detach().numpy()
    model.model.float()
    expected = (np.logaddexp(0, logits) - rows * logits).mean(1)
    assert expected.max() == pytest.approx(0.4 * 90 / 4 + 0.5 * np.log(2))
    again = torch.export.load(written(certain) / "m.pt2").module()
    for scores in (
        model(torch.from_numpy(rows))[2].detach().numpy(),
        OnnxNetwork((written(certain) / "m.onnx").read_bytes(), "m.onnx").run(rows)[2],
        again(torch.from_numpy(rows))[2].detach().numpy(),
    ):
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-7)


def test_the_cross_entropy_is_torchs() -> None:
    """To rounding, over eight orders of magnitude of the logits, between 0 and 1 and at both."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(100_000, generator=draw) * torch.logspace(-4, 4, 100_000)
    rows = torch.rand(100_000, generator=draw)
    rows[::5], rows[1::5] = 0, 1
    known = torch.nn.functional.binary_cross_entropy_with_logits(logits, rows, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, rows), known, rtol=3e-6, atol=3e-7)
