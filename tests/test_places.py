"""Claims about PLACES.md and slow.txt: every test file has a place, and commands are the Makefile's."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TEXT = (HERE / "PLACES.md").read_text(encoding="utf-8")
PLACES = dict(re.findall(r"^\| `(tests/[^`]*)` \|[^|]*\| (.*) \|$", TEXT, re.MULTILINE))
FILES = sorted(f"tests/{path.relative_to(HERE)}" for path in HERE.rglob("test_*.py"))


def place_of(file: str) -> str:
    return max((place for place in PLACES if file.startswith(place)), key=len, default="")


def test_every_test_file_has_a_place_and_a_command() -> None:
    """The longest place that its path begins with names a target of the Makefile."""
    assert [file for file in FILES if not place_of(file)] == []
    targets = set(re.findall(r"^([a-z-]+):", (HERE.parent / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {command for commands in PLACES.values() for command in re.findall(r"`make ([a-z-]+)`", commands)}
    assert {"test", "faults"} <= named <= targets


def test_no_place_is_empty() -> None:
    """What is listed is there: a file, a folder, or what file names begin with."""
    assert [place for place in PLACES if not any(file.startswith(place) for file in FILES)] == []


def test_what_is_marked_is_listed_by_its_file() -> None:
    """Files with a test that is run elsewhere than its neighbours have a line of their own."""
    marked = [file for file in FILES if re.search(r"pytest\.mark\.(long|sample)", (HERE.parent / file).read_text())]
    assert "tests/test_gpu_check.py" in marked
    assert [file for file in marked if file not in PLACES and file != "tests/test_places.py"] == []


def test_what_is_listed_as_slow_is_there() -> None:
    """Each line names a test, in order and once: one that was renamed would be run by the wrong command."""
    lines = (HERE / "slow.txt").read_text(encoding="utf-8").split()
    assert lines == sorted(set(lines))
    for line in lines:
        file, _, name = line.partition("::")
        assert f"def {name}(" in (HERE.parent / file).read_text(encoding="utf-8"), line
