"""Claims about the way into a cluster: whatever goes wrong is an error, and no driver waits for ever."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tuner.errors import StoppedError, WorkerError
from tuner.execution import cluster
from tuner.execution.choice import ExecutorChoice, Inline, Processes, Ray, Share, over
from tuner.execution.cluster import RayExecutor

SECONDS = 120


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a port that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_without_a_folder_for_its_files_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be written, as on a full disk: one sentence, at once."""
    monkeypatch.setattr(cluster, "_short_folder", lambda: tmp_path / "none")
    executor = RayExecutor(Ray("auto"), 1)
    with pytest.raises(WorkerError, match=r"executor ray: the cluster cannot be joined: .*none"):
        executor._link.await_cluster()
    executor.end()


def test_what_nobody_thought_of_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that keeps the connection ends, and says so to the driver that waits for it."""

    def fail(_: object) -> None:
        raise RuntimeError("a thing that cannot be")

    monkeypatch.setattr(cluster.Link, "_bridge", fail)
    executor = RayExecutor(Ray("auto"), 1)
    with pytest.raises(WorkerError, match="a thing that cannot be"):
        executor._link.await_cluster()
    executor.end()


def test_a_stop_ends_the_wait_for_a_cluster_that_does_not_answer(silent: str) -> None:
    """It is looked at a few times a second; what was begun to join ends with it."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise StoppedError

    before = set(psutil.Process().children(recursive=True))
    executor = RayExecutor(Ray(silent), 1, check)
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(StoppedError):
        executor._link.await_cluster(check)
    executor.end()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_ctrl_c_is_the_drivers_to_hear_from_the_bridges_first_moment(silent: str) -> None:
    """Sent to the whole group, as a terminal does, while the bridge imports Ray: it lives until the driver ends it."""
    script = f"""if True:
        import os, signal
        from tuner.execution.choice import Ray
        from tuner.execution.cluster import RayExecutor
        from tuner.execution.spawned import Process
        signal.signal(signal.SIGINT, lambda *_: None)
        begun = Process.send
        def send(self, message):  # the bridge's process is there, and is not yet told what to join
            os.killpg(0, signal.SIGINT)
            begun(self, message)
        Process.send = send
        executor = RayExecutor(Ray({silent!r}), 1)
        print(executor._link._settled.wait(3), flush=True)
        executor.end()
    """
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        start_new_session=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "False\n", "")


@pytest.mark.parametrize(
    ("asked", "known", "value"),
    [
        (None, Ray("auto", Share(2), 8), Ray("auto", Share(2), 8)),
        (Ray(), Ray("auto", Share(2), 8), Ray("auto", Share(2), 8)),
        (Ray(slot=Share(1, 0.25)), Ray("auto", Share(2), 8), Ray("auto", Share(1, 0.25), 8)),
        (Ray("head:6379", most=2), Ray("auto", Share(2), 8), Ray("head:6379", Share(2), 2)),
        (Inline(), Ray("auto"), Inline()),
        (Ray("auto"), Processes(), Ray("auto")),
    ],
)
def test_what_is_asked_for_comes_before_what_is_declared(
    asked: ExecutorChoice | None, known: ExecutorChoice, value: ExecutorChoice
) -> None:
    """What is left open of a cluster is as the space file says; another executor has nothing of it."""
    assert over(asked, known) == value


@pytest.mark.parametrize("share", [Share(), Share(2.5), Share(0, 0.25), Share(1, 0.25), Share(2, 1)])
def test_a_share_is_read_as_it_is_written(share: Share) -> None:
    """As the service passes it on to its drivers."""
    assert Share.of(str(share)) == share
