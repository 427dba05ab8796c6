"""Claims about folders for temporary files beside which anybody of the machine may put something."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tuner.execution.scratch import Scratch


def swept(above: Path) -> set[str]:
    """What is left of what lies there once the next process has begun and left."""
    with Scratch("next", above):
        pass
    return {path.name for path in above.iterdir()}


def test_a_plain_leftover_is_removed(tmp_path: Path) -> None:
    """With all that is in it, whether it has a lock's file or none."""
    for name, lock in (("tuner-ray-a", True), ("tuner-ray-b", False)):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "rows").write_bytes(b"rows")
        if lock:
            (tmp_path / name / "in-use").touch()
    assert swept(tmp_path) == set()


def test_the_sweep_makes_no_file_where_a_link_points_to(tmp_path: Path) -> None:
    """Neither by a lock's file that is a link, nor by a folder that is one; and what they point to stays."""
    above, target = tmp_path / "above", tmp_path / "target"
    (above / "tuner-ray-trap").mkdir(parents=True)
    target.mkdir()
    (above / "tuner-ray-trap" / "in-use").symlink_to(target / "made")
    (above / "tuner-ray-link").symlink_to(target)
    assert swept(above) == {"tuner-ray-trap", "tuner-ray-link"}
    assert list(target.iterdir()) == []


def test_what_is_no_folder_stays(tmp_path: Path) -> None:
    """A file of such a name is somebody else's."""
    (tmp_path / "tuner-ray-file").write_bytes(b"theirs")
    assert swept(tmp_path) == {"tuner-ray-file"}
    assert (tmp_path / "tuner-ray-file").read_bytes() == b"theirs"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder somebody else's")
def test_another_users_folder_is_left_alone_and_not_used(tmp_path: Path) -> None:
    """Even by root, who could remove it or write there."""
    (tmp_path / "tuner-ray-theirs").mkdir()
    os.chown(tmp_path / "tuner-ray-theirs", 65534, 65534)
    assert swept(tmp_path) == {"tuner-ray-theirs"}
    with pytest.raises(PermissionError, match="must be a folder of this user"):
        Scratch("theirs", tmp_path)
    assert list((tmp_path / "tuner-ray-theirs").iterdir()) == []


def test_nobody_else_may_look_into_a_folder(tmp_path: Path) -> None:
    """Its mode is 0700, whatever the process' mask leaves."""
    before = os.umask(0)
    try:
        with Scratch("a", tmp_path) as scratch:
            assert stat.S_IMODE(scratch.path.stat().st_mode) == 0o700
    finally:
        os.umask(before)
