"""Whether a study that was begun can go on like this, and what its record says of each run."""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.data.sources import Sources
from tuner.errors import StudyError
from tuner.execution.executors import usable_cores
from tuner.learning import cgroups
from tuner.learning.compiled.library import found
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.ledger.trainers import in_words, step_in_words, trained_on
from tuner.orchestration.plan import LaunchPlan
from tuner.orchestration.warm_start import EVENT, WarmStart, has_begun
from tuner.report.pictures import is_image
from tuner.search.lengths import resolved
from tuner.search.patience import Budget
from tuner.spec.canonical import Change
from tuner.spec.continuing import fixed_changes
from tuner.spec.length import EVENT as LENGTH
from tuner.spec.length import Length
from tuner.spec.rules import ANSWERS, NEWEST

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared


def check_continuation(plan: LaunchPlan, ledger: Ledger, known: StudyRecord, prepared: Prepared) -> None:
    """Refuse what would not be the same study any more.

    Raises:
        StudyError: with what has changed, and what to do.
    """
    if known.rules > NEWEST:
        raise StudyError(
            f"study {known.name}: was begun by rules {known.rules}, but this version of the tuner knows those up to"
            f" {NEWEST}; use the version that began it, or a newer one."
        )
    if plan.spec.rules not in (None, known.rules):
        raise StudyError(
            f"study {known.name}: was begun by rules {known.rules}, but the declaration asks for {plan.spec.rules};"
            " leave rules out, or give the study another name."
        )
    changes = [change for change in fixed_changes(known.spec, plan.spec) if not _is_same_file(change, plan, known)]
    if changes:
        listed = "; ".join(f"{c.key} was {c.old} and is now {c.new}" for c in changes)
        raise StudyError(
            f"study {known.name}: cannot go on, for {listed}. Change it back, or give the study another name."
        )
    if known.fingerprint != prepared.fingerprint:
        raise StudyError(
            f"study {known.name}: cannot go on, for the data in {plan.spec.data.source} has changed"
            " since the study began."
            " Bring the data back, or give the study another name."
        )
    asked = len(ledger.trials(known.id))
    if plan.spec.search.trials < asked:
        raise StudyError(
            f"study {known.name}: search.trials must be at least {asked}, the trials it already has,"
            f" got {plan.spec.search.trials}."
        )


def _is_same_file(change: Change, plan: LaunchPlan, known: StudyRecord) -> bool:
    """Whether the data's file is only named otherwise, for the declaration lies in another folder now."""
    if change.key != "data.source":
        return False
    return Sources(Path(known.source).parent).path(change.old) == Sources(plan.origin.parent).path(change.new)


def warn_of_step(plan: LaunchPlan, ledger: Ledger, study: StudyRecord) -> None:
    """Say where a build was refused, and where a study goes on by another step than before: bits differ."""
    events, says = ledger.events(study.id), logging.getLogger("tuner").warning
    if plan.device == "cpu" and plan.spec.step != "torch" and found().refused:
        says("%s", found().why)
    before = trained_on(events)
    if before and plan.step not in {one.step for one in before}:
        so_far, now = in_words(before), step_in_words(plan.step)
        text = "%s: was trained on %s; what is left is trained by %s, whose losses differ in the last bits."
        says(text, study.name, so_far, now)


def warn_of_data(study: StudyRecord, prepared: Prepared) -> None:
    """Say what the user should know of the data."""
    for note in prepared.notes:
        logging.getLogger("tuner").warning("%s: %s", study.name, note)


def length_on(plan: LaunchPlan, prepared: Prepared) -> Length:
    """How long the trials of a new study train on these rows.

    Raises:
        SpecError: the declared length does not fit them.
    """
    train, validation, _ = prepared.source.counts
    return resolved(plan.spec, train, validation)


def note_run(plan: LaunchPlan, ledger: Ledger, study: StudyRecord, prepared: Prepared, warm: WarmStart | None) -> None:
    """Record what a study begins with and the budget of its first run, and where each run trains."""
    events = ledger.events(study.id)
    if not has_begun(events):
        # A version before this one could be killed between the two events.
        began = [] if warm is None or WarmStart.recorded(events) is not None else [(EVENT, warm.body())]
        began.append(("budget", Budget.of(plan.spec.search).body(0)))
        if study.rules >= ANSWERS:
            began.append((LENGTH, length_on(plan, prepared).body()))
        if prepared.notes:
            began.append(("data", {"notes": list(prepared.notes)}))
        ledger.record_events(study.id, began)
    body = {
        "device": plan.device,
        "step": plan.step,
        "cores": usable_cores(),
        "memory": f"{_memory() / 1e9:.1f} GB",
        "features": prepared.features,
        "images": is_image(prepared.shape),
    }
    if plan.executor.workers is not None:  # of a cluster it is not known beforehand
        body["workers"] = plan.executor.workers
    ledger.record_event(study.id, "run", body)


def versions() -> dict[str, str]:
    """What a study is begun with: Optuna's samplers may propose other points in another version."""
    return {name: version(name) for name in ("autoencoder-tuner", "torch", "optuna", "numpy")}


def _memory() -> int:
    """Bytes that this process may take: the machine's, or less where its control groups set a limit."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(whole, cgroups.memory_limit() or whole)
