"""Claims about worker processes: where they look for modules, which GPU they see, and that none outlives its driver."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from tuner.execution.executors import usable_cores
from tuner.execution.processes import WorkerProcesses


@pytest.mark.parametrize("place", [Path("/somewhere"), b"/somewhere"])
def test_workers_look_for_modules_where_their_driver_does(monkeypatch: pytest.MonkeyPatch, place: object) -> None:
    """Also where the caller has put something into `sys.path` that names a folder and is no text."""
    monkeypatch.setattr(sys, "path", [*sys.path, place])
    workers = WorkerProcesses(1, os.getpid)
    try:
        assert workers.submit(eval, "__import__('sys').path[-1]").result(60) == "/somewhere"
    finally:
        workers.kill()


def test_workers_do_not_outlive_a_killed_driver(tmp_path) -> None:
    """kill -9 of the process that started them ends idle workers by themselves."""
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from tuner.execution.processes import WorkerProcesses
            workers = WorkerProcesses(2, os.getpid)
            workers.submit(os.getpid).result()
            print("ready", flush=True)
            sys.stdin.read()
            """
        )
    )
    driver = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert len(children) >= 2
    assert not alive


def test_usable_cores_respect_the_affinity() -> None:
    """Never more than the process may run on, and at least one."""
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


SEEN = """
import os, pathlib
pathlib.Path(f"at-{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
while len(list(pathlib.Path().glob("at-*"))) < 3:
    os.sched_yield()
"""


def test_each_worker_sees_one_gpu_of_those_it_is_dealt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers and two GPUs: two share the first."""
    monkeypatch.chdir(tmp_path)
    workers = WorkerProcesses(3, int, ("4", "GPU-7f"))
    try:
        for call in [workers.submit(exec, SEEN) for _ in range(3)]:
            call.result(60)
    finally:
        workers.kill()
    assert sorted(path.read_text() for path in tmp_path.glob("at-*")) == ["4", "4", "GPU-7f"]
