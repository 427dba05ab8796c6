"""Claims about a system that refuses to start a thread: a sentence, exit code 1, and the study is nobody's."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from studies import tiny

import tuner
from tuner.errors import HelperError
from tuner.waiting import started

REFUSALS = [RuntimeError("can't start new thread"), MemoryError()]


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Let no thread of that name start."""
    start = threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if thread.name == name:
            raise error
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)


@pytest.mark.parametrize("name", ["tuner-abandonable", "tuner-lease", "tuner-control", "tuner-publisher"])
def test_a_thread_that_cannot_start_ends_the_run_and_frees_the_study(
    name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run, in the same process, goes on to the end."""
    declared = tiny(search={"trials": 3, "epochs": 2})
    with monkeypatch.context() as patch:
        refuse(patch, name, REFUSALS[0])
        with pytest.raises(HelperError, match="a thread must be started, but the system refuses") as refused:
            tuner.run(declared, workers=0)
    assert refused.value.exit_code == 1
    with closing(sqlite3.connect("tuner.db")) as connection:
        assert [owner for (owner,) in connection.execute("SELECT owner FROM tuner_lease") if owner] == []
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("tuner-lease", "tuner-control")]
    assert tuner.run(declared, workers=0).state == "finished"


@pytest.mark.parametrize("error", REFUSALS)
def test_whatever_refuses_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to do."""
    refuse(monkeypatch, "x", error)
    with pytest.raises(HelperError) as refused:
        started(threading.Thread(name="x"))
    assert str(refused.value) == (
        "a thread must be started, but the system refuses (threads or memory are at their limit); end other programs,"
        " or raise the limit."
    )
