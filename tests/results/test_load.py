"""Claims about the loaded model: raw rows in, the trained network's numbers out, damaged folders refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import tuner
from tuner.errors import DataError, ExportError
from tuner.export.model import ExportedModel, load_model

FILES = ["config.yaml", "density.json", "metrics.json", "model.safetensors", "preprocess.json"]  # what is read
Values = NDArray[Any]


@pytest.fixture
def folder(exported: Callable[[Path], Path], tmp_path: Path) -> Path:
    """An export of the winner."""
    return exported(tmp_path / "best")


@pytest.fixture
def model(folder: Path) -> ExportedModel:
    return load_model(folder)


def scaled(winner: Any) -> Values:
    return winner.preprocessor.transform(winner.rows)


def numpy_output(winner: Any, rows: Values) -> Values:
    """The network written out in float64: tanh after every layer but the code and the output."""
    weights = {name: value.astype(np.float64) for name, value in winner.network.weights().items()}
    h = rows.astype(np.float64)
    for part in ("encoder", "decoder"):
        layers = sorted({int(name.split(".")[1]) for name in weights if name.startswith(part)})
        for layer in layers:
            h = h @ weights[f"{part}.{layer}.weight"].T + weights[f"{part}.{layer}.bias"]
            h = h if layer == layers[-1] else np.tanh(h)
    return h


def test_the_model_is_what_the_package_offers(folder: Path) -> None:
    """`tuner.load_model` is this function."""
    assert tuner.load_model(folder).features == 6


def test_the_model_says_what_it_takes_and_gives(model: ExportedModel, winner: Any) -> None:
    """Features, names, shape and code size are those of the training data and of the trial."""
    assert (model.features, model.names, model.shape, model.code_size) == (6, winner.names, (6,), 3)


def test_raw_rows_give_the_networks_numbers_on_scaled_rows(model: ExportedModel, winner: Any) -> None:
    """Codes, reconstructions and scores are, bit for bit, the trained network's on the scaled rows."""
    np.testing.assert_array_equal(model.encode(winner.rows), winner.network.encode(scaled(winner)))
    raw = winner.preprocessor.inverse(winner.network.reconstruct(scaled(winner)))
    np.testing.assert_array_equal(model.reconstruct(winner.rows), raw)
    np.testing.assert_array_equal(model.score(winner.rows), winner.network.losses(scaled(winner)))


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_scores_are_those_of_the_network_written_out(loss: str, winner_of: Callable[..., Any], tmp_path: Path) -> None:
    """mse: the mean of (x - reconstruction)^2 over the features; bce: their mean cross-entropy; in scaled space."""
    winner = winner_of(loss=loss)
    model = load_model(winner.export(tmp_path / "best"))
    x, output = scaled(winner).astype(np.float64), numpy_output(winner, scaled(winner))
    if loss == "mse":
        expected, scaled_reconstruction = ((x - output) ** 2).mean(axis=1), output
    else:
        expected = (np.logaddexp(0, output) - x * output).mean(axis=1)
        scaled_reconstruction = 1 / (1 + np.exp(-output))
    np.testing.assert_allclose(model.score(winner.rows), expected, rtol=1e-5)
    raw = winner.preprocessor.inverse(scaled_reconstruction)
    np.testing.assert_allclose(model.reconstruct(winner.rows), raw, rtol=1e-4, atol=1e-3)


def test_a_score_is_the_scaled_difference_from_the_reconstruction(model: ExportedModel, winner: Any) -> None:
    """Scaling the reconstruction again and subtracting it gives the score."""
    difference = scaled(winner) - winner.preprocessor.transform(model.reconstruct(winner.rows))
    np.testing.assert_allclose(model.score(winner.rows), (difference.astype(float) ** 2).mean(axis=1), rtol=1e-4)


def test_a_fresh_process_gives_the_same_bits(model: ExportedModel, folder: Path, winner: Any, tmp_path: Path) -> None:
    """Another process, in another folder, with the folder moved elsewhere: not a bit differs."""
    moved = shutil.move(folder, tmp_path / "elsewhere")
    np.save(tmp_path / "rows.npy", winner.rows)
    program = (
        "import sys, numpy as np, tuner\n"
        "model, rows = tuner.load_model(sys.argv[1]), np.load(sys.argv[2])\n"
        "np.savez(sys.argv[3], model.encode(rows), model.reconstruct(rows), model.score(rows))\n"
    )
    paths = [str(moved), str(tmp_path / "rows.npy"), str(tmp_path / "out.npz")]
    subprocess.run([sys.executable, "-c", program, *paths], check=True, cwd="/", timeout=120)
    there = np.load(tmp_path / "out.npz")
    here = [model.encode(winner.rows), model.reconstruct(winner.rows), model.score(winner.rows)]
    for key, value in zip(there.files, here, strict=True):
        np.testing.assert_array_equal(there[key], value)


