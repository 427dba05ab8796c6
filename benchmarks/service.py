"""A service under load: many studies in its queue, people who look, and what the service itself takes meanwhile.

    python benchmarks/service.py [--studies 50] [--trials 50] [--lookers 20] [--slots 2] [--json FILE]

`tuner serve` with its supervisor in a folder of its own, on SQLite. Studies of the digits, two cohorts and a final
stage each, are handed in at once; every looker reads the list and a study's page of answers every two seconds, and as
many listen to everything. Said afterwards: the reads' times, the processor time of server and supervisor against that
of the runs, the server's memory, and whether every study has its trials.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
EVERY = 2.0  # seconds between two reads of a looker
SPACE: dict[str, Any] = {
    "data": {"source": "sklearn:digits"},
    "space": {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": 64,
        "depth": {"type": "int", "low": 1, "high": 2},
        "width": {"type": "int", "low": 16, "high": 64, "log": True},
        "bottleneck": 8,
    },
}


@dataclass
class Used:
    """Processor seconds of processes, by number; the last that was seen of each counts."""

    seconds: dict[int, float] = field(default_factory=dict)

    def look(self, process: psutil.Process) -> None:
        """Take what it has used so far."""
        try:
            times = process.cpu_times()
        except psutil.Error:
            return
        self.seconds[process.pid] = times.user + times.system

    @property
    def total(self) -> float:
        """Of all of them."""
        return sum(self.seconds.values())


class Service:
    """A server in a folder, and what it and its runs have used."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.folder = folder
        places = {"TUNER_DATABASE_URL": "sqlite:///tuner.db", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
        self.environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = ["serve", "--port", "0", "--slots", str(slots), "--workers", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tuner", *command], cwd=folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        made = subprocess.run(
            [sys.executable, "-P", "-m", "tuner", "token", "new", "bench", "--role", "admin"], cwd=folder,
            env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        self.own, self.runs = Used(), Used()
        self.memory: list[int] = []  # bytes

    def client(self) -> httpx.Client:
        """A client with a token."""
        return httpx.Client(base_url=f"{self.address}/api/v1", headers=self.headers, timeout=60)

    def look(self) -> None:
        """Take what every process has used so far."""
        server = psutil.Process(self.process.pid)
        self.own.look(server)
        self.memory.append(server.memory_info().rss)
        for supervisor in server.children():
            self.own.look(supervisor)
            for run in supervisor.children(recursive=True):
                self.runs.look(run)

    def end(self) -> None:
        """End the server."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def read_again(service: Service, over: threading.Event, seconds: dict[str, list[float]], first: float) -> None:
    """A looker: the list, and one study after the other."""
    over.wait(first)
    with service.client() as client:
        for turn in itertools.count():
            listed = timed(client, "/studies?limit=100", seconds["list"])
            names = [study["name"] for study in listed["studies"]]
            if names:
                timed(client, f"/studies/{names[turn % len(names)]}", seconds["study"])
            if over.wait(EVERY):
                return


def timed(client: httpx.Client, path: str, seconds: list[float]) -> Any:
    """An answer, and how long it took."""
    began = time.perf_counter()
    answer = client.get(path)
    seconds.append(time.perf_counter() - began)
    answer.raise_for_status()
    return answer.json()


def listen(service: Service, over: threading.Event, lines: list[int]) -> None:
    """A stream of everything, until it ends with the server."""
    count = 0
    # The server's end is the stream's, whatever it was sending.
    with suppress(httpx.HTTPError), service.client() as client, client.stream("GET", "/events", timeout=None) as stream:
        for line in stream.iter_lines():
            count += line.startswith("data:")
            if over.is_set():
                break
    lines.append(count)


def submit(service: Service, studies: int, trials: int) -> float:
    """Hand all of them in; the seconds that it took."""
    began = time.perf_counter()
    with service.client() as client:
        for number in range(studies):
            search = {"trials": trials, "epochs": 5, "seed": number}
            declared = {"name": f"study-{number:03}", **SPACE, "search": search, "final": {"top": 1, "seeds": 2}}
            client.post("/studies", json=declared).raise_for_status()
    return time.perf_counter() - began


def wait_for(service: Service, studies: int) -> list[dict[str, Any]]:
    """Every study at rest, as the list shows it; asked for once in two seconds, as a looker does."""
    with service.client() as client:
        while True:
            for _ in range(4):
                service.look()
                time.sleep(EVERY / 4)
            listed: list[dict[str, Any]] = client.get("/studies?limit=1000").json()["studies"]
            if len(listed) == studies and all(each["state"] in ("finished", "failed") for each in listed):
                return listed


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One service's life."""
    service = Service(folder, args.slots)
    over = threading.Event()
    seconds: dict[str, list[float]] = {"list": [], "study": []}
    lines: list[int] = []
    readers = [
        threading.Thread(target=read_again, args=(service, over, seconds, EVERY * number / args.lookers))
        for number in range(args.lookers)
    ]
    listeners = [threading.Thread(target=listen, args=(service, over, lines), daemon=True) for _ in range(args.lookers)]
    began = time.perf_counter()
    try:
        handed_in = submit(service, args.studies, args.trials)
        for person in (*readers, *listeners):
            person.start()
        rested = wait_for(service, args.studies)
    finally:
        over.set()
        for reader in readers:
            if reader.ident is not None:
                reader.join()
        service.end()
    whole = sum(each["ended"] == args.trials and each["state"] == "finished" for each in rested)
    half = len(service.memory) // 2
    return {
        "studies": args.studies,
        "finished with all trials": whole,
        "seconds": time.perf_counter() - began,
        "handed in, seconds": handed_in,
        "reads": {name: len(each) for name, each in seconds.items()},
        "read, p95 ms": {name: float(np.percentile(each, 95)) * 1000 for name, each in seconds.items()},
        "read, median ms": {name: float(np.median(each)) * 1000 for name, each in seconds.items()},
        "server and supervisor, processor seconds": service.own.total,
        "runs, processor seconds": service.runs.total,
        "share": service.own.total / service.runs.total,
        "server, MB at half time and at the end": [service.memory[half] / 1e6, service.memory[-1] / 1e6],
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--lookers", type=int, default=20)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="service-", ignore_cleanup_errors=True) as folder:
        found = measured(args, Path(folder))
    text = json.dumps(found, indent=1)
    sys.stdout.write(f"{text}\n")
    if args.json is not None:
        args.json.write_text(text)


if __name__ == "__main__":
    main()
