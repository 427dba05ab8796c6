"""Claims about workers that die: their call alone is lost, its exception says why, and whose doing it was."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from calls import beat_for, fail_to_start, report_and_wait, segfault, spin
from plain import trial

from tuner.errors import WorkerError
from tuner.execution.faults import WorkerFaultError, death
from tuner.execution.processes import WorkerProcesses
from tuner.execution.retries import FOREIGN_FAULTS, Retries
from tuner.spec.work import Segment

ANSWER_SECONDS = 60


@pytest.fixture
def workers() -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(2, os.getpid)
    yield made
    made.kill()


def fault(call: Any) -> WorkerFaultError:
    error = call.exception(ANSWER_SECONDS)
    assert isinstance(error, WorkerFaultError)
    return error


@pytest.mark.parametrize(
    ("act", "words", "own"),
    [
        (segfault, "was ended by SIGSEGV", True),
        (os.abort, "was ended by SIGABRT", True),
        (lambda: None, "could not be understood", True),
    ],
)
def test_a_call_that_ends_its_worker_says_how(
    workers: WorkerProcesses, act: Callable[[], Any], words: str, own: bool
) -> None:
    """A fault in a library is its call's; the next calls get new workers."""
    error = fault(workers.submit(act))
    assert words in error.cause
    assert error.own is own
    assert all(workers.submit(divmod, 7, 2).result(ANSWER_SECONDS) == (3, 1) for _ in range(4))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_was_killed_accuses_nobody(workers: WorkerProcesses, tmp_path: Path, number: int) -> None:
    """A signal from outside is no call's fault, and the other worker's call goes on untouched."""
    other = workers.submit(beat_for, 3.0)
    call = workers.submit(report_and_wait, str(tmp_path))
    while not list(tmp_path.iterdir()):
        os.sched_yield()
    os.kill(int(next(tmp_path.iterdir()).name), number)
    assert not fault(call).own
    assert other.result(ANSWER_SECONDS) == "done"


def test_silence_beyond_the_patience_is_a_fault(workers: WorkerProcesses) -> None:
    """A call that says nothing is ended; one that tells of itself may take many times as long."""
    silent = workers.submit_patiently(1.0, spin)
    talking = workers.submit_patiently(1.0, beat_for, 4.0)
    error = fault(silent)
    assert error.own
    assert "no sign of life" in error.cause
    assert talking.result(ANSWER_SECONDS) == "done"


def test_a_worker_that_somebody_stopped_accuses_nobody(workers: WorkerProcesses, tmp_path: Path) -> None:
    """SIGSTOP beyond the patience costs the worker, and is no call's fault."""
    call = workers.submit_patiently(1.0, report_and_wait, str(tmp_path))
    while not list(tmp_path.iterdir()):
        os.sched_yield()
    pid = int(next(tmp_path.iterdir()).name)
    os.kill(pid, signal.SIGSTOP)
    error = fault(call)
    assert not error.own
    assert "was stopped" in error.cause
    assert not psutil.pid_exists(pid)


def test_an_idle_worker_that_died_is_replaced_without_a_word(workers: WorkerProcesses) -> None:
    """Killed between two calls: the next ones are answered."""
    for _ in range(3):
        pid = workers.submit(os.getpid).result(ANSWER_SECONDS)
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
        assert all(workers.submit(divmod, 7, 2).result(ANSWER_SECONDS) == (3, 1) for _ in range(4))


def test_workers_that_cannot_start_are_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    """A process that dies before its first call fails that call, and no trial is to blame."""
    workers = WorkerProcesses(1, fail_to_start)
    try:
        error = fault(workers.submit(os.getpid))
    finally:
        workers.kill()
    assert error.cause == "could not start: no such library"
    assert not error.own
    assert capfd.readouterr() == ("", "")


def test_kill_ends_a_stopped_worker_and_cancels_what_waits(tmp_path: Path) -> None:
    """Nothing is left, not even of a process that cannot run."""
    workers = WorkerProcesses(1, os.getpid)
    call = workers.submit(report_and_wait, str(tmp_path))
    waiting = workers.submit(os.getpid)
    while not list(tmp_path.iterdir()):
        os.sched_yield()
    pid = int(next(tmp_path.iterdir()).name)
    os.kill(pid, signal.SIGSTOP)
    workers.kill()
    assert not psutil.pid_exists(pid)
    assert call.done()
    assert waiting.cancelled()


def test_want_of_memory_is_told_from_a_kill() -> None:
    """SIGKILL accuses the call where Linux counted a process ended for want of memory meanwhile."""
    assert death(-signal.SIGKILL, oom_kills=1).own
    assert not death(-signal.SIGKILL, oom_kills=0).own


def segment(*numbers: int) -> Segment:
    return Segment(tuple(trial(number) for number in numbers), 0, 3)


@pytest.mark.parametrize("guilty", [{0}, {7}, {12}, {3, 4}, set(range(13))])
def test_halving_finds_the_guilty_trials_and_no_other(guilty: set[int]) -> None:
    """Whatever segment holds a guilty trial kills its worker: exactly the guilty trials fail, the rest is trained."""
    retries, waiting = Retries(), [segment(*range(13))]
    failed, trained = set(), set()
    while waiting:
        tried = waiting.pop(0)
        numbers = {trial.number for trial in tried.trials}
        if not numbers & guilty:
            trained |= numbers
            continue
        retry = retries.after(tried, WorkerFaultError("was ended by SIGSEGV", own=True))
        waiting = [*retry.segments, *waiting]
        failed |= {retry.failed[0]} if retry.failed else set()
    assert failed == guilty
    assert trained == set(range(13)) - guilty


def test_kills_from_outside_never_cut_a_segment_but_have_an_end() -> None:
    """However often: the same segment again, until workers died in a row so often that nothing can be trained."""
    retries, kill = Retries(), WorkerFaultError("was ended by SIGKILL", own=False)
    for _ in range(3):
        for _ in range(FOREIGN_FAULTS - 1):
            assert retries.after(segment(0, 1), kill).segments == (segment(0, 1),)
        retries.succeeded()
    with pytest.raises(WorkerError, match="was ended by SIGKILL"):
        for _ in range(FOREIGN_FAULTS):
            retries.after(segment(0, 1), kill)


def test_many_that_are_lost_at_once_are_one_misfortune() -> None:
    """A cluster with 50 segments in flight may lose them all several times in a row; ten times end the run."""
    retries, lost = Retries(lambda: 50), WorkerFaultError("was lost with its node", own=False)
    for _ in range(10 * 50 - 1):
        retries.after(segment(0), lost)
    with pytest.raises(WorkerError, match="500 workers in a row"):
        retries.after(segment(0), lost)


@pytest.mark.parametrize("own", [True, False])
def test_a_fault_travels_between_processes_as_it_is(own: bool) -> None:
    """Its words, and whose doing it was."""
    fault = pickle.loads(pickle.dumps(WorkerFaultError("was ended by SIGSEGV", own)))  # noqa: S301 - made here
    assert (type(fault), fault.cause, fault.own) == (WorkerFaultError, "was ended by SIGSEGV", own)