def test_a_frame_is_read_by_its_names(model: ExportedModel, winner: Any) -> None:
    """Columns in another order and among others give the same codes and scores, reconstructions as a frame."""
    index = [f"row {i}" for i in range(len(winner.rows))]
    frame = pd.DataFrame(winner.rows, columns=list(winner.names), index=index)
    shuffled = frame[list(winner.names[::-1])].assign(label="text that the model does not know")
    np.testing.assert_array_equal(model.encode(shuffled), model.encode(winner.rows))
    np.testing.assert_array_equal(model.score(shuffled), model.score(winner.rows))
    expected = pd.DataFrame(model.reconstruct(winner.rows), columns=list(winner.names), index=index)
    pd.testing.assert_frame_equal(model.reconstruct(shuffled), expected)


def test_images_keep_their_shape(winner_of: Callable[..., Any], tmp_path: Path) -> None:
    """Images of 4 by 3 are taken as (N, 4, 3) and as (N, 12), and reconstructed in the form they came in."""
    winner = winner_of(shape=(4, 3))
    model = load_model(winner.export(tmp_path / "best"))
    images = winner.rows.reshape(-1, 4, 3)
    assert model.shape == (4, 3)
    np.testing.assert_array_equal(model.encode(images), model.encode(winner.rows))
    np.testing.assert_array_equal(model.score(images), model.score(winner.rows))
    assert model.reconstruct(images).shape == images.shape
    np.testing.assert_array_equal(model.reconstruct(images).reshape(-1, 12), model.reconstruct(winner.rows))


@pytest.mark.parametrize("kind", [list, np.float32, np.int64, "Int64", "frame of objects"])
def test_any_numbers_will_do(kind: Any, model: ExportedModel, winner: Any) -> None:
    """Lists, single precision, whole numbers, nullable columns: whatever holds numbers."""
    rows = winner.rows.round()
    given = rows.tolist() if kind is list else pd.DataFrame(rows, columns=list(winner.names))
    if kind in (np.float32, np.int64):
        given = rows.astype(kind)
    elif kind is not list:
        given = given.astype(kind if kind == "Int64" else object)
    np.testing.assert_array_equal(model.score(given), model.score(rows))


def test_one_row_alone_scores_as_among_others(model: ExportedModel, winner: Any) -> None:
    """A batch of one row is a batch."""
    assert model.score(winner.rows[:1]) == pytest.approx(model.score(winner.rows)[:1], rel=1e-5)


def test_a_row_beyond_single_precision_scores_infinity(model: ExportedModel, winner: Any) -> None:
    """An absurd row is infinitely unusual, not NaN, and its neighbours' scores are their own."""
    rows = winner.rows.copy()
    rows[2, 1] = 1e40  # near the end of what single precision holds, once scaled
    scores = model.score(rows)
    assert scores[2] == np.inf
    np.testing.assert_array_equal(np.delete(scores, 2), np.delete(model.score(winner.rows), 2))


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_the_parts_of_a_score_are_the_features(loss: str, winner_of: Callable[..., Any], tmp_path: Path) -> None:
    """They sum to it, also of a row too far out; a row with a missing value has none; a frame gives a frame."""
    winner = winner_of(loss=loss)
    model, rows = load_model(winner.export(tmp_path / "best")), winner.rows.copy()
    rows[2, 1], rows[3, 0] = (1e40, np.nan) if loss == "mse" else (rows[2, 1], np.nan)
    parts = model.parts(rows)
    assert parts.shape == rows.shape
    np.testing.assert_allclose(parts.sum(1), model.score(rows), rtol=1e-12)
    assert np.isnan(parts[3]).all()
    if loss == "mse":
        expected = (scaled(winner).astype(np.float64) - numpy_output(winner, scaled(winner))) ** 2 / parts.shape[1]
        np.testing.assert_allclose(parts[4:], expected[4:], rtol=1e-4, atol=1e-7)
    frame = model.parts(pd.DataFrame(rows, columns=list(model.names), index=range(5, 5 + len(rows))))
    assert (list(frame), frame.index[0]) == (list(model.names), 5)
    np.testing.assert_array_equal(frame, parts)


