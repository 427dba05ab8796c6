"""What of a declaration may change when its study goes on."""

from __future__ import annotations

from typing import Final

from tuner.errors import StudyError
from tuner.spec.canonical import Change, changed_keys
from tuner.spec.reader import spec_from_mapping
from tuner.spec.study import FinalSpec, StudySpec

# Whole keys, and blocks with all their keys. Any other key makes another table of trials, or another meaning of it.
_KEYS: Final = frozenset(
    (
        "search.trials",
        "search.minutes",
        "search.timeout",
        "search.patience",
        "search.min_improvement",
        "device",
        "final",
        "rules",
    )
)
_BLOCKS: Final = frozenset(("final",))
_FIXED: Final = frozenset(("final.epochs",))  # runs that are trained have it


def may_change(key: str) -> bool:
    """Whether the value of a dotted key may change."""
    return key in _KEYS or (key.rpartition(".")[0] in _BLOCKS and key not in _FIXED)


def fixed_changes(old: StudySpec, new: StudySpec) -> list[Change]:
    """The changes that a study which goes on cannot take."""
    changes = [change for change in changed_keys(old, new) if not may_change(change.key)]
    if old.final_stage is None or new.final_stage is None:  # switched on or off
        changes = [change for change in changes if change.key not in _FIXED]
    same_split = old.split_seed == new.split_seed  # the default may be written out, and left out again
    return [change for change in changes if change.key != "data.seed" or not same_split]


def as_planned(declared: StudySpec, known: StudySpec) -> StudySpec:
    """The declaration of a study that goes on, with what was planned for its minutes when it began.

    Args:
        declared: as it is given now.
        known: as it is recorded, with what was planned.

    Raises:
        StudyError: it leaves the trials to other minutes than those that they were planned for.
    """
    search, steps = declared.search, known.search.steps
    if search.minutes is None or (known.search.minutes is None and search.is_planned):
        return declared
    if not search.is_planned and search.minutes != known.search.minutes:
        before = "none" if known.search.minutes is None else f"{known.search.minutes:g}"
        raise StudyError(
            f"study {known.name}: search.minutes was {before} and is now {search.minutes:g}, but a study that has begun"
            " is not planned anew; change it back, say how many trials in search.trials, or give the study another"
            " name."
        )
    planned: dict[str, int | None] = {} if search.is_planned else {"trials": known.search.trials}
    final = {}
    if search.steps is None and search.epochs is None:
        if steps is not None:
            planned["steps"] = steps
        if known.search.epochs is not None and declared.final == FinalSpec() != known.final:
            # short trials, and one long training
            planned |= {"epochs": known.search.epochs, "thirds": known.search.thirds}
            final = {"final": known.final}
    return declared.model_copy(update={"search": search.model_copy(update=planned), **final})


def with_budget(spec: StudySpec, trials: int | None, timeout: float | None) -> StudySpec | None:
    """The declaration with more trials, or with more seconds for a run; None where neither is more.

    Args:
        spec: of a study that goes on.
        trials: trials in all; None to leave them.
        timeout: seconds of a run; None to leave them. A run without a limit has none to raise.

    Raises:
        SpecError: the study cannot have so many trials.
    """
    more: dict[str, float] = {}
    if trials is not None and trials > spec.search.trials:
        more["trials"] = trials
    if timeout is not None and spec.search.timeout is not None and timeout > spec.search.timeout:
        more["timeout"] = timeout
    if not more:
        return None
    declared = spec.model_dump(mode="json")
    return spec_from_mapping({**declared, "search": {**declared["search"], **more}})
