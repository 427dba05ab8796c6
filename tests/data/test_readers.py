"""Claims about readers: the numbers of the file, or one sentence with file, column and row."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tuner.data.dataset import Dataset
from tuner.data.readers import BUNDLED, load
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.data import DataSpec

TABLE = "a,b,c\n1,2.5,3\n4,5e-1,6\n7,8,9\n"


def read(folder: Path, name: str, content: bytes | str | None = None, **block: object) -> Dataset:
    if content is not None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return load(DataSpec.model_validate({"source": name, **block}), Sources(folder))


def test_a_name_that_the_locale_cannot_write_says_so(tmp_path: Path) -> None:
    """Under LC_ALL=C without Python's UTF-8 mode a file that is there cannot be named: the sentence says why."""
    (tmp_path / "donn\u00e9es.csv").write_text(TABLE)
    look = "import sys; from tuner.data.readers import load\n"
    look += "from tuner.data.sources import Sources; from tuner.spec.data import DataSpec\n"
    look += "try: load(DataSpec(source='donn\\xe9es.csv'), Sources(__import__('pathlib').Path(sys.argv[1])))\n"
    look += "except Exception as error: print(type(error).__name__, ascii(str(error)))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", look, str(tmp_path)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.startswith("DataError")
    assert "a name that file names cannot have in this locale (encoding ascii" in said
    assert "set LC_ALL=C.UTF-8, or rename the file" in said


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def npz(**named: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in named.items()})
    return file.getvalue()


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_read_without_a_network(name: str, tmp_path: Path) -> None:
    """Names, shape and numbers agree."""
    data = load(DataSpec(source=f"sklearn:{name}"), Sources(tmp_path))
    assert data.values.shape[1] == len(data.names) == np.prod(data.shape)
    assert (data.shape == (8, 8)) == (name == "digits")


@pytest.mark.parametrize(
    "text", [TABLE, "\ufeff" + TABLE, TABLE.replace(",", ";"), TABLE.replace(",", "\t"), TABLE.replace("\n", "\r\n")]
)
def test_a_csv_is_read_whatever_its_dialect(text: str, tmp_path: Path) -> None:
    """Commas, semicolons, tabs, byte order marks, Windows' lines: the same numbers, exactly."""
    data = read(tmp_path, "t.csv", text)
    assert data.names == ("a", "b", "c")
    assert data.values.tolist() == [[1, 2.5, 3], [4, 0.5, 6], [7, 8, 9]]


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    """`columns` keeps, `exclude` leaves out, in the file's order; text may stand in what is left out."""
    text = TABLE.replace("7,8,9", "7,x,9")
    assert read(tmp_path, "t.csv", text, exclude=["b"]).names == ("a", "c")
    assert read(tmp_path, "t.csv", text, columns=["c", "a"]).names == ("a", "c")


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    """CSV, Parquet, .npy and .npz of one table."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["a", "b", "c"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.npy").write_bytes(npy(frame))
    (tmp_path / "t.npz").write_bytes(npz(x=frame, y=[1]))
    for name, block in {"t.csv": {}, "t.parquet": {}, "t.npy": {}, "t.npz": {"array": "x"}}.items():
        assert (read(tmp_path, name, **block).values == frame.to_numpy()).all()


def test_arrays_keep_their_rows_shape(tmp_path: Path) -> None:
    """(N, 4, 5) is N rows of 4 x 5."""
    data = read(tmp_path, "x.npy", npy(np.arange(60, dtype=np.uint8).reshape(3, 4, 5)))
    assert data.shape == (4, 5)
    assert data.values.shape == (3, 20)
    assert data.names[7] == "x1_2"


def idx(array: np.ndarray, kind: int = 0x08, type_: str = ">u1") -> bytes:
    """As the format's own page describes it: magic, big-endian sizes, values."""
    return bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(type_).tobytes()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-images.idx3-ubyte", "x.idx", "X-IDX3-UBYTE.GZ"])