BAD_ROWS: list[tuple[Any, str]] = [
    (np.zeros(6), r"shape \(N, 6\), got \(6,\)\."),
    (np.zeros((3, 5)), r"shape \(N, 6\), got \(3, 5\)\."),
    (np.zeros((3, 6, 1)), r"shape \(N, 6\), got \(3, 6, 1\)\."),
    (np.zeros((0, 6)), r"at least one row, got none\."),
    (1.0, r"shape \(N, 6\), got \(\)\."),
    ([[1.0] * 6, [1.0] * 5], r"must be a number"),
    ([["a"] * 6], r"must be a number"),
    (None, r"shape \(N, 6\), got \(\)"),
    (np.array([[0, 0, 0, 0, 0, 0], [0, 0, np.inf, 0, 0, 0]]), r"column column 2, row 2: .*, got inf\."),
    (np.array([[0, 0, 0, 0, np.inf, 0]]), r"column column 4, row 1: .*, got inf\."),
    (np.array([[0, 0, 0, 0, 1e300, 0]]), r"column column 4, row 1: .*, got 1e\+300\."),
    (pd.DataFrame({f"column {i}": [1.0] for i in range(5)}), r"missing: column 5\."),
    (pd.DataFrame({f"column {i}": ["x"] for i in range(6)}), r"column column 0, row 1: must be a number, got 'x'\."),
    (
        pd.DataFrame({f"column {i}": [1.0, "many" if i == 4 else 2.0] for i in range(6)}),
        r"column column 4, row 2: must be a number, got 'many'\.",
    ),
    (pd.DataFrame([[1.0] * 7], columns=[*(f"column {i}" for i in range(6)), "column 0"]), r"got \(1, 7\)"),
]


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_a_missing_value_costs_its_row_alone_a_result(missing: Any, model: ExportedModel, winner: Any) -> None:
    """NaN for it, and for all others what they have without it, however pandas writes that it is missing."""
    frame = pd.DataFrame(winner.rows[:5], columns=list(model.names))
    holed = frame.astype(object)
    holed.iloc[2, 3] = missing
    for method in ("encode", "score"):
        expected, got = getattr(model, method)(frame), getattr(model, method)(holed)
        assert np.isnan(got[2]).all()
        np.testing.assert_array_equal(np.delete(got, 2, 0), np.delete(expected, 2, 0))
    assert model.reconstruct(holed).iloc[2].isna().all()


@pytest.mark.parametrize(("rows", "message"), BAD_ROWS)
@pytest.mark.parametrize("method", ["encode", "reconstruct", "score"])
def test_wrong_rows_are_one_sentence(method: str, rows: Any, message: str, model: ExportedModel) -> None:
    """Rows of another shape, text and infinities are refused with the place."""
    with pytest.raises(DataError, match=message) as caught:
        getattr(model, method)(rows)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "seed"), [(2.5, 0), (-1, 0), (True, 0), (3, -1), ("3", 0)])
def test_what_is_no_count_or_seed_is_one_sentence(count: Any, seed: Any, model: ExportedModel) -> None:
    """Drawn are whole numbers of rows; numpy's whole numbers are some."""
    with pytest.raises(DataError, match=r"(count|seed): must be a whole number from 0 on, got "):
        model.sample(count, seed)
    assert len(model.sample(np.int64(3), np.int64(1))) == 3


