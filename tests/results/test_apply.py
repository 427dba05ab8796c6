"""Claims about `tuner apply`: the exported model's numbers on new files of every kind, whole or not at all."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from tuner.data import blocks
from tuner.errors import DataError, ExportError
from tuner.export.apply import Applied, Request, apply
from tuner.export.model import ExportedModel, load_model
from tuner.service.inside import scored

Values = NDArray[Any]


@pytest.fixture(scope="module")
def best(template: Path) -> Path:
    """An export of a table's model: 6 columns, code of 3."""
    return template


@pytest.fixture
def model(best: Path) -> ExportedModel:
    return load_model(best)


@pytest.fixture
def rows() -> Values:
    """Raw rows of the table's columns."""
    return np.random.default_rng(9).normal(5.0, 3.0, size=(200, 6)) * np.linspace(1, 1000, 6)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of 16 rows, so that a small file has many."""
    monkeypatch.setattr(blocks, "ROWS_AT_ONCE", 16)
    yield


def frame_of(rows: Values) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"column {i}" for i in range(6)])


def write_csv(path: Path, rows: Values) -> Path:
    frame_of(rows).to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def write_semicolons(path: Path, rows: Values) -> Path:
    """Columns in another order, and one more, with semicolons between."""
    table = frame_of(rows).assign(comment="text")[["comment", *[f"column {i}" for i in (3, 1, 2, 0, 5, 4)]]]
    table.to_csv(path.with_suffix(".csv"), index=False, sep=";")
    return path.with_suffix(".csv")


def write_parquet(path: Path, rows: Values) -> Path:
    frame_of(rows).assign(comment="text").to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def write_npy(path: Path, rows: Values) -> Path:
    np.save(path.with_suffix(".npy"), rows)
    return path.with_suffix(".npy")


def write_npz(path: Path, rows: Values) -> Path:
    np.savez(path.with_suffix(".npz"), rows)
    return path.with_suffix(".npz")


def write_idx(path: Path, rows: Values) -> Path:
    path = path.with_suffix(".idx.gz")
    header = bytes([0, 0, 0x0E, 2]) + np.array(rows.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + rows.astype(">f8").tobytes()))
    return path


@pytest.mark.parametrize("write", [write_csv, write_semicolons, write_parquet, write_npy, write_npz, write_idx])
def test_every_kind_of_file_gives_the_models_numbers(
    write: Callable[[Path, Values], Path], model: ExportedModel, best: Path, rows: Values, tmp_path: Path
) -> None:
    """Scores and codes of a file in many blocks are those of the whole array in memory, to single precision."""
    part = rows[:100]
    source = write(tmp_path / "rows", part)
    done = apply(best, Request("score", tmp_path / "s.parquet", str(source)))
    table = pd.read_parquet(tmp_path / "s.parquet")
    np.testing.assert_allclose(table["score"], model.score(part), rtol=1e-5)
    np.testing.assert_array_equal(table["anomaly"], table["score"] > model.threshold)
    assert done == Applied(100, pytest.approx(table["score"].mean()), int(table["anomaly"].sum()), model.threshold)
    apply(best, Request("encode", tmp_path / "c.parquet", str(source)))
    table = pd.read_parquet(tmp_path / "c.parquet")
    assert list(table) == ["code_0", "code_1", "code_2"]
    np.testing.assert_allclose(table, model.encode(part), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("onnx", [False, True])
def test_reconstructions_are_in_the_datas_columns_and_units(
    onnx: bool, ending: str, model: ExportedModel, best: Path, rows: Values, tmp_path: Path
) -> None:
    """In every form of output; by onnxruntime to 1e-4 of each column's range."""
    part, output = rows[:40], tmp_path / f"r{ending}"
    apply(best, Request("reconstruct", output, str(write_csv(tmp_path / "rows", part)), onnx=onnx))
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npy": np.load}[ending](output)
    if ending != ".npy":
        assert tuple(read) == model.names
    np.testing.assert_allclose(np.asarray(read) / np.ptp(part, 0), model.reconstruct(part) / np.ptp(part, 0), atol=1e-4)


def test_onnx_gives_the_same_scores(best: Path, rows: Values, tmp_path: Path) -> None:
    """Of many blocks, to 1e-4 of each."""
    source = str(write_npy(tmp_path / "rows", rows[:100]))
    for name, onnx in (("a", False), ("b", True)):
        apply(best, Request("score", tmp_path / f"{name}.npy", source, onnx=onnx))
    first, second = np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy")
    assert first.shape == (100,)
    np.testing.assert_allclose(second, first, rtol=1e-4)


