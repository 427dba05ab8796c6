"""The supervisor: compares what is wanted of each study with what runs, and starts and ends drivers accordingly."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from tuner.errors import InputError, LedgerError
from tuner.execution.choice import Ray
from tuner.ledger.leases import BEAT_SECONDS
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.ledger.standings import Ending, Standing
from tuner.ledger.submissions import ExecutorName, Submission
from tuner.service.declarations import Declarations
from tuner.service.driver import Drivers
from tuner.service.frozen import FrozenDrivers
from tuner.service.sharing import Sharing
from tuner.service.verdicts import INPUT_WRONG, after_failure, ending_of
from tuner.service.webhook import Webhook, ended
from tuner.settings import Workspace

LOOK_SECONDS: Final = 0.5  # between two looks at what is wanted
WEBHOOK_SECONDS: Final = 5.0  # at the end, for calls of the webhook that are left
END_SECONDS: Final = 0.05  # between two looks at drivers that are ending
_log = logging.getLogger("tuner.service.supervisor")


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """What an operator may choose.

    Attributes:
        slots: drivers that may run at a time.
        workers: worker processes of each on this machine; None for what `tuner run` takes.
        cluster: where they train instead; None for this machine.
        default: where those train whose launcher chooses nothing, of this machine and the cluster, which are both
            offered then; None for the cluster alone where there is one.
        grace: seconds that a driver has to end by itself before it is killed.
        stop_drivers: whether they end with the supervisor; else they go on, and the next one takes them over.
        webhook_file: a file with the address that is called at every study's end; None for none.
    """

    slots: int = 1
    workers: int | None = None
    cluster: Ray | None = None
    default: ExecutorName | None = None
    grace: float = 30.0
    stop_drivers: bool = False
    webhook_file: Path | None = None

    @property
    def where(self) -> Mapping[ExecutorName, Sequence[str]]:
        """The options of `tuner run` for each executor that is offered, the default first."""
        here: dict[ExecutorName, Sequence[str]] = {
            "processes": [] if self.workers is None else ["--workers", str(self.workers)]
        }
        if self.cluster is None:
            return here
        there: dict[ExecutorName, Sequence[str]] = {"ray": self.cluster.options}
        if self.default is None:
            return there
        return {**there, **here} if self.default == "ray" else {**here, **there}


@final
class Supervisor:
    """Reconciles what is wanted with what is, as long as it holds the one supervisor's lease; else it stands by.

    Whatever it does is in the ledger before it counts, so that it may be killed at any moment: the next one reads there
    which drivers there are. A database that does not answer is asked again and again; drivers run on meanwhile.

    Args:
        workspace: whose studies.
        options: the operator's.

    Raises:
        InputError: the webhook's file cannot be read, or holds no address.
    """

    def __init__(self, workspace: Workspace, options: SupervisorOptions) -> None:
        self._workspace, self._options = workspace, options
        self._owner = Owner.this_process()
        self._place: _Place | None = None
        self._ledger: Ledger | None = None
        self._drivers: Drivers | None = None
        self._frozen: FrozenDrivers | None = None
        self._trouble = ""
        self._webhook = None if options.webhook_file is None else Webhook(options.webhook_file)

    def run(self, stop: threading.Event) -> None:
        """Supervise until `stop` is set."""
        self._owner.hold()
        try:
            while not stop.is_set():
                self._look()
                stop.wait(LOOK_SECONDS)
        finally:
            self._leave()
            self._owner.let_go()

    def _look(self) -> None:
        try:
            if self._ledger is None or self._drivers is None or self._frozen is None:
                # What fails is tried again at the next look, so that a signal need not wait for it.
                self._ledger = Ledger.open(self._workspace.database, folder=self._workspace.folder, lost_seconds=0.0)
                names = Declarations(self._ledger.datasets)
                self._drivers = Drivers(self._workspace, names, self._options.where)
                self._frozen = FrozenDrivers(self._ledger, self._drivers, self._options.grace)
            self._frozen.look()  # before anything is written
            if self._place is None:
                self._place = self._taken(self._ledger, self._drivers)
            elif not self._place.is_held():
                self._place = None
                _log.warning("another supervisor took this one's place; this one stands by.")
            if self._place is not None:
                self._place.reconcile()
            self._say_trouble("")
        except LedgerError as error:
            if self._place is not None:
                self._place.doubt()
            self._say_trouble(str(error))

    def _taken(self, ledger: Ledger, drivers: Drivers) -> _Place | None:
        """The supervisor's place; None where another one has it, which needs no lock to be seen."""
        if ledger.supervision.holder() is not None:
            return None
        fence = ledger.supervision.take(self._owner, tuple(self._options.where))
        if fence is None:
            return None
        _log.info("supervising, %d at a time.", self._options.slots)
        return _Place(ledger, drivers, fence, self._options, self._webhook)

    def _say_trouble(self, sentence: str) -> None:
        """Once, until something else is wrong or nothing is."""
        if sentence and sentence != self._trouble:
            _log.warning("%s; trying again until it can be. Studies that run go on.", sentence.rstrip("."))
        if self._trouble and not sentence:
            _log.info("the ledger can be reached again.")
        self._trouble = sentence

    def _leave(self) -> None:
        with suppress(LedgerError):  # the next supervisor sees that this process is gone
            if self._place is not None:
                self._place.leave()
        if self._ledger is not None:
            self._ledger.close()
        if self._webhook is not None:
            self._webhook.flush(WEBHOOK_SECONDS)