def test_nothing_there_and_a_file_are_no_export(tmp_path: Path) -> None:
    """The message says what a model is loaded from."""
    (tmp_path / "file").touch()
    for name, got in (("nothing", "nothing there"), ("file", "a file")):
        with pytest.raises(ExportError, match=rf"{name}: expected a folder that `tuner export` wrote, got {got}\."):
            load_model(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    """Each of these files is needed, and the message names the one that is not there."""
    (folder / name).unlink()
    with pytest.raises(ExportError, match=rf"{name}: expected a file of an export, got: No such file"):
        load_model(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_a_files_place_is_named(name: str, folder: Path) -> None:
    """A directory of a file's name is no such file."""
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ExportError, match=name):
        load_model(folder)


@pytest.mark.parametrize("share", [0, 0.3, 0.6])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_breaks_off_is_named(name: str, share: float, folder: Path) -> None:
    """A file cut to nothing, to a third, to six tenths is refused by name, in one line."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ExportError, match=name) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_breaks_off_anywhere_is_named(folder: Path) -> None:
    """After any of its characters: whatever is left of it, it is not a whole one."""
    content = (folder / "config.yaml").read_text().rstrip()
    for length in range(content.index("name:"), len(content)):
        (folder / "config.yaml").write_text(content[:length])
        with pytest.raises(ExportError, match=r"config\.yaml") as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_changes_a_number(name: str, folder: Path, model: ExportedModel, winner: Any) -> None:
    """One bit flipped anywhere: either the folder is refused, or it gives the very numbers it gave before."""
    content = (folder / name).read_bytes()
    draw = np.random.default_rng(1)
    refused = 0
    for place in draw.choice(len(content), min(len(content), 150), replace=False):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(draw.integers(8))
        (folder / name).write_bytes(flipped)
        try:
            damaged = load_model(folder)
        except ExportError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        np.testing.assert_array_equal(damaged.reconstruct(winner.rows), model.reconstruct(winner.rows))
        np.testing.assert_array_equal(damaged.score(winner.rows), model.score(winner.rows))
    assert refused
    if name in ("model.safetensors", "preprocess.json", "density.json"):
        assert refused == min(len(content), 150)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return self.marker.touch, ()


@pytest.mark.parametrize("name", FILES)
def test_no_pickle_is_ever_opened(name: str, folder: Path, tmp_path: Path) -> None:
    """A pickle in any file's place is refused, and nothing in it runs, even where its digest is written down."""
    marker = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(marker))
    (folder / name).write_bytes(bomb)
    if name != "metrics.json":
        change_metrics(folder, files=lambda files: {**files, name: sha256(bomb)})
    with pytest.raises(ExportError, match=name):
        load_model(folder)
    assert not marker.exists()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def change_metrics(folder: Path, **changes: Callable[[Any], Any]) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    for key, change in changes.items():
        metrics[key] = change(metrics[key])
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sizes", [6, 9, 3, 9, 6], r"config.yaml: expected sizes"),
        ("sizes", [6, 10, 5, 3, 5, 10, 7], r"metrics.json: sizes must be mirrored"),
        ("sizes", [7, 10, 5, 3, 5, 10, 7], r"preprocess.json: expected 7 features, as in metrics.json, got 6"),
        ("sizes", [6, 10**12, 3, 10**12, 6], r"config.yaml: expected sizes"),
        ("sizes", [6, -10, 3, -10, 6], r"metrics.json: sizes.1"),
        ("sizes", "6", r"metrics.json: sizes"),
        ("activation", "relu", r"config.yaml: expected activation relu"),
        ("activation", "step", r"metrics.json: activation"),
        ("loss", "bce", r"config.yaml: expected loss bce"),
        ("format", 6, r"metrics.json: format"),
        ("anomaly", {"quantile": 2, "threshold": 1, "rows": 3}, r"metrics.json: anomaly.quantile"),
        ("files", {}, r"model.safetensors: expected the file that was exported"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(key: str, value: Any, message: str, folder: Path) -> None:
    """metrics.json that contradicts itself or the other files is refused, naming both sides."""
    change_metrics(folder, **{key: lambda _: value})
    with pytest.raises(ExportError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(folder: Path, winner: Any, tmp_path: Path) -> None:
    """Weights of other layers, with their digest written down: refused by their sizes."""
    other = winner.other().export(tmp_path / "other")
    shutil.copy(other / "model.safetensors", folder)
    digest = sha256((folder / "model.safetensors").read_bytes())
    change_metrics(folder, files=lambda files: {**files, "model.safetensors": digest})
    with pytest.raises(ExportError, match=r"model\.safetensors: expected the weights of layers"):
        load_model(folder)


def test_a_configuration_edited_for_another_machine_still_loads(folder: Path, model: ExportedModel) -> None:
    """The data's place, the epochs and the device may be edited; the model is what it was."""
    text = (folder / "config.yaml").read_text()
    edited = (
        text.replace("epochs: 12", "epochs: 99").replace("device: cpu", "device: auto").replace("rows.csv", "my.csv")
    )
    assert edited.count("epochs: 99") == 1
    (folder / "config.yaml").write_text(edited)
    assert load_model(folder).card == model.card


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width: 10", "width: 12", "expected sizes"),
        ("width: 10", "width: {type: int, low: 4, high: 10}", "got a range for width"),
        ("activation: tanh", "activation: gelu", "expected activation tanh, as in metrics.json, got gelu"),
        ("loss: mse", "loss: bce", "expected loss mse, as in metrics.json, got bce"),
        ("loss: mse", "loss: huber", "expected loss mse, as in metrics.json, got huber"),
        ("loss: mse", "loss: hinge", "must be auto | mse | bce | mixed | huber | poisson"),
    ],
)
def test_a_configuration_of_another_model_is_refused(old: str, new: str, message: str, folder: Path) -> None:
    """A declaration that no longer describes the weights beside it is refused with the key."""
    text = (folder / "config.yaml").read_text()
    assert old in text
    (folder / "config.yaml").write_text(text.replace(old, new))
    with pytest.raises(ExportError) as caught:
        load_model(folder)
    assert message in str(caught.value)
    assert "config.yaml" in str(caught.value)