def test_parts_stand_beside_the_score(
    best: Path, model: ExportedModel, rows: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an array one for each feature, in many blocks; of more features than anyone reads they are refused."""
    source = str(write_npy(tmp_path / "rows", rows[:40]))
    apply(best, Request("score", tmp_path / "s.parquet", source, parts=True))
    table = pd.read_parquet(tmp_path / "s.parquet")
    assert list(table) == ["score", "anomaly", *(f"score: column {i}" for i in range(6))]
    np.testing.assert_allclose(table.iloc[:, 2:], model.parts(rows[:40]), rtol=1e-5, atol=1e-7)
    monkeypatch.setattr(sys.modules[apply.__module__], "MOST_PARTS", 5)
    with pytest.raises(DataError, match=r"^--parts: must be of 5 features at most, got a model of 6\.$"):
        apply(best, Request("score", tmp_path / "s.parquet", source, parts=True))


def test_onnx_needs_no_torch(best: Path, rows: Values, tmp_path: Path) -> None:
    """In a fresh process torch is never imported."""
    source = str(write_npy(tmp_path / "rows", rows[:20]))
    code = f"""
import sys
from pathlib import Path
from tuner.export.apply import Request, apply
apply({str(best)!r}, Request("score", Path({str(tmp_path / "s.csv")!r}), {source!r}, onnx=True))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(pd.read_csv(tmp_path / "s.csv")) == 20


@pytest.mark.parametrize("output", ["s.csv", "s.parquet"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_kept_columns_stand_beside_the_result(kind: str, output: str, best: Path, rows: Values, tmp_path: Path) -> None:
    """A CSV's as the text they are (007, nothing), a Parquet file's with their type, also where values are missing."""
    table = frame_of(rows[:40]).assign(id=[f"{i:03}" for i in range(40)], n=pd.array([None, *range(1, 40)], "Int64"))
    source = tmp_path / f"rows.{kind}"
    table.to_csv(source, index=False) if kind == "csv" else table.to_parquet(source)
    apply(best, Request("score", tmp_path / output, str(source), keep=("id", "n", "column 1")))
    if output == "s.csv":
        read = pd.read_csv(tmp_path / output, dtype={"id": str})
    else:
        read = pd.read_parquet(tmp_path / output)
    assert list(read) == ["id", "n", "column 1", "score", "anomaly"]
    assert read["id"].tolist() == table["id"].tolist()
    np.testing.assert_array_equal(read["column 1"], table["column 1"])
    np.testing.assert_array_equal(pd.to_numeric(read["n"])[1:].to_numpy(dtype=float), np.arange(1.0, 40.0))


def test_images_are_read_as_they_were_for_training(images: Path, tmp_path: Path) -> None:
    """A folder of images gives what their pixels give as an array; their names can be kept; .npy keeps their shape."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 3), dtype=np.uint8)
    (tmp_path / "new").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "new" / f"{i:02}.png")
    apply(images, Request("score", tmp_path / "s.csv", str(tmp_path / "new"), keep=("file",)))
    table, model = pd.read_csv(tmp_path / "s.csv"), load_model(images)
    np.testing.assert_allclose(table["score"], model.score(pixels), rtol=1e-6)
    assert table["file"].tolist() == [f"{i:02}.png" for i in range(20)]
    apply(images, Request("reconstruct", tmp_path / "r.npy", str(tmp_path / "new")))
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), model.reconstruct(pixels), rtol=1e-5)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "new" / "wide.png")
    with pytest.raises(DataError, match=r"new: its images must be of one size, got 3 x 4 \(the model\) and 4 x 4"):
        apply(images, Request("score", tmp_path / "s.csv", str(tmp_path / "new")))
    (tmp_path / "new" / "wide.png").unlink()
    Image.fromarray(np.zeros((4, 3, 3), np.uint8)).save(tmp_path / "new" / "red.png")
    with pytest.raises(DataError, match=r"red\.png: must be a grey image"):
        apply(images, Request("score", tmp_path / "s.csv", str(tmp_path / "new")))


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
def test_samples_are_those_of_the_model(ending: str, model: ExportedModel, best: Path, tmp_path: Path) -> None:
    """`sample` writes what `model.sample` draws for that seed, in the data's columns."""
    apply(best, Request("sample", tmp_path / f"x{ending}", count=50, seed=3))
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npy": np.load}[ending](tmp_path / f"x{ending}")
    np.testing.assert_array_equal(np.asarray(read), model.sample(50, 3))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"data": "gone.csv"}, r"gone\.csv: must be a file or a folder of images, got nothing there\."),
    ({"data": "rows.txt"}, r"rows\.txt: must end in \.csv, .* or be a folder of images, got \.txt\."),
    ({"data": "few.csv"}, r"few\.csv: must have the model's columns, missing: column 5; it has column 0, "),
    ({"data": "inf.csv"}, r"inf\.csv: column column 1, line 4: must be a finite number, got infinity\."),
    ({"data": "text.csv"}, r"text\.csv: column column 0, line 3: must be a number, got 'many'\.$"),
    (
        {"data": "far.npy"},
        r"far\.npy: column column 3, row 19: must be a finite number of a usable size, got 1e\+300\.",
    ),
    ({"data": "two.npz"}, r"two\.npz: --array must name one of its arrays: a, b\."),
    ({"data": "two.npz", "array": "c"}, r"two\.npz: --array must be one of a, b, got c\."),
    ({"data": "none.csv"}, r"none\.csv: must have rows, got none\."),
    ({"data": "narrow.npy"}, r"narrow\.npy: must have the shape \(N, 6\), got \(4, 5\)\."),
    ({"data": "torn.parquet"}, r"torn\.parquet: must be a whole Parquet table, got: "),
    ({"data": "torn.npy"}, r"torn\.npy: must be a whole array file, got: "),
    ({"data": "rows.csv", "keep": ("id",)}, r"rows\.csv: must have the columns to keep, missing: id; it has"),
    ({"data": "far.npy", "keep": ("id",)}, r"far\.npy: --keep names columns of a table, got id for an array\."),
    ({"data": "rows.csv", "array": "x"}, r"rows\.csv: --array names an array inside an \.npz file, got a \.csv file\."),
    (
        {"data": "rows.csv", "keep": ("column 1",), "what": "reconstruct"},
        r"--keep column 1: the result has a column of",
    ),
    ({"data": "rows.csv", "keep": ("column 1",), "output": "s.npy"}, r"s\.npy: an array has no room for"),
    ({"data": None}, r"score: must be given the rows"),
    ({"data": "rows.csv", "what": "sample"}, r"sample draws new rows: it takes no data"),
    ({"data": "rows.csv", "what": "guess"}, r"what: must be one of encode, reconstruct, score, sample, got guess\."),
]