def test_idx_files_are_read_by_any_of_their_names(name: str, tmp_path: Path) -> None:
    """Plain or gzipped, the pixels of (N, H, W) images are N rows of that shape."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 4, 3))
    content = idx(pixels)
    data = read(tmp_path, name, gzip.compress(content) if name.endswith("GZ") else content)
    assert data.shape == (4, 3)
    assert (data.values == pixels.reshape(5, 12)).all()


@pytest.mark.parametrize(("kind", "type_"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_idx_values_of_every_type_are_read(kind: int, type_: str, tmp_path: Path) -> None:
    """Signed, wide and real values, all big-endian."""
    values = np.random.default_rng(0).integers(-100, 100, size=(6, 2))
    assert (read(tmp_path, "x.idx", idx(values, kind, type_)).values == values).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must begin as an IDX file does"),
        (b"\0\0\x07\2" + bytes(8), "must begin as an IDX file does"),
        (idx(np.zeros((5, 4)))[:10], "ends within its header"),
        (idx(np.zeros((5, 4)))[:-1], "must hold 20 bytes behind its header, got 19"),
        (idx(np.zeros((5, 4))) + b"x", "must hold 20 bytes behind its header, got more"),
        (b"\0\0\x08\3" + b"\xff" * 12, "bytes behind its header, got 0"),
        (idx(np.zeros(5)), "must have rows and columns"),
    ],
)
def test_a_damaged_idx_file_is_one_sentence(content: bytes, said: str, tmp_path: Path) -> None:
    """Also one that claims to be larger than any memory."""
    with pytest.raises(DataError, match=said) as error:
        read(tmp_path, "x.idx", content)
    assert str(error.value).startswith("x.idx: must ")


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A megabyte of zeros behind a header that promises 20 bytes is refused after the first of them."""
    bomb = gzip.compress(idx(np.zeros((5, 4))) + bytes(2**20))
    with pytest.raises(DataError, match="got more"):
        read(tmp_path, "x-idx2-ubyte.gz", bomb)


def test_folders_of_images_are_read_by_name(tmp_path: Path) -> None:
    """Grey stays grey, one coloured image makes all coloured, other files are passed over."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(4, 5, 6), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{3 - number}.png")
    (tmp_path / "images" / "notes.txt").write_text("x")
    grey = read(tmp_path, "images")
    assert grey.shape == (5, 6)
    assert (grey.values == pixels[::-1].reshape(4, 30)).all()
    Image.fromarray(np.stack([pixels[0]] * 3, axis=2)).save(tmp_path / "images" / "9.png")
    assert read(tmp_path, "images").shape == (5, 6, 3)


def numbered(rows: int, **cells: str) -> str:
    """A table of columns a and b, with `b5="x"` in column b of line 5."""
    lines = ["a,b"]
    for line in range(2, rows + 2):
        lines.append(f"{cells.get(f'a{line}', line)},{cells.get(f'b{line}', line * 2)}")
    return "\n".join(lines) + "\n"


REFUSED: list[tuple[str, bytes | str, dict[str, object], str]] = [
    ("t.csv", numbered(9, b5="x"), {}, "t.csv: column b, line 5: must be a number, got 'x'; leave the column out with `exclude: [b]`."),  # noqa: E501
    ("t.csv", numbered(9, a3=""), {}, "t.csv: column a, line 3: must be a number, got a missing value (1 in this column)."),  # noqa: E501
    ("t.csv", numbered(9, a3="nan"), {}, "t.csv: column a, line 3: must be a number, got a missing value (1 in this column)."),  # noqa: E501
    ("t.csv", numbered(9, a4="inf"), {}, "t.csv: column a, row 3: must be a finite number, got infinity (1 such values in all)."),  # noqa: E501
    ("t.csv", numbered(9, a4="2026-01-02"), {}, "t.csv: column a, line 4: must be a number, got '2026-01-02'; leave"),
    ("t.csv", "a,b\n1,2\n3,4,5\n6,7\n", {}, "t.csv: must be a whole CSV table, got: "),
    ("t.csv", "a,b\n", {}, "t.csv: must have rows, got a table without any."),
    ("t.csv", "", {}, "t.csv: must be a CSV table that begins with a header line, got an empty line or file."),
    ("t.csv", "1,2\n3,4\n5,6\n", {}, "t.csv: must begin with a header line that names its columns, got numbers (1, 2, ...)."),  # noqa: E501
    ("t.csv", ",a\n0,1\n1,2\n2,3\n", {}, "t.csv: its header must name every column, got none for column 1 (pandas: to_csv(index=False))."),  # noqa: E501
    ("t.csv", "a,a\n0,1\n", {}, "t.csv: its header must name every column once, got a more than once."),
    ("t.csv", "a,b\n1,1\n1,1\n1,1\n", {}, "t.csv: must hold rows that differ, got 3 equal ones."),
    ("t.csv", "a,b\n1,2\n", {}, "t.csv: must have at least 3 rows and 1 column, got 1 and 2."),
    ("t.csv", TABLE, {"columns": ["a", "bb"]}, "t.csv: data.columns: there is no column bb; did you mean b?"),
    ("t.csv", TABLE, {"exclude": ["a", "b", "c"]}, "t.csv: must keep at least one column, but data.exclude names them all."),  # noqa: E501
    ("t.csv", TABLE, {"array": "x"}, "t.csv: data.array names an array inside an .npz file, got a .csv file."),
    ("t.csv", b"a,b\n1,\xff\n", {}, "t.csv: must be a whole CSV table, got: "),
    ("t.parquet", b"PAR1", {}, "t.parquet: must be a whole Parquet table, got: "),
    ("t.odt", "x", {}, "t.odt: must end in .csv, .tsv, .txt, .tab, .dat, .data, .parquet, .pq, .feather, .arrow, .ipc, .xlsx, .xlsm, .xls, .npy, .npz, .idx or be a folder of images, got .odt."),  # noqa: E501
    ("x.npy", npy([1.0, 2.0]), {}, "x.npy: must have rows and columns, got an array of 1 dimension(s); use reshape(-1, 1)."),  # noqa: E501
    ("x.npy", npy([[1j, 2], [3, 4]]), {}, "x.npy: must hold real numbers, got an array of complex128."),
    ("x.npy", npy([["a"], ["b"]]), {}, "x.npy: must hold real numbers, got an array of <U1."),
    ("x.npy", npy([[1.0, np.nan]] * 3), {}, "x.npy: column x1, row 1: must be a finite number, got a missing value (3 such values in all); say data.missing: mask"),  # noqa: E501
    ("x.npy", npy(np.array([[{}]], dtype=object)), {}, "x.npy: must hold plain numbers; arrays of objects are pickled"),
    ("x.npy", pickle.dumps([1]), {}, "x.npy: must hold plain numbers; arrays of objects are pickled"),
    ("x.npy", npy([[1.0], [2.0]]), {"columns": ["a"]}, "x.npy: data.columns and data.exclude choose columns of a table by name"),  # noqa: E501
    ("x.npz", npz(a=[1], b=[2]), {}, "x.npz: data.array must name one of its arrays: a, b."),
    ("x.npz", npz(a=[1]), {"array": "c"}, "x.npz: data.array must be one of a, got c."),
    ("x.npz", npy([[1.0]]), {}, "x.npz: must be an archive of arrays, got a single one; name it .npy."),
    ("x.npy", npz(a=[[1.0]]), {}, "x.npy: must be one array, got an archive; name it .npz."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "block", "said"), REFUSED)
def test_what_cannot_be_learnt_from_is_one_sentence(name, content, block, said, tmp_path: Path) -> None:
    """File, column and row, what was expected and what came."""
    with pytest.raises(DataError) as error:
        read(tmp_path, name, content, **block)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_places_that_hold_no_data(tmp_path: Path) -> None:
    """A missing file, an empty folder, a pipe, an unknown bundled set."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "empty").mkdir()
    for name, said in {
        "none.csv": "none.csv: must be a file or folder beside the space file, got: No such file",
        "empty": "empty: must hold .png or .jpg files, got none.",
        "pipe.csv": "pipe.csv: must be a regular file or a folder.",
        "sklearn:digit": "did you mean sklearn:digits?",
        "sklearn:mnist": "must be one of sklearn:digits",
    }.items():
        with pytest.raises(DataError) as error:
            read(tmp_path, name)
        assert said in str(error.value)


