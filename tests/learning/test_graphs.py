"""Claims about the exported graphs: the model's numbers on raw rows, and nothing in them that can run code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tuner.errors import ExportError
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.inference.graphs import check_onnx, write_graphs
from tuner.learning.inference.model import Autoencoder
from tuner.learning.inference.onnx import OnnxNetwork
from tuner.learning.inference.raw import RawModel

SECONDS = 1.7e9  # Unix time: single precision tells such times apart by 128 s


def raw_model(activation: str, loss: str, **kind: bool) -> RawModel:
    """A column of Unix times within an hour, one around 1e-7, and two plain ones."""
    torch.manual_seed(3)
    model = Autoencoder((4, 7, 2, 7, 4), activation, loss, **kind)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return RawModel(model, np.array([SECONDS, 0, -5, 2]), np.array([3600, 1e-7, 10, 1]), clip=loss == "bce")


def raw_rows(count: int) -> np.ndarray:
    share = np.random.default_rng(1).uniform(-0.1, 1.1, size=(count, 4))
    return share * np.array([3600, 1e-7, 10, 1]) + np.array([SECONDS, 0, -5, 2])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx_and_pt2_give_the_modules_numbers(activation: str, tmp_path: Path) -> None:
    """Every activation, one row or many, also far from zero: ONNX to 1e-4 of each output's range, pt2 to the bit."""
    loss = "bce" if activation in ("relu", "tanh") else "mse"
    model = raw_model(activation, loss)
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    check_onnx(tmp_path / "m.onnx", model, raw_rows(50))
    network = OnnxNetwork((tmp_path / "m.onnx").read_bytes(), "m.onnx")
    again = torch.export.load(tmp_path / "m.pt2").module()
    for rows in (raw_rows(50), raw_rows(1)):
        expected = [output.detach().numpy() for output in model(torch.from_numpy(rows))]
        for got, also, value in zip(network.run(rows), again(torch.from_numpy(rows)), expected, strict=True):
            assert got.dtype == value.dtype
            span = np.maximum(np.abs(value - value.mean(0)).max(0), 1e-12) if len(rows) > 1 else np.abs(value)
            assert (np.abs(got - value) <= 1e-4 * span).all()
            np.testing.assert_array_equal(also.detach().numpy(), value)


def test_a_large_offset_keeps_its_digits(tmp_path: Path) -> None:
    """Times a second apart have codes of their own, and the reconstruction resolves them: the input is double."""
    model = raw_model("tanh", "mse")
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    rows = np.tile(raw_rows(1), (3, 1))
    rows[:, 0] = SECONDS + np.array([0.0, 1.0, 2.0])
    code, reconstruction, _ = OnnxNetwork((tmp_path / "m.onnx").read_bytes(), "m.onnx").run(rows)
    assert len(np.unique(code, axis=0)) == 3
    assert len(np.unique(reconstruction[:, 0])) == 3
    assert np.ptp(reconstruction[:, 0]) < 3600


def test_a_row_too_far_out_scores_infinity_in_the_graph_too(tmp_path: Path) -> None:
    """As `score` says it: never NaN."""
    model = raw_model("relu", "mse")
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    rows = raw_rows(3)
    rows[1, 3] = 1e200
    score = OnnxNetwork((tmp_path / "m.onnx").read_bytes(), "m.onnx").run(rows)[2]
    assert np.isfinite(score).tolist() == [True, False, True]
    assert score[1] == np.inf


def test_another_models_graph_fails_the_check(tmp_path: Path) -> None:
    """The check is not vacuous: one weight off by a hundredth is told, with the output and by how much."""
    model = raw_model("tanh", "mse")
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    with torch.no_grad():
        model.model.linears()[-1].weight[0, 0] += 0.01
    with pytest.raises(
        ExportError, match=r"^m\.onnx: expected onnxruntime to give PyTorch's reconstruction to 0\.0001"
    ):
        check_onnx(tmp_path / "m.onnx", model, raw_rows(50))


def test_the_files_hold_neither_pickles_nor_paths(tmp_path: Path) -> None:
    """No part of the pt2 archive is a pickle or an archive that could hold one; no place in the sources is named."""
    write_graphs(raw_model("gelu", "mse"), tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, part in parts.items() if part[:2] in (b"PK", b"\x80\x02", b"\x80\x04")]
    for content in (*parts.values(), (tmp_path / "m.onnx").read_bytes()):
        assert b".py" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_the_graphs_run_where_this_package_is_not(tmp_path: Path) -> None:
    """In processes that cannot import it: onnxruntime alone, without torch, and torch alone."""
    model = raw_model("silu", "mse")
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    np.save(tmp_path / "rows.npy", raw_rows(5))
    score = model(torch.from_numpy(raw_rows(5)))[2].detach().numpy()
    alone = "import sys, numpy as np; sys.modules['tuner'] = None; rows = np.load('rows.npy')\n"
    onnx = "import onnxruntime; got = onnxruntime.InferenceSession('m.onnx').run(['score'], {'rows': rows})[0]\n"
    onnx += "assert 'torch' not in sys.modules\n"
    pt2 = "import torch; got = torch.export.load('m.pt2').module()(torch.from_numpy(rows))[2].detach().numpy()\n"
    for code in (onnx, pt2):
        subprocess.run([sys.executable, "-c", f"{alone}{code}np.save('got.npy', got)"], cwd=tmp_path, check=True)
        np.testing.assert_allclose(np.load(tmp_path / "got.npy"), score, rtol=1e-4)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"PK\x03\x04"])
def test_what_is_no_graph_is_one_sentence(content: bytes) -> None:
    """Nothing, a pickle, an archive."""
    with pytest.raises(ExportError, match=r"^x\.onnx: expected an ONNX graph, got: ") as caught:
        OnnxNetwork(content, "x.onnx")
    assert "\n" not in str(caught.value)


def test_a_normalised_variational_model_has_its_graphs(tmp_path: Path) -> None:
    """Layer normalisation is in the graph, and the code is the mean."""
    model = raw_model("silu", "mse", norm=True, variational=True)
    write_graphs(model, tmp_path / "m.onnx", tmp_path / "m.pt2", {})
    check_onnx(tmp_path / "m.onnx", model, raw_rows(50))
    mean, _ = model.model.posterior(((torch.from_numpy(raw_rows(5)) - model.offset) / model.scale).float())
    code = OnnxNetwork((tmp_path / "m.onnx").read_bytes(), "m.onnx").run(raw_rows(5))[0]
    np.testing.assert_allclose(code, mean.detach().numpy(), rtol=1e-4, atol=1e-5)
