"""What every executor must do: results, errors, death, hang, stop, and nothing left over.

A new executor is one more line in `EXECUTORS`. What a segment does to its worker comes from its rows, `calls.RowsThat`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from calls import RowsInHand, RowsThat, StatesByDigest
from plain import digits, trial
from ray_nodes import Nodes, nodes
from supervised import until

from tuner.data.rows import RowsFile
from tuner.errors import ClusterError, InputError, StoppedError
from tuner.execution import heartbeat, planning
from tuner.execution.base import Alive, Executor, Workers
from tuner.execution.choice import ExecutorChoice, Inline, Processes, Ray, Share, asked_for, chosen
from tuner.execution.context import Workplace
from tuner.execution.executors import sized, start_executor, usable_cores
from tuner.execution.faults import WorkerFaultError
from tuner.execution.worker import run_segment
from tuner.learning import checkpoint
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.spec.length import Length
from tuner.spec.work import Checkpoint, Segment, SegmentResult, TrainingPlan

EPOCHS, TRIALS, SECONDS = 4, 4, 90


@dataclass(frozen=True)
class Case:
    """An executor, the workers that it has, and whether a segment can harm nothing but its own worker."""

    choice: ExecutorChoice
    alive: Alive
    isolates: bool


CLUSTER = Ray("auto")  # the one that a test is given by `joined`
EXECUTORS = {
    "inline": Case(Inline(), Alive(1), isolates=False),
    "processes": Case(Processes(2), Alive(2), isolates=True),
    "ray": Case(CLUSTER, Alive(2, nodes=1, room=2), isolates=True),
}
ISOLATING = [name for name, case in EXECUTORS.items() if case.isolates]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    """A cluster of one node with two cores, for all tests here."""
    with nodes(others=0, cores=2) as started:
        yield started


def join(choice: ExecutorChoice, request: pytest.FixtureRequest) -> None:
    """Let the executor find the cluster, where it needs one."""
    if choice == CLUSTER:
        known: Nodes = request.getfixturevalue("cluster")
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        for name, value in {**known.environment, "RAY_ADDRESS": known.address}.items():
            patch.setenv(name, value)


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Each of them, started; `@pytest.mark.parametrize("executor", ISOLATING, indirect=True)` gives those alone."""
    join(EXECUTORS[request.param].choice, request)
    started = start_executor(EXECUTORS[request.param].choice)
    yield started
    started.end()


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    np.save(tmp_path / "rows.npy", np.concatenate(digits(200, 50)))
    rows = RowsFile(str(tmp_path / "rows.npy"), (200, 50, 0), 64)
    return Workplace(
        rows, CheckpointFolder(str(tmp_path / "states")), "mse", "cpu", Length.of(TrainingPlan(EPOCHS)), "fp32"
    )


def that(act: str, place: Workplace, tmp_path: Path) -> Workplace:
    """The same place, where opening the rows does something."""
    folder = tmp_path / act
    folder.mkdir()
    return replace(place, rows=RowsThat(act, place.rows, str(folder)))


def begin(workers: Workers, number: int = 0) -> Future[SegmentResult]:
    return workers.submit(Segment((trial(number),), 0, 1), [()])


def fault(call: Future[SegmentResult]) -> WorkerFaultError:
    error = call.exception(SECONDS)
    assert isinstance(error, WorkerFaultError)
    return error


def worker_of(folder: Path) -> int:
    """The process that trains, once a segment has begun to wait there."""
    end = time.monotonic() + SECONDS
    while not (found := list(folder.iterdir())):
        assert time.monotonic() < end
        os.sched_yield()
    return int(found[0].name)


def state(place: Workplace, kept: Checkpoint | None) -> tuple[bytes, ...] | None:
    """A stored state's values to the bit; the order of its file's header is not always the same."""
    if kept is None:
        return None
    found = checkpoint.loads(place.checkpoints.get(kept) or b"")
    rows = found.parameters, found.first_moments, found.second_moments, found.best
    return tuple(row.tobytes() for row in rows)