@pytest.fixture
def bad_files(rows: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    part = rows[:30]
    write_csv(Path("rows"), part)
    frame_of(part).drop(columns="column 5").to_csv("few.csv", index=False)
    for name, place, value in (("gap", (19, 2), None), ("inf", (2, 1), np.inf), ("text", (1, 0), "many")):
        table = frame_of(part).astype(object)
        table.iloc[place] = value
        table.to_csv(f"{name}.csv", index=False)
    for name, value in (("far", 1e300), ("nan", np.nan)):
        changed = part.copy()
        changed[18, 3] = value
        np.save(f"{name}.npy", changed)
    frame_of(part[:0]).to_csv("none.csv", index=False)
    np.save("narrow.npy", np.zeros((4, 5)))
    np.savez("two.npz", a=part, b=part)
    Path("rows.txt").touch()
    frame_of(part).to_parquet("rows.parquet")
    Path("torn.parquet").write_bytes(Path("rows.parquet").read_bytes()[:-100])
    Path("torn.npy").write_bytes(Path("far.npy").read_bytes()[:-100])
    return tmp_path


@pytest.mark.parametrize("name", ["gap.csv", "nan.npy"])
def test_a_row_with_a_missing_value_has_no_result_and_costs_no_other(name: str, best: Path, bad_files: Path) -> None:
    """It keeps its place with an empty score, and is counted; the others score what they score without it."""
    place = {"gap.csv": 19, "nan.npy": 18}[name]
    done = apply(best, Request("score", bad_files / "s.csv", name))
    assert (done.rows, done.without) == (30, 1)
    scores = pd.read_csv(bad_files / "s.csv")["score"]
    assert np.flatnonzero(scores.isna()).tolist() == [place]
    apply(best, Request("score", bad_files / "whole.csv", "rows.csv"))
    whole = pd.read_csv(bad_files / "whole.csv")["score"]
    np.testing.assert_array_equal(np.delete(scores.to_numpy(), place), np.delete(whole.to_numpy(), place))
    assert done.mean_loss == pytest.approx(scores.mean(), rel=1e-12)


def test_the_service_says_of_no_row_without_a_score_whether_it_is_unusual(best: Path, bad_files: Path) -> None:
    """Neither that it is, nor that it is not; every other row above the threshold is."""
    found = scored(best, bad_files / "gap.csv", 100)
    assert found.threshold is not None and found.anomalies is not None
    assert [place for place, unusual in enumerate(found.anomalies) if unusual is None] == [19]
    known = [(score > found.threshold, unusual) for score, unusual in zip(found.scores, found.anomalies, strict=True)]
    assert all(above == unusual for place, (above, unusual) in enumerate(known) if place != 19)


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_cannot_be_applied_is_one_sentence(
    changes: dict[str, Any], message: str, best: Path, bad_files: Path
) -> None:
    """File, column and row, or the option; the output that stood there stays, and nothing is left beside it."""
    output = bad_files / changes.get("output", "s.csv")
    output.write_text("what was there")
    before = sorted(bad_files.iterdir())
    request = Request(**{"what": "score", **changes, "output": output})
    with pytest.raises(DataError, match=message) as caught:
        apply(best, request)
    assert "\n" not in str(caught.value)
    assert output.read_text() == "what was there"
    assert sorted(bad_files.iterdir()) == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("s.txt", r"s\.txt: must end in \.parquet, \.csv, \.npy, got \.txt\."),
        ("gone/s.csv", r"gone/s\.csv: must be writable, got: No such file or directory\."),
        ("folder.csv", r"folder\.csv: must be a file, got a folder\."),
        ("rows.csv", r"rows\.csv: must be another file than the rows'\."),
    ],
)
def test_an_output_that_cannot_be_is_one_sentence(output: str, message: str, best: Path, bad_files: Path) -> None:
    """Wrong ending, no such folder, a folder in its place, the input itself."""
    (bad_files / "folder.csv").mkdir()
    before = sorted(bad_files.iterdir())
    with pytest.raises(ExportError, match=message):
        apply(best, Request("score", Path(output), "rows.csv"))
    assert sorted(bad_files.iterdir()) == before


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_damaged_graph_is_refused_before_it_is_run(
    damage: str, exported: Callable[[Path], Path], bad_files: Path
) -> None:
    """model.onnx is held against its sha256 before onnxruntime sees a byte of it."""
    folder = exported(bad_files / "best")
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").unlink() if damage == "missing" else (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.onnx: expected (the file that was exported|a file of an export)"):
        apply(folder, Request("score", bad_files / "s.csv", "rows.csv", onnx=True))
    assert apply(folder, Request("score", bad_files / "s.csv", "rows.csv")).rows == 30


