"""A tracking server that is gone, hangs, or cuts its replies: the study does not notice, and MLflow has it all."""

from __future__ import annotations

import contextlib
import itertools
import random
import select
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disturbed import LONG, table
from mlflow import MlflowClient
from studies import tiny

import tuner
from tuner.api.publishing import sync
from tuner.orchestration.launch import Progress
from tuner.tracking.content import milliseconds
from tuner.tracking.dashboard import serve

MODES = ("down", "hang", "cut", "half")
# Longer than the outage on two quiet cores; all of it recorded and shown.
SPEC = tiny(
    data={"source": "sklearn:digits"},
    space={
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": 32,
        "width": {"type": "int", "low": 400, "high": 512},
        "depth": 2,
        "bottleneck": 8,
    },
    search={
        "trials": 40,
        "epochs": 400 if LONG else 50,
        "cohort": 20,
        "seed": 3,
        "sampler": "random",
        "pruner": "none",
    },
)


class Proxy:
    """Passes bytes between a client and a server, or does what a broken network does.

    Attributes:
        mode: `open`; `down`: closes at once; `hang`: takes everything and answers nothing; `cut`: passes the request on
            and closes where the reply should come; `half`: closes in the middle of the reply.
        spoiled: how often each mode spoiled a connection.
    """

    def __init__(self, port: int) -> None:
        self.mode, self.spoiled, self._port = "open", Counter[str](), port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:
            while True:
                ready, _, _ = select.select([client, server], [], [])
                mode = self.mode
                content = ready[0].recv(65_536)
                if not content or mode == "down" or (mode == "cut" and ready[0] is server):
                    self.spoiled[mode] += bool(content)
                    return
                if mode == "hang":
                    self.spoiled[mode] += 1
                    continue
                if mode == "half" and ready[0] is server:
                    client.sendall(content[: len(content) // 2])
                    self.spoiled[mode] += 1
                    return
                (server if ready[0] is client else client).sendall(content)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def proxy(workspace: Path) -> Iterator[Proxy]:
    """Before a real server of MLflow over a store of its own."""
    folder = workspace / "server"
    folder.mkdir()
    shutil.copy(workspace / "mlflow.db", folder / "mlflow.db")
    with serve(f"sqlite:///{folder / 'mlflow.db'}") as server:
        made = Proxy(int(server.url.rpartition(":")[2]))
        yield made
        made.close()


@pytest.mark.parametrize("number", range(10 if LONG else 1))
def test_an_outage_in_mid_study_is_not_seen_in_it(
    number: int,
    proxy: Proxy,
    workspace: Path,
    undisturbed: Callable[..., str],
    chance: random.Random,
    scale: Callable[[int, int], int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tell: Callable[[str], None],
) -> None:
    """15 s of it begin when the first trials are recorded: the table is the undisturbed one, and once the server is
    back MLflow holds every trial's run once and every value once, at its original time; nobody saw a traceback. What
    the network does comes in another order each time."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
    outage, ends = scale(15, 60), [0.0]
    modes = chance.sample(MODES, len(MODES))

    def disturb(progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase == "training" and progress.epochs_per_second > 0 and not ends[0]:
            ends[0] = now + outage
        spoil = ends[0] and now < ends[0]
        proxy.mode = modes[int((ends[0] - now) / outage * len(modes) * 2) % len(modes)] if spoil else "open"

    study = tuner.run(SPEC, workers=2, progress=disturb)
    proxy.mode = "open"
    # How often MLflow is asked meanwhile is up to its client's patience and the length of the study, so to the machine.
    assert sum(proxy.spoiled.values()) > 0
    waited = study.summary.mlflow.waiting
    (done,) = sync()
    assert (done.waiting, done.aside, done.error) == (0, (), None)
    assert done.published >= waited
    assert table(workspace) == undisturbed(SPEC)
    check_runs(MlflowClient(proxy.url), study)
    assert "Traceback" not in "".join(capfd.readouterr())
    spoiled = sum(proxy.spoiled.values())
    tell(f"outage {number + 1}, of {outage} s: {spoiled} connections spoiled, nothing lost, nothing twice")


def check_runs(client: MlflowClient, study: tuner.Study) -> None:
    """Each trial once, each value once, at the time that the ledger has."""
    (experiment,) = [found for found in client.search_experiments() if found.name == study.name]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = Counter(run.info.run_name for run in runs)
    assert names == Counter([study.name, *(f"trial-{record.number:04}" for record in study.records)])
    for run in runs:
        if run.info.run_name == study.name:
            continue
        assert run.info.status == "FINISHED"
        curve = study._curves[int(run.info.run_name.removeprefix("trial-"))]
        history = client.get_metric_history(run.info.run_id, "val_loss")
        found = sorted((point.step, point.value, point.timestamp) for point in history)
        assert found == list(zip(itertools.count(1), curve.val_loss, map(milliseconds, curve.at)))