def test_images_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """Two sizes, a torn file."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder / "a.png")
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(folder / "b.png")
    with pytest.raises(
        DataError, match=r"images: its images must be of one size, got 6 x 5 \(a.png\) and 7 x 5 \(b.png\)."
    ):
        read(tmp_path, "images")
    (folder / "a.png").write_bytes(png(folder))
    (folder / "b.png").write_bytes(png(folder)[:90])
    with pytest.raises(DataError, match=r"images: b.png: must be a whole PNG or JPEG image"):
        read(tmp_path, "images")


def png(_: Path) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(8, 8), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def parquet(folder: Path) -> bytes:
    pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["a", "b", "c"]).to_parquet(folder / "made")
    return (folder / "made").read_bytes()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("t.csv", lambda _: TABLE.encode()),
        ("t.parquet", parquet),
        ("x.npy", lambda _: npy(np.random.default_rng(0).normal(size=(9, 3)))),
        ("x.npz", lambda _: npz(a=np.random.default_rng(0).normal(size=(9, 3)))),
        ("images/a.png", png),
    ],
)
def test_damaged_files_are_data_or_one_sentence(name: str, make: Callable[[Path], bytes], tmp_path: Path) -> None:
    """200 flips, cuts and insertions in each format: numbers that are finite, or DataError, and nothing else."""
    content, chance = make(tmp_path), random.Random(name)
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(tmp_path))
    source = name.partition("/")[0]
    for _ in range(200):
        damaged = bytearray(content)
        at, kind = chance.randrange(len(damaged)), chance.randrange(3)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del damaged[at:]
        else:
            damaged[at:at] = chance.randbytes(chance.randint(1, 8))
        (tmp_path / name).write_bytes(damaged)
        try:
            assert np.isfinite(read(tmp_path, source).values).all()
        except DataError as error:
            assert "\n" not in str(error)