def test_without_onnxruntime_it_is_named(best: Path, bad_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxruntime is not installed the sentence says how to get it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"model\.onnx: expected onnxruntime to be installed \(pip install onnxrun"):
        apply(best, Request("score", bad_files / "s.csv", "rows.csv", onnx=True))


def first_form(folder: Path) -> Path:
    """Turn an export into one of the version before: four files, format 1."""
    for name in ("README.md", "density.json", "model.onnx", "model.pt2"):
        (folder / name).unlink()
    card = json.loads((folder / "metrics.json").read_text())
    kept = {name: card["files"][name] for name in ("model.safetensors", "preprocess.json")}
    del card["anomaly"]
    (folder / "metrics.json").write_text(json.dumps({**card, "format": 1, "files": kept}))
    return folder


def test_an_export_of_the_version_before_is_used_as_far_as_it_goes(
    exported: Callable[[Path], Path], winner: Any, bad_files: Path
) -> None:
    """It loads, encodes and scores without a threshold; samples and ONNX say to export again; it can be replaced."""
    folder = first_form(exported(bad_files / "best"))
    assert load_model(folder).threshold is None
    assert apply(folder, Request("score", bad_files / "s.csv", "rows.csv")).anomalies is None
    assert list(pd.read_csv(bad_files / "s.csv")) == ["score"]
    for request in (
        Request("sample", bad_files / "x.csv"),
        Request("score", bad_files / "x.csv", "rows.csv", onnx=True),
    ):
        with pytest.raises(ExportError, match=r"got an export of an earlier version of the tuner; export it again\."):
            apply(folder, request)
    winner.export(folder, force=True)
    assert load_model(folder).threshold is not None


def test_progress_counts_rows(best: Path, rows: Values, tmp_path: Path) -> None:
    """Told after every block, with all rows where the file says how many there are."""
    told: list[tuple[int, int | None]] = []
    source = str(write_parquet(tmp_path / "rows", rows[:40]))
    apply(best, Request("encode", tmp_path / "c.csv", source), lambda done, total: told.append((done, total)))
    assert told == [(16, 40), (32, 40), (40, 40)]
