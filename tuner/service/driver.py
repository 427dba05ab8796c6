"""Drivers: `tuner run` in a process group of its own, which outlives the supervisor that started it.

A driver begins only once it is recorded who it is: until then it waits at a gate, and ends where the gate is closed. So
there is no moment at which a supervisor can be killed and leave a driver that is not recorded.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from tuner.api.workspace import DATA_ROOT
from tuner.data.sources import Sources
from tuner.errors import InputError
from tuner.ledger.leases import LEASE_SECONDS
from tuner.ledger.owners import Owner
from tuner.ledger.records import StudyRecord
from tuner.ledger.standings import Standing
from tuner.ledger.submissions import ExecutorName, Submission
from tuner.masks import without_secrets
from tuner.places import database_url
from tuner.service.declarations import SKLEARN, SOURCE, THE_SOURCE, Declarations, data_named, quoted
from tuner.settings import Workspace
from tuner.spec.reader import read_spec_text
from tuner.spec.study import StudySpec

FOLDER: Final = "service"  # in the work folder: each submission's space file and its driver's log
LOG: Final = "driver.log"
NICE: Final = 10  # of a driver and its workers
LOG_LINES: Final = 12  # the last ones, which say why a driver failed
_LOG_BYTES: Final = 16_000
_MEMORY: Final = "memory"  # data that was given in Python
# The shell waits for a line and becomes the driver; where the pipe is closed without one, it ends.
_GATE: Final = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh")


@dataclass(frozen=True, slots=True)
class Child:
    """A driver that this process started.

    Attributes:
        process: it, or the shell that is going to be it.
        owner: the same for the record.
        executor: where it trains.
    """

    process: subprocess.Popen[bytes]
    owner: Owner
    executor: ExecutorName

    def begin(self) -> None:
        """Open the gate."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it was killed at the gate
            self.process.stdin.write(b"go\n")
            self.process.stdin.close()

    def turn_away(self) -> None:
        """Close the gate; it ends without having done anything."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@final
class Drivers:
    """Starts drivers, and knows of each whether it is there and how it ended.

    Args:
        workspace: where they run.
        declarations: knows the data's names.
        where: the options of `tuner run` for each executor that is offered, the default first.
    """

    def __init__(
        self, workspace: Workspace, declarations: Declarations, where: Mapping[ExecutorName, Sequence[str]]
    ) -> None:
        self._workspace, self._declarations, self._where = workspace, declarations, where
        self._children: dict[int, Child] = {}

    def at_gate(self, each: Submission, record: StudyRecord | None) -> Child:
        """A driver that waits to be let in.

        Args:
            each: what it is to run.
            record: the study, where it is recorded already.

        Raises:
            InputError: what was handed in cannot be run.
            OSError: the system refuses a file or a process.
        """
        spec = read_spec_text(each.spec_text, SOURCE)
        overrides = _overrides(spec, each, record, self._declarations)
        folder = self._folder(each)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SOURCE).write_text(each.spec_text, encoding="utf-8")
        words = [word for override in overrides for word in ("--set", override)]
        words += [f"--from={each.warm_start}"] if each.warm_start is not None else []
        executor = self.executor(each)
        words += self._where[executor]
        command = [*_GATE, sys.executable, "-P", "-m", "tuner", "run", str(folder / SOURCE), *words]
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self._workspace.folder,
                env=_environment(self._workspace),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Child(process, Owner.of_process(process.pid), executor)

    def let_in(self, each: Submission, child: Child) -> None:
        """Begin a driver that is recorded. It yields to the server, for people wait for pages and not for an epoch."""
        self._children[each.id] = child
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.process.pid, NICE)
        child.begin()

    def is_there(self, standing: Standing) -> bool:
        """Whether a submission's driver is there still; one that cannot be looked at must hold or soon take a lease."""
        each = standing.submission
        child = self._child(each)
        if child is not None:
            return child.process.poll() is None
        alive = None if each.driver is None else each.driver.is_alive()
        if each.driver is not None and alive is None:
            return standing.is_leased or abs(time.time() - (each.started_at or 0.0)) < LEASE_SECONDS
        return bool(alive)

    def exit_code(self, each: Submission) -> int | None:
        """Of a driver that has ended; None where another process started it."""
        child = self._child(each)
        return None if child is None else child.process.wait()

    def bury(self) -> None:
        """Let no driver that has ended wait for it."""
        for child in self._children.values():
            child.process.poll()

    def terminate(self, each: Submission) -> None:
        """Let a driver end by itself, as Ctrl-C does."""
        if each.driver is not None and each.driver.is_alive():
            with suppress(ProcessLookupError):
                os.kill(each.driver.pid, signal.SIGTERM)

    def kill(self, each: Submission) -> bool:
        """End a driver of this machine at once, with all processes of its group. Whether there was one."""
        if each.driver is None or not each.driver.is_alive():
            return False
        with suppress(ProcessLookupError):
            os.killpg(each.driver.pid, signal.SIGKILL)
        return True

    def last_words(self, each: Submission) -> str:
        """The last lines that a driver wrote, without secrets; empty where there are none."""
        try:
            with (self._folder(each) / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        said = "\n".join([line for line in lines if line.strip()][-LOG_LINES:])
        return without_secrets(said, self._workspace.database, self._workspace.tracking)

    def executor(self, each: Submission) -> ExecutorName:
        """Where a submission's next driver trains: as chosen, or the default where that is not offered (any more)."""
        chosen = each.executor
        return chosen if chosen is not None and chosen in self._where else next(iter(self._where))

    def _child(self, each: Submission) -> Child | None:
        child = self._children.get(each.id)
        return child if child is not None and child.owner == each.driver else None

    def _folder(self, each: Submission) -> Path:
        return self._workspace.work / FOLDER / str(each.id)


def _overrides(spec: StudySpec, each: Submission, record: StudyRecord | None, declarations: Declarations) -> list[str]:
    """A driver's overrides of the file: where the data is, the name by now, and the budget that is asked for."""
    overrides = [] if each.name == spec.name else [f"name={quoted(each.name)}"]
    overrides += _source(spec, record, declarations)
    recorded = record.spec.search.trials if record is not None and spec.search.minutes is None else 0
    trials = max(each.trials or 0, recorded)
    if trials > 0 and trials != spec.search.trials:
        overrides.append(f"search.trials={trials}")
    if each.timeout is not None:
        overrides.append(f"search.timeout={each.timeout!r}")
    return overrides


def _source(spec: StudySpec, record: StudyRecord | None, declarations: Declarations) -> list[str]:
    """Where the data is: of a study that is recorded it is where it was, whatever became of the name since."""
    named = data_named(spec if record is None else record.spec)
    if named[THE_SOURCE] == _MEMORY or named[THE_SOURCE].startswith(SKLEARN):
        return []
    if record is not None:
        beside = Sources(Path(record.source).parent)
        return [f"{key}={quoted(str(beside.path(name)))}" for key, name in named.items()]
    overrides = declarations.overrides(spec)
    if len(overrides) < len(named):
        raise InputError(f"study {spec.name}: {' and '.join(named)} must be dataset:NAME, the name of registered data.")
    return overrides


def _environment(workspace: Workspace) -> dict[str, str]:
    """The supervisor's own, with the places of its workspace; an address that is found there already is left there."""
    database = {} if database_url() == workspace.database else {"TUNER_DATABASE_URL": workspace.database}
    root = {} if workspace.data_root is None else {DATA_ROOT: str(workspace.data_root)}
    return {**os.environ, "MLFLOW_TRACKING_URI": workspace.tracking, **database, **root}
