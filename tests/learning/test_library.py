"""Claims about what is loaded as the compiled step, whether or not it was built here."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tuner.errors import DeviceError
from tuner.learning.native import library as loading
from tuner.learning.native.library import FORMAT, Library, Model

COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "c++", "g++", "clang++"))), None)
THIS_VERSION = FORMAT * 65536 + ctypes.sizeof(Model)


def no_library(path: Path) -> None:
    path.write_text("no library\n")


def compiled(path: Path, code: str) -> None:
    if COMPILER is None:
        pytest.skip("no C compiler here")
    source = path.with_suffix(".c")
    source.write_text(code)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", path, source], check=True)


def of_format(number: int, path: Path) -> None:
    compiled(path, f"long long tuner_format(void) {{ return {number}LL; }}\n")


MADE = {
    "no library": no_library,
    "a library that tells no version": lambda path: compiled(path, "int other(void) { return 0; }\n"),
    "another format": lambda path: of_format(THIS_VERSION + 65536, path),
    "another layout of Model": lambda path: of_format(THIS_VERSION - 4, path),
}


@pytest.mark.parametrize("made", MADE)
def test_a_build_that_is_not_of_this_version_is_refused(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, by name or when the best one is chosen: it would be handed memory."""
    path = tmp_path / "_plain.so"
    MADE[made](path)
    said = f"{path}: the compiled step must be of this version of the tuner; install the tuner again."
    monkeypatch.setattr(loading, "build_path", lambda build: path)
    for load in (lambda: Library(path), loading.library.__wrapped__):
        with pytest.raises(DeviceError, match=f"^{re.escape(said)}$"):
            load()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """It was removed after the installation."""
    with pytest.raises(DeviceError, match="install the tuner again"):
        Library(tmp_path / "_plain.so")


def test_this_version_is_what_the_refusal_asks_for(tmp_path: Path) -> None:
    """The made-up libraries are refused for their version alone: with this one the loading goes on."""
    of_format(THIS_VERSION, tmp_path / "_plain.so")
    with pytest.raises(AttributeError, match="tuner_room"):
        Library(tmp_path / "_plain.so")