@final
class _Place:
    """The work of the one that supervises; every write of it carries its fence."""

    def __init__(
        self, ledger: Ledger, drivers: Drivers, fence: int, options: SupervisorOptions, webhook: Webhook | None
    ) -> None:
        self._ledger, self._drivers, self._fence, self._options = ledger, drivers, fence, options
        self._webhook, self._sharing = webhook, Sharing(ledger, fence, options.cluster)
        self._seen_at = time.monotonic()
        self._ending: dict[int, float] = {}  # since when drivers that are there were asked to end
        self._segments: dict[int, int] = {}  # that were recorded when a driver was first seen

    def is_held(self) -> bool:
        """Whether this is the supervisor still; the ledger hears of it now and then."""
        now = time.monotonic()
        if now - self._seen_at >= BEAT_SECONDS:
            if not self._ledger.supervision.seen(self._fence):
                return False
            self._seen_at = now
        return True

    def doubt(self) -> None:
        """The ledger refused something: before anything else it is asked whether this is the supervisor still."""
        self._seen_at = float("-inf")

    def reconcile(self) -> None:
        """One look at everything that is not settled."""
        self._drivers.bury()
        running: list[Standing] = []
        waiting: list[Standing] = []
        for standing in self._ledger.standings.open():
            if standing.submission.driver is None:
                waiting.append(standing)
            elif self._drivers.is_there(standing):
                running.append(standing)
                self._see_to_driver(standing)
            else:
                self._conclude(standing.submission)
        for standing in waiting:
            if standing.submission.wanted != "run":
                self._see_to_end(standing)
            elif len(running) < self._options.slots and _is_due(standing):
                running += self._started(standing, running)
        self._sharing.grant(running)

    def leave(self) -> None:
        """Let the next supervisor begin; drivers go on, or are stopped first and wait to be started again."""
        if self._options.stop_drivers:
            self._stop_all()
        self._ledger.supervision.let_go(self._fence)

    def _see_to_driver(self, standing: Standing) -> None:
        """A driver is there: let it be, or let it end where that is wanted."""
        each = standing.submission
        if each.id not in self._segments:
            self._segments[each.id] = self._count(each)
        if each.wanted == "run":
            self._ending.pop(each.id, None)
            return
        if each.id not in self._ending:
            self._ending[each.id] = time.monotonic()
            if not standing.is_leased:
                self._drivers.terminate(each)  # it cannot be asked through the ledger yet
        elif time.monotonic() - self._ending[each.id] > self._options.grace and self._drivers.kill(each):
            _log.warning(
                "%s: did not stop within %g seconds; it was killed.",
                each.name,
                self._options.grace,
                extra={"study": each.name},
            )
        self._ask(standing)

    def _see_to_end(self, standing: Standing) -> None:
        """It is to run no more, and has no driver of ours: one that was launched by hand is asked to end as well."""
        if standing.is_leased:
            self._ask(standing)
        else:
            self._conclude(standing.submission)

    def _ask(self, standing: Standing) -> None:
        if standing.is_leased and standing.asked != "stop":
            self._ledger.standings.ask_to_stop(standing, self._fence)

    def _started(self, standing: Standing, running: Sequence[Standing]) -> list[Standing]:
        """The study with its driver, which is started where there is room for it beside those that run."""
        each = standing.submission
        if self._drivers.executor(each) != "ray":
            begun = self._start(each, None)
        else:
            begun = self._sharing.has_room(running) and self._start(each, self._sharing.first(running, standing))
        now = self._ledger.standings.of(each.id) if begun else None
        return [] if now is None else [now]

    def _start(self, each: Submission, granted: int | None) -> bool:
        """Start a driver, with so many slots of a cluster. Whether there is one now."""
        segments = self._count(each)
        try:
            child = self._drivers.at_gate(each, self._ledger.study(each.name))
        except (InputError, LedgerError, OSError) as error:  # LedgerError: also where its declaration is damaged
            code = INPUT_WRONG if isinstance(error, InputError) else None
            self._write(each, after_failure(code, each.attempts, False, f"it could not be started: {error}"))
            return False
        try:
            started = (child.owner, child.executor, granted)
            is_recorded = self._ledger.standings.started(each, self._fence, *started)
        except LedgerError:
            child.turn_away()
            raise
        if not is_recorded:
            child.turn_away()
            return False
        self._segments[each.id] = segments
        self._drivers.let_in(each, child)
        _log.info("%s: started, %s, on %s.", each.name, child.owner, child.executor, extra={"study": each.name})
        return True

    def _conclude(self, each: Submission) -> None:
        """A submission has no driver any more: write down what that means."""
        code = self._drivers.exit_code(each)
        now = self._ledger.standings.of(each.id)  # read again, for the end of its driver is known only now
        if now is None:
            return
        ending = ending_of(code, now, self._ledger.study(each.name))
        if ending is None:
            went_on = now.segments > self._segments.get(each.id, now.segments)
            ending = after_failure(code, each.attempts, went_on, self._drivers.last_words(each))
        self._write(now.submission, ending)
        self._ending.pop(each.id, None)
        self._segments.pop(each.id, None)

    def _write(self, each: Submission, ending: Ending) -> None:
        if not self._ledger.standings.ended(each, self._fence, ending):
            return  # something else was asked for meanwhile, and is seen to at the next look
        said = f"failed, tried again in {ending.pause:g} seconds" if ending.attempts else "waits again"
        about = {"study": each.name, "outcome": ending.outcome, "attempt": ending.attempts or None}
        words = f" {ending.message}" if ending.message else ""
        _log.info("%s: %s.%s", each.name, ending.outcome or said, words, extra=about)
        if ending.outcome is not None and self._webhook is not None:
            self._webhook.tell(ended(self._ledger, each.name, ending.outcome, ending.message))

    def _count(self, each: Submission) -> int:
        standing = self._ledger.standings.of(each.id)
        return 0 if standing is None else standing.segments

    def _stop_all(self) -> None:
        """Every driver ends, by itself or after the grace; each study goes on with the next supervisor."""
        there = [each for each in self._ledger.standings.open() if self._drivers.is_there(each)]
        for standing in there:
            self._drivers.terminate(standing.submission)
        deadline = time.monotonic() + self._options.grace
        while any(map(self._drivers.is_there, there)) and time.monotonic() < deadline:
            time.sleep(END_SECONDS)
        for standing in there:
            self._drivers.kill(standing.submission)
            self._drivers.exit_code(standing.submission)
            self._write(standing.submission, Ending(None, attempts=standing.submission.attempts))


def _is_due(standing: Standing) -> bool:
    """Whether a driver may be started; a pause that a moved clock made long is none."""
    wait = standing.submission.not_before - time.time()
    return not standing.is_leased and not 0 < wait <= 2 * 60
