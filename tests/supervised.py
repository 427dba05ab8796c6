"""Studies that are handed in to the service and run by supervisors: real ones, in processes or threads."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
from disturbed import is_worker, start_tuner
from studies import IRIS

from tuner.api.workspace import workspace as workspace_of
from tuner.ledger.ledger import Ledger
from tuner.ledger.submissions import ExecutorName, Submission
from tuner.service.supervisor import Supervisor, SupervisorOptions

T = TypeVar("T")
PATIENCE = 180.0  # seconds: far more than anything here takes
SPARED = 3  # drivers in a row that came to nothing: the fifth would be given up, as it should
ENDED = {0, 128 + signal.SIGTERM, -signal.SIGTERM}  # the latter two before it had begun to supervise


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first answer that is true; looks twenty times a second."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} seconds for: {what}"
        time.sleep(0.05)
    return found


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    """The ledger of a folder."""
    ledger = Ledger.open(f"sqlite:///{folder / 'tuner.db'}", folder=folder)
    try:
        yield ledger
    finally:
        ledger.close()


def hand_in(
    ledger: Ledger, spec: dict[str, Any], data: str = "iris", executor: ExecutorName | None = None
) -> Submission:
    """Hand a study of registered data in, as the service does; iris is registered by that name."""
    ledger.datasets.add("iris", str(IRIS), 3, "test")
    text = json.dumps({**spec, "data": {"source": f"dataset:{data}"}})
    return ledger.submissions.submit(spec["name"], text, "test", executor=executor)[0]


def now(ledger: Ledger, name: str) -> Submission:
    """A submission as it is now."""
    found = ledger.submissions.get(name)
    assert found is not None
    return found


def rest(ledger: Ledger, name: str) -> Submission:
    """A submission that came to rest."""
    return until(lambda: _resting(now(ledger, name)), f"{name} to come to rest")


def rests_within(ledger: Ledger, name: str, seconds: float) -> Submission | None:
    """A submission that came to rest by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        each = now(ledger, name)
        if each.outcome is not None:
            return each
        time.sleep(0.05)
    return None


def killable(ledger: Ledger, server: int, name: str) -> dict[str, int]:
    """The processes of a service that are there and may be killed: its supervisor, and a study's driver and worker."""
    each, holder = now(ledger, name), ledger.supervision.holder() or ""
    there = {"supervisor": int(holder.split()[1]), "server": server} if holder else {}
    if each.driver is not None and each.driver.is_alive():
        workers = [child.pid for child in _children(each.driver.pid) if is_worker(child)]
        there |= {"worker": workers[0]} if workers else {}
        there |= {"driver": each.driver.pid} if each.attempts < SPARED else {}
    return there


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.Error:
        return []


def _resting(each: Submission) -> Submission | None:
    return each if each.outcome is not None and each.driver is None else None


def training(ledger: Ledger, name: str) -> int:
    """The process of a study's driver, once something was recorded of its training."""

    def begun() -> int | None:
        standing = ledger.standings.of(now(ledger, name).id)
        assert standing is not None
        driver = standing.submission.driver
        return driver.pid if driver is not None and standing.is_leased and standing.segments else None

    return until(begun, f"{name} to train") or 0


def start_supervisor(folder: Path, *options: str) -> subprocess.Popen[str]:
    """`tuner supervise` in the background."""
    return start_tuner(folder, "supervise", *options)


@contextmanager
def supervisor_process(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`tuner supervise`; it ends by itself when it is told to."""
    process = start_supervisor(folder, *options)
    try:
        yield process
        process.terminate()
        assert process.wait(60) == 0, (folder / "out.txt").read_text()
    finally:
        process.kill()
        process.wait()


@contextmanager
def supervisor_thread(folder: Path, **options: Any) -> Iterator[None]:
    """A supervisor in this process, whose drivers end with it."""
    stop = threading.Event()
    chosen = SupervisorOptions(**{"workers": 0, "grace": 20.0, "stop_drivers": True, **options})
    thread = threading.Thread(target=Supervisor(workspace_of(folder), chosen).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
