"""Claims about workers that cannot be started: no call stays open, the others work on, and the reason is told."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from calls import fail_to_start, report_and_wait

from tuner.errors import WorkerError
from tuner.execution import processes, spawned
from tuner.execution.calls import Call, Calls
from tuner.execution.faults import WorkerFaultError
from tuner.execution.processes import WorkerProcesses

ANSWER_SECONDS = 60


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter that workers are started with, by a name that can be taken away; pauses are short."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "MOST_PAUSE", 0.05)
    return path


@contextmanager
def started(count: int, warm_up: Callable[[], object] = os.getpid) -> Iterator[WorkerProcesses]:
    workers = WorkerProcesses(count, warm_up)
    try:
        yield workers
    finally:
        workers.kill()


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + ANSWER_SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_where_no_worker_can_be_started_every_call_ends_with_the_reason(python: Path) -> None:
    """From the outset: after some attempts a WorkerError, for calls that wait and for those that come later."""
    python.unlink()
    with started(2) as workers:
        errors = [workers.submit(os.getpid).exception(ANSWER_SECONDS) for _ in range(5)]
    assert {type(error) for error in errors} <= {WorkerError, WorkerFaultError}
    assert not any(isinstance(error, WorkerFaultError) and error.own for error in errors)
    last = errors[-1]
    assert isinstance(last, WorkerError)
    assert "python" in str(last)
    assert "run the study again to go on" in str(last)


def test_a_call_that_ended_its_worker_is_told_of_though_no_other_can_be_started(python: Path, tmp_path: Path) -> None:
    """A single worker dies of a call, and there is no next one: that call says how, the next one that none starts."""
    with started(1) as workers:
        call = workers.submit(report_and_wait, str(tmp_path))
        wait_for(lambda: list(tmp_path.glob("[0-9]*")))
        python.unlink()
        os.kill(int(next(tmp_path.glob("[0-9]*")).name), signal.SIGKILL)
        assert str(call.exception(ANSWER_SECONDS)) == "was ended by SIGKILL"
        errors = [workers.submit(os.getpid).exception(ANSWER_SECONDS) for _ in range(3)]
    assert isinstance(errors[-1], WorkerError)


def test_a_worker_that_cannot_be_started_leaves_the_calls_to_the_other_and_comes_back(python: Path) -> None:
    """One of two is killed and cannot be started: all further calls are answered by the other, however long it takes;
    once the interpreter is there again, there are two."""
    aside = python.with_name("aside")
    with started(2) as workers:
        wait_for(lambda: len({workers.submit(os.getpid).result(ANSWER_SECONDS) for _ in range(20)}) == 2)
        lost, well = {workers.submit(os.getpid).result(ANSWER_SECONDS) for _ in range(20)}
        python.rename(aside)
        psutil.Process(lost).kill()
        psutil.wait_procs([psutil.Process(lost)] if psutil.pid_exists(lost) else [], timeout=10)
        deadline, answers = time.monotonic() + 1.5, set[object]()  # many times all attempts and their pauses
        while time.monotonic() < deadline:
            call = workers.submit(os.getpid)
            error = call.exception(ANSWER_SECONDS)
            assert error is None or (isinstance(error, WorkerFaultError) and not error.own)
            answers.add(call.result() if error is None else str(error)[:15])
        assert well in answers
        assert answers <= {well, "could not start"}
        aside.rename(python)
        wait_for(lambda: len({workers.submit(os.getpid).result(ANSWER_SECONDS) for _ in range(20)}) == 2)


def test_a_failed_start_leaves_no_file_open(python: Path) -> None:
    """Neither where the interpreter is gone nor where this process may open no more files, in its middle included."""
    limits, before = resource.getrlimit(resource.RLIMIT_NOFILE), open_files()
    python.unlink()
    with started(1) as workers:
        wait_for(lambda: isinstance(workers.submit(os.getpid).exception(ANSWER_SECONDS), WorkerError))
    assert open_files() == before
    highest = max(map(int, before)) + 1
    try:
        for spare in range(6):  # a pipe, another, and what Popen needs itself: each may be the one that fails
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, limits[1]))
            with started(1) as workers:
                wait_for(lambda: isinstance(workers.submit(os.getpid).exception(ANSWER_SECONDS), WorkerError))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_files() == before


def test_workers_that_fail_in_their_warm_up_are_given_up_after_some_attempts(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the warm-up's own, and no trial is accused of it."""
    monkeypatch.setattr(processes, "ATTEMPTS", 3)
    with started(1, fail_to_start) as workers:
        errors = [workers.submit(os.getpid).exception(ANSWER_SECONDS) for _ in range(3)]
    assert isinstance(errors[-1], WorkerError)
    assert "could not start: no such library" in str(errors[-1])


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "too many")])
def test_no_exception_in_a_workers_thread_leaves_its_call_open(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system refuses to the thread itself is that call's fault from outside, and the next one works."""

    def refused() -> int:
        monkeypatch.undo()
        raise error

    with started(1) as workers:
        assert workers.submit(divmod, 7, 2).result(ANSWER_SECONDS) == (3, 1)
        monkeypatch.setattr("tuner.execution.faults.oom_kills", refused)
        fault = workers.submit(divmod, 7, 2).exception(ANSWER_SECONDS)
        assert isinstance(fault, WorkerFaultError)
        assert not fault.own
        assert workers.submit(divmod, 7, 2).result(ANSWER_SECONDS) == (3, 1)


def test_a_worker_that_is_stopped_in_the_middle_of_a_message_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by SIGSTOP before it reads a call of many megabytes: it ends, nobody is accused, the next one works."""
    with started(1) as workers:
        pid = workers.submit(os.getpid).result(ANSWER_SECONDS)
        process = workers._workers[0]._process
        assert process is not None
        with monkeypatch.context() as patch:
            patch.setattr(spawned, "START_SECONDS", 1.0)
            spawned._bound(process._connection)
            os.kill(pid, signal.SIGSTOP)
            fault = workers.submit(len, bytes(50_000_000)).exception(ANSWER_SECONDS)
        assert isinstance(fault, WorkerFaultError)
        assert not fault.own
        assert "was stopped" in fault.cause
        assert not psutil.pid_exists(pid)
        assert workers.submit(divmod, 7, 2).result(ANSWER_SECONDS) == (3, 1)


def test_a_worker_that_leaves_by_sys_exit_does_not_end_the_driver() -> None:
    """SystemExit in a call is that call's fault, and not raised where its result is asked for."""
    with started(1) as workers:
        fault = workers.submit(sys.exit, 3).exception(ANSWER_SECONDS)
    assert isinstance(fault, WorkerFaultError)
    assert fault.own
    assert fault.cause == "met SystemExit: 3"


def test_an_ending_run_does_not_wait_for_the_next_attempt(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill` interrupts a pause of any length, cancels what waits, and leaves no thread."""
    monkeypatch.setattr(processes, "FIRST_PAUSE", 1000.0)
    monkeypatch.setattr(processes, "MOST_PAUSE", 1000.0)
    python.unlink()
    before = threading.active_count()
    workers = WorkerProcesses(2, os.getpid)
    wait_for(lambda: all(worker.failures for worker in workers._workers))
    waiting = workers.submit(os.getpid)
    began = time.monotonic()
    workers.kill()
    assert time.monotonic() - began < 20
    assert waiting.cancelled()
    assert workers.submit(os.getpid).cancelled()
    assert threading.active_count() == before


def test_many_workers_with_many_calls_can_be_killed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 workers and a thousand calls that wait: `kill` returns, and every call is over."""
    idle = tmp_path / "python"
    idle.write_text("#!/bin/sh\nexec sleep 1000\n")
    idle.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(idle))
    for _ in range(2):
        workers = WorkerProcesses(64, os.getpid)
        calls = [workers.submit(os.getpid) for _ in range(1000)]
        killing = threading.Thread(target=workers.kill, daemon=True)
        killing.start()
        killing.join(20)
        assert not killing.is_alive()
        assert all(call.done() for call in calls)


@pytest.mark.parametrize("blocked", [set(), {signal.SIGINT}, {signal.SIGTERM}])
def test_signals_that_the_caller_blocks_stay_blocked_and_workers_do_not_inherit_it(
    blocked: set[signal.Signals],
) -> None:
    """The caller's mask is what it was, before and after; a worker ignores Ctrl-C and blocks nothing."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        with started(1) as workers:
            assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked
            assert workers.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result(ANSWER_SECONDS) == set()
            assert workers.submit(signal.getsignal, signal.SIGINT).result(ANSWER_SECONDS) == signal.SIG_IGN
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_closing_the_line_sends_home_all_who_wait_or_take_from_it_at_that_moment() -> None:
    """Every call is either taken once or cancelled, nobody waits on, and whoever waits for the futures learns it."""
    for _ in range(100):
        line, taken = Calls(), list[Call]()

        def take(line: Calls = line, taken: list[Call] = taken) -> None:
            while (call := line.take()) is not None:
                taken.append(call)

        takers = [threading.Thread(target=take, daemon=True) for _ in range(16)]
        calls = [Call(Future(), (os.getpid, (), {}), 1.0) for _ in range(50)]
        for taker in takers:
            taker.start()
        for call in calls:
            line.put(call)
        line.close()
        for taker in takers:
            taker.join(20)
        assert not any(taker.is_alive() for taker in takers)
        assert len({id(call) for call in taken}) == len(taken)
        left = [call.future for call in calls if not any(call is one for one in taken)]
        assert len(left) + len(taken) == len(calls)
        done, _ = wait(left, timeout=20)
        assert done == set(left)
        assert all(future.cancelled() for future in left)