def trained(workers: Workers, place: Workplace) -> dict[int, tuple[object, ...]]:
    """What came of all trials, trained as a study does: planned, and in two segments with states between."""
    trials, results = [trial(number, width=20 + number) for number in range(TRIALS)], {}
    states: dict[int, tuple[Checkpoint, ...]] = {}
    for first, last in ((0, 2), (2, EPOCHS)):
        packs = workers.plan(trials, last - first)
        assert sorted(one.number for pack in packs for one in pack) == list(range(TRIALS))
        calls = [workers.submit(Segment(p, first, last), [states.get(one.number, ()) for one in p]) for p in packs]
        for curve in (curve for call in calls for curve in call.result(SECONDS).curves):
            states[curve.number] = (curve.checkpoint,) if curve.checkpoint else ()
            kept = state(place, curve.checkpoint)
            results[curve.number, last] = (curve.train_loss, curve.val_loss, dict(curve.measures), kept)
    return {number: tuple(results[number, last] for last in (2, EPOCHS)) for number in range(TRIALS)}


def direct(place: Workplace, number: int) -> list[tuple[object, ...]]:
    """The same trial alone, by the worker's function itself; whether its last state is kept depends on its pack."""
    one, states = trial(number, width=20 + number), ()
    found = []
    for first, last in ((0, 2), (2, EPOCHS)):
        (curve,) = run_segment(place, Segment((one,), first, last), [states]).curves
        states = (curve.checkpoint,)
        found.append((curve.train_loss, curve.val_loss, dict(curve.measures), state(place, curve.checkpoint)))
    return found


def test_results_are_those_of_each_trial_alone(executor: Executor, place: Workplace, tmp_path: Path) -> None:
    """However they are packed and wherever they run: every loss, measure and state to the bit (law 1)."""
    workers = executor.workers(place)
    assert workers.slots >= 1
    found = trained(workers, place)
    aside = replace(place, checkpoints=CheckpointFolder(str(tmp_path / "alone")))
    for number, (below, top) in found.items():
        alone_below, alone_top = direct(aside, number)
        assert below == alone_below
        assert top[:3] == alone_top[:3]
        assert top[3] in (None, alone_top[3])
    assert any(top[3] for _, top in found.values())


def test_a_worker_needs_no_file_of_the_drivers(executor: Executor, place: Workplace, tmp_path: Path) -> None:
    """Rows that travel with the segment, and states whose address is no path: the results of files, to the bit."""
    (tmp_path / "elsewhere").mkdir()
    rows = RowsInHand(np.concatenate(digits(200, 50)).tobytes(), (200, 50, 0), 64)
    elsewhere = replace(place, rows=rows, checkpoints=StatesByDigest(str(tmp_path / "elsewhere")))
    workers = executor.workers(elsewhere)
    assert workers.checkpoints is elsewhere.checkpoints
    assert trained(workers, elsewhere) == trained(executor.workers(place), place)
    assert len(list((tmp_path / "elsewhere").iterdir())) > TRIALS


def test_what_a_segment_raises_is_its_futures(executor: Executor, place: Workplace, tmp_path: Path) -> None:
    """The error's own kind and words; the next segment is trained."""
    error = begin(executor.workers(that("fail", place, tmp_path))).exception(SECONDS)
    assert isinstance(error, ValueError)
    assert str(error) == "no such thing"
    assert len(begin(executor.workers(place)).result(SECONDS).curves) == 1


@pytest.mark.parametrize("executor", ISOLATING, indirect=True)
def test_a_death_costs_its_segment_alone(executor: Executor, place: Workplace, tmp_path: Path) -> None:
    """A segment's own fault is blamed on it, a kill from outside on no segment; other segments are trained."""
    waiting = that("report and wait", place, tmp_path)
    killed = begin(executor.workers(waiting))
    beside = begin(executor.workers(place))
    os.kill(worker_of(tmp_path / "report and wait"), signal.SIGKILL)
    own = begin(executor.workers(that("segfault", place, tmp_path)))
    assert not fault(killed).own
    assert "SIGKILL" in fault(killed).cause
    assert fault(own).own
    assert "SIGSEGV" in fault(own).cause
    assert len(beside.result(SECONDS).curves) == 1
    assert len(begin(executor.workers(place)).result(SECONDS).curves) == 1


@pytest.mark.parametrize(("executor", "there"), [(name, case.alive) for name, case in EXECUTORS.items()],
                         indirect=["executor"])  # fmt: skip
