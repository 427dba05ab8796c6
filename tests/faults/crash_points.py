"""Crashes a study at each of its points, one process each, and runs it again; a program, for it forks.

    python crash_points.py FOLDER STORE WORKERS FIRST STEP

A point is a statement of any SQLite database (the ledger's and MLflow's; BEGIN and COMMIT are statements), an fsync or
a rename of Python's. From the FIRST on every STEPth is tried; where not every point is (STEP above 2), some of
each RARE kind as well. For each, one line of JSON: the point, what it was, and
what was wrong afterwards. Everything heavy is imported once, before the first fork, and no thread is begun
before it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from disturbed import disagreements, left_behind, table
from studies import fresh_folder, tiny

import tuner
import tuner.analysis.baselines
import tuner.data.prepare
import tuner.orchestration.launch
import tuner.search.importance
import tuner.search.loop
import tuner.tracking.direct
import tuner.tracking.mirror

# Kinds with so few points that a stride may pass them all over, and the stride for them alone.
RARE = {"replace": 2, "DELETE": 2, "UPDATE": 8}


class InThisProcess:
    """Makes the calls of a helper process without one: a thousand of them would take most of the time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return fn(*args)


tuner.search.importance.Helper = InThisProcess  # type: ignore[misc, assignment]
SPEC = tiny(search={"trials": 5, "epochs": 3, "cohort": 3, "seed": 3}, final={"top": 1, "seeds": 2})


def arm(point: int, note: Path, only: str | None = None) -> Counter[str | None]:
    """Count what happens from now on (under None all of it), and end this process without a word right before it
    happens for the nth time, or for the nth time of the kind `only`."""
    count: Counter[str | None] = Counter()
    counting = threading.Lock()

    def happened(what: str) -> None:
        kind = what.split(maxsplit=1)[0]
        with counting:  # publisher and control have threads of their own
            count.update([None, kind])
            if only in (None, kind) and count[only] == point:
                note.write_text(what)
                os.kill(os.getpid(), signal.SIGKILL)

    def before(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*args: Any, **kwargs: Any) -> Any:
            happened(name)
            return act(*args, **kwargs)

        return acted

    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(happened)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = traced
    for name in ("fsync", "replace", "rename"):
        setattr(os, name, before(name, getattr(os, name)))
    return count


def run_apart(folder: Path, workers: int, point: int | None, only: str | None = None) -> int:
    """Run the study in a process of its own; its status as the system gives it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    os.chdir(folder)
    out = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        count = None if point is None else arm(point, folder.parent / "note.txt", only)
        tuner.run(SPEC, workers=workers)
        if count is not None:
            (folder.parent / "count.txt").write_text(json.dumps([count[None], *(count[kind] for kind in RARE)]))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wrongs(folder: Path, expected: str) -> list[str]:
    """What does not hold that must hold after everything."""
    found = [] if table(folder) == expected else ["the table differs"]
    found += disagreements(folder) + left_behind(folder)
    return found + (["a traceback"] if "Traceback" in (folder / "out.txt").read_text() else [])


def counted(path: Path, only: str | None) -> int | None:
    """How many points, or those of a kind, a run had that came to its end; None for one that crashed."""
    return int(json.loads(path.read_text())[[None, *RARE].index(only)]) if path.exists() else None


def tell(**what: object) -> None:
    """A line for whoever reads our output."""
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def main() -> None:
    """Try every point until a run has fewer."""
    root, store = Path(sys.argv[1]), Path(sys.argv[2])
    workers, first, step = map(int, sys.argv[3:])
    whole = fresh_folder(root / "whole", store)
    assert run_apart(whole, workers, 10**9) == 0, (whole / "out.txt").read_text()
    expected, (points, *rare) = table(whole), json.loads((root / "count.txt").read_text())
    tell(points=points)
    tries: list[tuple[int, str | None]] = [(point, None) for point in range(first, points + 1, step)]
    if step > 2:
        of_kinds = zip(RARE.items(), rare, strict=True)
        tries += [(n, kind) for (kind, stride), count in of_kinds for n in range(first, count + 1, stride)]
    for point, only in tries:
        folder = fresh_folder(root / f"{only or 'point'}-{point}", store)
        (root / "count.txt").unlink(missing_ok=True)
        (root / "note.txt").write_text("nothing: the run had fewer points")
        crashed = run_apart(folder, workers, point, only)
        status = run_apart(folder, workers, None)
        found = wrongs(folder, expected) + ([] if status == 0 else [f"the second run ended with status {status}"])
        what = (root / "note.txt").read_text()
        had = counted(root / "count.txt", only)
        tell(point=point, only=only, crashed=crashed == signal.SIGKILL, what=what, wrong=found, points=had)
        if not found:
            shutil.rmtree(folder)


main()
