"""How many trials a second one driver can feed to a cluster: a study's whole run over slots that only wait.

    python benchmarks/cluster.py                                             2, 100 and 1,000 slots, some minutes
    python benchmarks/cluster.py --slots 100 --trials 50000 --seconds 0      the ceiling in a long study
    python benchmarks/cluster.py --slots 1000 --seconds 5 --postgres         slots that are busy, ledger on Postgres
    python benchmarks/cluster.py --profile driver.prof --slots 100           and where the driver's time goes

Declaration, search, ledger, outbox and publisher are the product's own, by its own `launch`; only the executor is made
up. A slot waits a stated time for each segment and answers losses that follow from the trial's parameters and seed,
with a state of a stated size; one thread keeps the time of all slots. Times are from the first segment handed out to
the end of the search; processor time is that of this whole process, publisher included, and of the driver's thread.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import heapq
import json
import math
import os
import pickle
import resource
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from sqlalchemy import Connection, Engine, event

from tuner.api.workspace import workspace
from tuner.execution.base import Alive
from tuner.execution.choice import Inline
from tuner.execution.context import Workplace
from tuner.ledger.ledger import Ledger
from tuner.ledger.outbox import Outbox
from tuner.orchestration.launch import launch
from tuner.orchestration.plan import LaunchPlan
from tuner.spec.reader import spec_from_mapping
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult, Trial
from tuner.tracking.publisher import Publisher
from tuner.tracking.store import ensure_store

ROOT = Path(__file__).resolve().parents[1]
SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128]},
    "depth": {"type": "int", "low": 1, "high": 4},
    "width": {"type": "int", "low": 16, "high": 512, "log": True},
    "activation": {"type": "categorical", "choices": ["relu", "gelu", "tanh"]},
    "bottleneck": 4,
    "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    "input_noise": {"type": "float", "low": 0.0, "high": 0.3},
}
EPOCHS, COHORT, MOST_IN_FLIGHT = 27, 27, 64
FEW = 10  # records: of the study itself there are no more
WEIGHED = 50  # of so many segments one is pickled, to know what all of them weigh


@dataclass(frozen=True)
class Case:
    """One study on one cluster.

    Attributes:
        sampler: what proposes.
        trials: of the search.
        slots: segments that are trained at the same time.
        seconds: that a slot waits for each segment; 0 answers at once, which is the driver's ceiling.
        state_bytes: of a trial's state.
        publishes: whether what is recorded is published meanwhile.
        database: the ledger's address.
        in_flight: cohorts at once; None for as many as fill every slot, up to the most that can be declared.
    """

    sampler: str
    trials: int
    slots: int
    seconds: float
    state_bytes: int
    publishes: bool
    database: str
    in_flight: int | None = None

    @property
    def declared(self) -> dict[str, Any]:
        """The study."""
        in_flight = self.in_flight or min(MOST_IN_FLIGHT, max(2, math.ceil(2 * self.slots / COHORT)))
        search = {"trials": self.trials, "epochs": EPOCHS, "sampler": self.sampler, "in_flight": in_flight}
        return {"name": "cluster", "data": {"source": "memory"}, "space": SPACE, "search": search, "final": "none"}


@dataclass(frozen=True)
class States:
    """States that lie elsewhere: the driver knows their names alone."""

    size: int

    def put(self, name: str, _content: bytes, epoch: int) -> Checkpoint:
        """The record of one."""
        return Checkpoint(f"store://{name}", hashlib.sha256(name.encode()).hexdigest(), epoch)

    def get(self, _: Checkpoint) -> bytes | None:
        """It was made up."""
        return None

    def has(self, _: Checkpoint) -> bool:
        """So there is none."""
        return False

    def remove(self, _: Iterable[Checkpoint]) -> None:
        """Nothing lies here."""


@dataclass
class Weighed:
    """Bytes of the segments that were weighed, out and back, with their states."""

    count: int = 0
    bytes: int = 0

    def look(self, segment: Segment, states: Sequence[Sequence[Checkpoint]], result: SegmentResult, state: int) -> None:
        """Take one segment in so many."""
        self.count += 1
        if self.count % WEIGHED == 1:
            travels = sum(bool(each) for each in states) + sum(curve.checkpoint is not None for curve in result.curves)
            self.bytes += len(pickle.dumps((segment, states))) + len(pickle.dumps(result)) + travels * state

    @property
    def of_all(self) -> float:
        """An estimate of all segments' bytes."""
        weighed = -(-self.count // WEIGHED)
        return self.bytes / weighed * self.count if weighed else 0.0


class Slots:
    """Segments wait for a free slot, then for their time; one thread looks after all of them."""

    def __init__(self, slots: int, seconds: float) -> None:
        self._free, self._seconds = slots, seconds
        self._waiting: deque[tuple[Future[SegmentResult], Segment]] = deque()
        self._running: list[tuple[float, int, Future[SegmentResult], Segment]] = []
        self._changed, self._ended, self._order = threading.Condition(), False, 0
        self._thread = threading.Thread(target=self._work, name="slots", daemon=True)
        self._thread.start()

    def put(self, segment: Segment) -> Future[SegmentResult]:
        """Train it in the next slot that is free."""
        future: Future[SegmentResult] = Future()
        with self._changed:
            self._waiting.append((future, segment))
            self._changed.notify()
        return future

    def end(self) -> None:
        """Send the thread home."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ended and not (due := self._due()):
                    self._changed.wait(self._running[0][0] - time.monotonic() if self._running else None)
                if self._ended:
                    return
            for future, segment in due:
                future.set_result(answer(segment, self._seconds))

    def _due(self) -> list[tuple[Future[SegmentResult], Segment]]:
        """Fill the free slots, and take what has had its time."""
        now = time.monotonic()
        while self._waiting and self._free:
            future, segment = self._waiting.popleft()
            self._free, self._order = self._free - 1, self._order + 1
            heapq.heappush(self._running, (now + self._seconds, self._order, future, segment))
        due = []
        while self._running and self._running[0][0] <= now:
            due.append(heapq.heappop(self._running)[2:])
            self._free += 1
        return due


def answer(segment: Segment, seconds: float) -> SegmentResult:
    """What a worker would send, from parameters and seed alone."""
    curves = tuple(curve(trial, segment.first, segment.last) for trial in segment.trials)
    return SegmentResult(curves, seconds, "slot")


def curve(trial: Trial, first: int, last: int) -> Curve:
    """Losses that fall towards a value which the point and the seed decide."""
    point = trial.point
    floor = 1 + abs(math.log10(point.learning_rate) + 2.5) + abs(math.log2(point.width / 300)) + 0.3 / point.depth
    floor += trial.seed % 1000 / 10_000
    losses = tuple(floor + 1 / epoch for epoch in range(first + 1, last + 1))
    state = States(0).put(f"{trial.number}-{last}", b"", last)
    return Curve(trial.number, first, losses, losses, (time.time(),) * len(losses), False, state)


@dataclass
class Clock:
    """A moment: the wall's, this process' and this thread's processor time in seconds."""

    wall: float = field(default_factory=time.perf_counter)
    process: float = field(default_factory=time.process_time)
    thread: float = field(default_factory=time.thread_time)


class Cluster:
    """The made-up executor, and the workers of its one study.

    Attributes:
        slots: segments in flight: one at work and one waiting for each slot.
        checkpoints: where states would lie.
        began, over: when the first segment was handed out, and when the search ended.
        weighed: what went through the driver.
    """

    def __init__(self, case: Case) -> None:
        self._case, self._slots = case, Slots(case.slots, case.seconds)
        self.slots, self.checkpoints = 2 * case.slots, States(case.state_bytes)
        self.began: Clock | None = None
        self.over: Clock | None = None
        self.weighed = Weighed()

    @property
    def alive(self) -> Alive:
        """All slots, at any time."""
        return Alive(self._case.slots, nodes=1)

    def workers(self, _: Workplace) -> Cluster:
        """Itself."""
        return self

    def grant(self, _: int | None) -> None:
        """It has all its slots at any time."""

    def plan(self, trials: Sequence[Trial], _epochs: int) -> list[tuple[Trial, ...]]:
        """A slot for every trial, as where there are many of them."""
        return [(trial,) for trial in trials]

    def submit(self, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Future[SegmentResult]:
        """Begin to wait."""
        self.began = self.began or Clock()
        future = self._slots.put(segment)
        future.add_done_callback(lambda done: self.weighed.look(segment, states, done.result(), self._case.state_bytes))
        return future

    def end(self) -> None:
        """The search is over, at the first call."""
        if self.over is None:
            self.over = Clock()
            self._slots.end()


@dataclass
class Seen:
    """What happened beside the driver's back.

    Attributes:
        commits: the thread of every commit of a writer.
        published: when records were published, by the wall's clock, and how many.
        left: records that wait still.
    """

    commits: list[str] = field(default_factory=list)
    published: list[tuple[float, int]] = field(default_factory=list)
    left: int = 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look as long as the context lasts."""
        mark = Outbox.mark_published

        def committed(connection: Connection) -> None:
            if connection.get_execution_options().get("tuner_writes"):
                self.commits.append(threading.current_thread().name)

        def marked(outbox: Outbox, ids: Sequence[int]) -> None:
            mark(outbox, ids)
            self.published.append((time.perf_counter(), len(ids)))

        event.listen(Engine, "commit", committed)
        with patch.object(Outbox, "mark_published", marked):
            yield
        event.remove(Engine, "commit", committed)

    @property
    def through(self) -> float | None:
        """When the last trial was published: what came after are the study's own few records and its figures."""
        return max((at for at, count in self.published if count > FEW), default=None)

    def behind(self, over: float) -> int:
        """Records that waited at a moment."""
        return self.left + sum(count for at, count in self.published if at > over)


def launched(case: Case, ledger: Ledger, folder: Path, cluster: Cluster, stop: threading.Event | None = None) -> None:
    """Run a study, or continue it, on a cluster."""
    place = workspace(folder, database=case.database, mlflow=f"sqlite:///{folder / 'mlflow.db'}")
    ensure_store(place.tracking)
    rows = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    plan = LaunchPlan.of((spec_from_mapping(case.declared), folder / "spec.yaml"), place, Inline(), None, rows)
    with ExitStack() as held:
        if not case.publishes:  # a run always publishes: here it finds nothing to do
            held.enter_context(patch.object(Publisher, "_attempt", lambda _: None))
        launch(plan, ledger, stop=stop, starts=lambda _plan, _check: cluster)


def measured(case: Case, folder: Path, profile: cProfile.Profile | None) -> dict[str, Any]:
    """One study's run."""
    ledger = Ledger.open(case.database, folder=folder)
    cluster, seen = Cluster(case), Seen()
    with ExitStack() as held:
        held.enter_context(seen.looking())
        if profile is not None:
            held.enter_context(profile)
        launched(case, ledger, folder, cluster)
    study = ledger.study("cluster")
    assert study is not None
    assert sum(trial.ended_at is not None for trial in ledger.trials(study.id)) == case.trials
    seen.left = ledger.outbox.waiting_count(study.id)
    ledger.close()
    return figures(case, cluster, seen)


def figures(case: Case, cluster: Cluster, seen: Seen) -> dict[str, Any]:
    """What was measured of a run."""
    began, over = cluster.began, cluster.over
    assert began is not None
    assert over is not None
    seconds, segments = over.wall - began.wall, cluster.weighed.count
    through = None if not case.publishes or seen.left else seen.through
    return {
        "sampler": case.sampler,
        "trials": case.trials,
        "slots": case.slots,
        "seconds a segment": case.seconds,
        "ledger": case.database.partition(":")[0].partition("+")[0],
        "publishes": case.publishes,
        "seconds": seconds,
        "trials/s": case.trials / seconds,
        "segments/s": segments / seconds,
        "segments a trial": segments / case.trials,
        "slots busy": segments * case.seconds / case.slots / seconds if case.seconds else None,
        "driver's thread, processor ms a trial": 1000 * (over.thread - began.thread) / case.trials,
        "process, processor ms a trial": 1000 * (over.process - began.process) / case.trials,
        "MB/s through the driver": cluster.weighed.of_all / 1e6 / seconds,
        "kB a trial": cluster.weighed.of_all / 1e3 / case.trials,
        "commits a trial": sum(name == "MainThread" for name in seen.commits) / case.trials,
        "records behind at the end of the search": seen.behind(over.wall) if case.publishes else None,
        "published, trials/s": None if through is None else case.trials / (through - began.wall),
        "memory, MB at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": os.getloadavg()[0],
    }


SHOWN = {
    "sampler": "sampler",
    "trials": "trials",
    "slots": "slots",
    "s a segment": "seconds a segment",
    "ledger": "ledger",
    "publishes": "publishes",
    "trials/s": "trials/s",
    "segments/s": "segments/s",
    "busy": "slots busy",
    "driver, ms a trial": "driver's thread, processor ms a trial",
    "process, ms a trial": "process, processor ms a trial",
    "commits a trial": "commits a trial",
    "kB a trial": "kB a trial",
    "MB/s": "MB/s through the driver",
    "behind": "records behind at the end of the search",
    "published, trials/s": "published, trials/s",
    "MB": "memory, MB at most",
    "load": "load",
}


def line(found: dict[str, Any]) -> str:
    """A line of the table."""
    return f"| {' | '.join(cell(found[key]) for key in SHOWN.values())} |"


def cell(value: object) -> str:
    """A value with three digits; nothing where there is none."""
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def cases(args: argparse.Namespace, database: str) -> Iterator[Case]:
    """Every sampler on every cluster."""
    for sampler in args.samplers:
        for slots in args.slots:
            yield Case(sampler, args.trials, slots, args.seconds, args.state_bytes, not args.no_publishing, database)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 100, 1000])
    parser.add_argument("--seconds", type=float, default=0.0, help="that a slot waits for a segment")
    parser.add_argument("--state-bytes", type=int, default=100_000)
    parser.add_argument("--no-publishing", action="store_true")
    parser.add_argument("--postgres", action="store_true", help="a ledger on a Postgres that is made for this")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", type=Path, help="what cProfile saw of the driver's thread")
    return parser.parse_args()


def main() -> None:
    """Measure, and print."""
    args = arguments()
    profile = None if args.profile is None else cProfile.Profile()
    sys.stdout.write(f"| {' | '.join(SHOWN)} |\n| {' | '.join('---' for _ in SHOWN)} |\n")
    found = []
    with ExitStack() as held:
        server = None
        if args.postgres:
            sys.path.insert(0, str(ROOT / "tests"))
            from postgres_server import running_postgres

            server = held.enter_context(running_postgres())
        for place, case in enumerate(case for _ in range(args.repeat) for case in cases(args, "")):
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
            database = "sqlite:///tuner.db" if server is None else server.new_database(f"case_{place}")
            found.append(measured(replace(case, database=database), folder, profile))
            sys.stdout.write(f"{line(found[-1])}\n")
            sys.stdout.flush()
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1))
    if profile is not None:
        profile.dump_stats(args.profile)


if __name__ == "__main__":
    main()