def test_workers_are_counted_once_they_are_there(executor: Executor, there: Alive, place: Workplace) -> None:
    """All that were asked for, none more, and on how many nodes of a cluster."""
    executor.workers(place)
    until(lambda: executor.alive == there, "all workers", SECONDS)


@pytest.mark.parametrize("executor", ISOLATING, indirect=True)
def test_a_worker_that_dies_is_counted_no_more_and_replaced(
    executor: Executor, place: Workplace, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One less after a kill at work; on a cluster also where the slot was idle. Then as many as before."""
    before = begin(executor.workers(place)).result(SECONDS) and until(lambda: executor.alive.slots == 2, "both")
    begin(executor.workers(that("report and wait", place, tmp_path)))
    pid = worker_of(tmp_path / "report and wait")
    on_cluster = executor.alive.nodes is not None
    victim = psutil.Process(pid).parent() if on_cluster else psutil.Process(pid)
    assert before
    assert victim is not None
    victim.kill()
    until(lambda: executor.alive.slots == 1, "one less", SECONDS)
    until(lambda: executor.alive.slots == 2, "another one", SECONDS)
    if on_cluster:
        nodes: Nodes = request.getfixturevalue("cluster")
        next(each for each in nodes.head.processes() if "ray::Actor" in each.name() + " ".join(each.cmdline())).kill()
        until(lambda: executor.alive.slots == 1, "the idle one to be missed", SECONDS)
        until(lambda: executor.alive.slots == 2, "its successor", SECONDS)


@pytest.mark.parametrize("executor", ISOLATING, indirect=True)
def test_a_segment_that_hangs_is_ended(
    executor: Executor, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent for longer than an epoch can take, it loses its worker and is accused; the next one is trained."""
    begin(executor.workers(place)).result(SECONDS)  # the workers are there
    monkeypatch.setattr(planning, "LEAST_PATIENCE", 0.5)
    monkeypatch.setattr(planning, "LATE_UNMEASURED", 1.0)
    error = fault(begin(executor.workers(that("hang", place, tmp_path))))
    assert error.own
    assert "no sign of life" in error.cause
    monkeypatch.undo()
    assert len(begin(executor.workers(place)).result(SECONDS).curves) == 1


@pytest.mark.parametrize("executor", ISOLATING, indirect=True)
def test_the_end_comes_at_once_whatever_runs_and_waits(executor: Executor, place: Workplace, tmp_path: Path) -> None:
    """A segment that never ends, and one more than there are slots for: both are over, the second is cancelled."""
    workers = executor.workers(that("report and wait", place, tmp_path))
    calls = [begin(workers, number) for number in range(workers.slots + 1)]
    pid = worker_of(tmp_path / "report and wait")
    executor.end()
    assert not psutil.pid_exists(pid)
    done, _ = wait(calls, timeout=SECONDS)
    assert done == set(calls)
    assert calls[-1].cancelled()
    assert begin(workers).cancelled()


def test_in_this_process_a_check_ends_a_segment_between_two_epochs(place: Workplace) -> None:
    """The error it raises is the future's, no state is left, and afterwards no listener is registered."""
    stopping = threading.Event()

    def check() -> None:
        if stopping.is_set():
            raise StoppedError

    executor = start_executor(Inline(), check=check)
    workers = executor.workers(place)
    assert workers.submit(Segment((trial(0),), 0, 1), [()]).exception() is None
    stopping.set()
    ended = workers.submit(Segment((trial(1),), 0, 10**6), [()])
    assert isinstance(ended.exception(), StoppedError)
    assert [path.name for path in Path(place.checkpoints.folder).iterdir()] == ["trial-0000-epoch-1.safetensors"]
    heartbeat._last = 0.0  # heartbeats are passed on a few times a second
    heartbeat.alive()
    executor.end()


def is_rays(process: psutil.Process) -> bool:
    """Whether a running cluster keeps it for whoever comes next, or has it only to bury."""
    try:
        words = " ".join(process.cmdline())
        return (
            words.startswith("ray::") or "default_worker.py" in words or (not words and process.ppid() != os.getpid())
        )
    except psutil.ZombieProcess:
        return process.ppid() != os.getpid()
    except psutil.NoSuchProcess:
        return True


def left_over() -> set[str]:
    """Child processes, threads, and open files of this process that an executor may leave."""
    children = {f"process {child.pid}" for child in psutil.Process().children(recursive=True) if not is_rays(child)}
    threads = {f"thread {thread.ident}" for thread in threading.enumerate()}
    files = {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return children | threads | {name for name in files if "rows.npy" in name or "pipe:" in name or "socket:" in name}


@pytest.mark.parametrize("choice", [*(case.choice for case in EXECUTORS.values()), Ray()])
def test_nothing_is_left_over(choice: ExecutorChoice, place: Workplace, request: pytest.FixtureRequest) -> None:
    """After the end, which may come twice: no process, thread, or open file, and no file beside the states."""
    join(choice, request)
    before = left_over()
    executor = start_executor(choice)
    trained(executor.workers(place), place)
    executor.end()
    executor.end()
    assert left_over() - before == set()
    assert {path.suffix for path in Path(place.checkpoints.folder).iterdir()} == {".safetensors"}


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Ray("127.0.0.1:1"), r"must be reachable at 127\.0\.0\.1:1 .* got ConnectionRefusedError"),
        (Ray(slot=Share(cpu=4096)), r"this machine must have room for a slot of cpu=4096"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused(choice: Ray, words: str, place: Workplace) -> None:
    """In a sentence, before anything is trained; nothing is left over."""
    before = left_over()
    executor = start_executor(choice)
    with pytest.raises((ClusterError, InputError), match=words):
        executor.workers(place)
    executor.end()
    assert left_over() - before == set()


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ((None, None), Processes()),
        ((None, 0), Inline()),
        ((None, 3), Processes(3)),
        (("inline", None), Inline()),
        (("inline", 0), Inline()),
        (("processes", 3), Processes(3)),
        ((Processes(3), None), Processes(3)),
        ((Inline(), None), Inline()),
        (("ray", None), Ray()),
        ((asked_for(None, "auto", "cpu=2", 8), None), Ray("auto", Share(2), 8)),
    ],
)
def test_what_a_door_is_asked_for_becomes_one_value(
    asked: tuple[ExecutorChoice | str | None, int | None], value: ExecutorChoice
) -> None:
    """A name, a value, or a number of workers alone, of which 0 means this process."""
    assert chosen(*asked) == value


