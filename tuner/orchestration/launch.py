"""One run of one study: what it needs is brought together, and the prepared run put to work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import LedgerError, StoppedError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.orchestration.continuing import check_continuation, length_on, note_run, versions, warn_of_data, warn_of_step
from tuner.orchestration.plan import LaunchPlan
from tuner.orchestration.prepared_run import Ended, PreparedRun, Session, StartExecutor, start_planned
from tuner.orchestration.progress import Progress
from tuner.orchestration.warm_start import WarmStart, check_same, has_begun, own_start, portfolio_start, warm_start
from tuner.search.lengths import length_of
from tuner.search.minutes import EVENT as SPEED
from tuner.spec.rules import ANSWERS

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared


def launch(
    plan: LaunchPlan,
    ledger: Ledger,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    starts: StartExecutor = start_planned,
) -> Ended:
    """Train what is left, score the winner, and publish; no other process runs the study meanwhile.

    Args:
        plan: what to run, and where.
        ledger: the record.
        progress: called a few times a second.
        stop: set to end the run early.
        starts: starts the executor, called with the plan.

    Raises:
        StudyError: another process runs it, or it cannot be continued or begun so; nothing was changed.
        StoppedError: it was stopped before it was recorded for the first time.
    """
    session = replace(Session.of(plan, ledger, progress, stop or threading.Event()), starts=starts)
    with ExitStack() as held:
        known = ledger.study(plan.spec.name)
        if known is not None:
            session.hold(known, held)
            session.reporter.begin(ledger.trials(known.id), known.rules)
        plan = plan.by_rules(known)
        session = replace(session, plan=plan)
        warm = _warm_start(plan, ledger, known)
        session.reporter.show("preparing data")
        executor = session.start_executor()
        held.callback(executor.end)
        try:
            prepared = session.plan.prepare(lambda what: session.tick(what, "preparing data"))
        except StoppedError:
            if known is None:
                raise
            return Ended("stopped", stopped_by=session.control.stopped_by)
        plan = plan.on(prepared)
        if known is None and plan.spec.search.minutes is not None:
            plan = _planned(session, plan, prepared)
            warm = _warm_start(plan, ledger, known)  # a portfolio's share is one of all trials
        if known is None and plan.rules >= ANSWERS:
            length_on(plan, prepared)  # refused, if it is, before anything is recorded
        session = replace(session, plan=plan)
        study, warm = _recorded(session, prepared, (known, warm), held)
        warn_of_step(session.plan, ledger, study)
        warn_of_data(study, prepared)
        note_run(session.plan, ledger, study, prepared, warm)
        session.reporter.sized(length_of(session.plan.spec.search, ledger.events(study.id)))
        return PreparedRun(session, study, prepared, executor).run()


def _planned(session: Session, plan: LaunchPlan, prepared: Prepared) -> LaunchPlan:
    """The plan of a new study with minutes: the machine's speed is read here, once."""
    from tuner.orchestration.speed import timed

    session.reporter.show("preparing data", "reading this machine's speed")
    plan = timed(plan, prepared, session.started, session.control.granted, session.check_stop)
    session.reporter.extend(plan.spec)
    if plan.planned is not None:
        session.reporter.show("preparing data", plan.planned.words(plan.spec.search))
    return plan


def _warm_start(plan: LaunchPlan, ledger: Ledger, known: StudyRecord | None) -> WarmStart | None:
    """What a new study begins with; for one that has begun, the same again can be asked for and changes nothing."""
    events = [] if known is None else ledger.events(known.id)
    if known is None or not has_begun(events):
        own = own_start(plan.spec)
        if plan.warm_from is None:
            return own or portfolio_start(plan.spec, plan.rules)
        return warm_start(ledger, plan.spec, plan.warm_from, plan.workspace.folder).after(own)
    if plan.warm_from is not None:
        check_same(known, events, plan.warm_from)
    return None


def _recorded(
    session: Session,
    prepared: Prepared,
    begun: tuple[StudyRecord | None, WarmStart | None],
    held: ExitStack,
) -> tuple[StudyRecord, WarmStart | None]:
    """The study's record, brought up to date or new and then with its lease in `held`, and what it begins with."""
    plan, ledger = session.plan, session.ledger
    known, warm = begun
    declared, source = plan.spec.model_dump_json(), str(plan.origin)
    began = {} if plan.planned is None else {SPEED: plan.planned.body()}
    if known is None:
        try:
            study = ledger.create_study(
                declared, source, prepared.fingerprint, plan.spec.name, versions(), plan.rules, began=began
            )
        except LedgerError:
            known = ledger.study(plan.spec.name)
            if known is None:
                raise
            session.hold(known, held)  # another process made it meanwhile
            warm = _warm_start(plan, ledger, known)
        else:
            session.hold(study, held)
            return study, warm
    check_continuation(plan, ledger, known, prepared)
    ledger.update_spec(known.id, declared, source)
    return known, warm
