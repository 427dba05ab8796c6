"""Claims about damaged data files: finite float32 rows, or one sentence that names the file."""

from __future__ import annotations

import io
import json
import pickle
import random
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from disturbed import FORM
from PIL import Image
from read_damaged import KINDS

from tuner.data.readers import load
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.data import DataSpec

pytestmark = pytest.mark.sample


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_rows_or_one_sentence(
    kind: str,
    tmp_path: Path,
    chance: random.Random,
    scale: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    """No crash, no pickle, no warning, no other exception, no gigabyte, and no file that takes seconds."""
    count, seed = scale(300, 10_000), chance.randrange(2**32)
    command = [sys.executable, Path(__file__).with_name("read_damaged.py"), kind, str(seed), str(count), tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60 + count / 10, check=False)
    at = (tmp_path / "at").read_text()
    assert ended.returncode == 0, f"file {at} ({KINDS[kind][0]} in {tmp_path}); {command}\n{ended.stderr[-3000:]}"
    seen = {"read": 0, "refused": 0, **json.loads(ended.stdout)}
    grown = seen.pop("megabytes")
    assert sum(seen.values()) >= count
    assert seen["read"] > 0 or FORM == "sample"  # too few for one that is damaged and can be read all the same
    assert grown < 200
    tell(f"{count} damaged {kind} files: {seen['refused']} refused, {seen['read']} read, {grown} MB of memory at most")


def npy_that_claims(*shape: int, dtype: str = "<f8") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + b"\0" * 64


def npz_of(member: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", member)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Its checksum is right: only the pixels are missing."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    chunk = len(header[4:]).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\x04IDAT\0\0\0\0" + b"\0" * 64


class Trap:
    """Fails the test where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("a pickle was read",)


def pickled_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[Trap()]] * 4, dtype=object), allow_pickle=True)
    return file.getvalue()


CLAIMS: dict[str, tuple[str, bytes, str]] = {
    "rows": ("x.npy", npy_that_claims(10**12, 3), "must be a whole array file"),
    "columns": ("x.npy", npy_that_claims(3, 10**12), "must be a whole array file"),
    "overflow": ("x.npy", npy_that_claims(2**62, 2**62), "must be a whole array file"),
    "no columns": ("x.npy", npy_that_claims(10**12, 0), "must "),
    "negative": ("x.npy", npy_that_claims(-1, 3), "must be a whole array file"),
    "wide text": ("x.npy", npy_that_claims(3, 1, dtype="<U2000000000"), "must be a whole array file"),
    "archived rows": ("x.npz", npz_of(npy_that_claims(10**12, 3)), "must "),
    "archived columns": ("x.npz", npz_of(npy_that_claims(3, 10**12)), "must "),
    "archived overflow": ("x.npz", npz_of(npy_that_claims(2**62, 2**62)), "must be a whole array file"),
    "pixels": ("images/a.png", png_that_claims(60_000, 60_000), "a.png: must be an image of a usual size"),
    "some pixels": ("images/a.png", png_that_claims(9_000, 9_000), "a.png: must be a whole "),
    "pickle": ("x.npy", pickled_npy(), "must hold plain numbers"),
    "bare pickle": ("x.npy", pickle.dumps([Trap()]), "must hold plain numbers"),
    "archived pickle": ("x.npz", npz_of(pickled_npy()), "must hold plain numbers"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_of_terabytes_is_refused(claim: str, tmp_path: Path) -> None:
    """Small files whose headers are in order, but promise what is not there, or what would run code."""
    name, content, said = CLAIMS[claim]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    source = name.partition("/")[0]
    with pytest.raises(DataError) as error:
        load(DataSpec(source=source), Sources(tmp_path))
    assert str(error.value).startswith(f"{source}: {said}")


def test_an_image_of_another_size_takes_no_memory(tmp_path: Path) -> None:
    """Some hundred bytes that claim 80 million pixels beside a small image: refused for their size, not decoded."""
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images/a.png")
    (tmp_path / "images/b.png").write_bytes(png_that_claims(10_000, 8_000))
    with pytest.raises(
        DataError, match=r"^images: its images must be of one size, got 8 x 8 \(a.png\) and 10000 x 8000"
    ):
        load(DataSpec(source="images"), Sources(tmp_path))


NAMES = {"csv": 'a,"b\nc\x1b[2J"\n1,x\n2,3\n4,5\n', "long csv": f"a,{'b' * 100_000}\n1,x\n2,3\n4,5\n"}


@pytest.mark.parametrize("kind", NAMES)
def test_a_columns_name_cannot_break_the_sentence(kind: str, tmp_path: Path) -> None:
    """Line ends and the terminal's commands in a column's name are written out; a name of pages is cut."""
    (tmp_path / "t.csv").write_text(NAMES[kind])
    with pytest.raises(DataError) as error:
        load(DataSpec(source="t.csv"), Sources(tmp_path))
    said = str(error.value)
    assert said.startswith("t.csv: column b")
    assert said.isprintable()
    assert "must be a number, got 'x'; leave the column out with" in said or len(said) < 1000


def test_a_home_folder_of_nobody_is_a_sentence(tmp_path: Path) -> None:
    """A source that begins with ~ and the name of no user."""
    with pytest.raises(DataError, match=r"^~nobody-of-this-name/t\.csv: must begin with the home folder of a user"):
        load(DataSpec(source="~nobody-of-this-name/t.csv"), Sources(tmp_path))