def test_the_number_of_workers_is_filled_in_where_it_was_left_open() -> None:
    """One per usable core, one per GPU; what was asked for stays."""
    assert sized(Processes(), "cpu", ()) == Processes(usable_cores())
    assert sized(Processes(), "cuda:0", ("0", "1", "2")) == Processes(3)
    assert sized(Processes(), "cuda:0", ()) == Processes(1)
    assert sized(Processes(5), "cpu", ()) == Processes(5)
    assert sized(Inline(), "cpu", ()) == Inline()
    assert sized(Ray(), "cpu", ()) == Ray(slot=Share(cpu=1))
    assert sized(Ray(), "cuda:0", ()) == Ray(slot=Share(cpu=1, gpu=1))
    assert sized(Ray(slot=Share.of("gpu=0.25")), "cuda:0", ()) == Ray(slot=Share(cpu=1, gpu=0.25))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: chosen("threads"), "must be inline, processes, ray, got 'threads'"),
        (lambda: chosen("inline", 2), "inline has 0 workers, but workers is 2"),
        (lambda: chosen("processes", 0), "workers must be at least 1, got 0"),
        (lambda: Processes(-1), "workers must be at least 1, got -1"),
        (lambda: Ray(most=0), "most must be at least 1, got 0"),
        (lambda: Ray("ray://head:10001"), r"a client from outside \(ray://\) is not supported"),
        (lambda: Ray("local"), "address must be auto or host:port"),
        (lambda: Ray(""), "address must be auto or host:port"),
        (lambda: Share(0, 0), "needs cores or GPUs"),
        (lambda: Share(gpu=1.5), "a share of one GPU or whole ones"),
        (lambda: Share.of("gpus=1"), "slots must be like cpu=1, gpu=0.25"),
        (lambda: Share.of("cpu=many"), "slots must be like cpu=1, gpu=0.25"),
        (lambda: chosen("ray", 2), "has slots, no workers, but workers is 2; say most=2"),
        (lambda: asked_for("processes", "auto"), "address, slots, most and checkpoints are those of a cluster"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(make: Callable[[], object], words: str) -> None:
    """In one sentence that says what can be asked for."""
    with pytest.raises(InputError, match=words):
        make()
