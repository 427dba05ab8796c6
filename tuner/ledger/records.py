"""What the ledger answers with, frozen; importing this imports neither SQLAlchemy nor pydantic."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from tuner.errors import LedgerError
from tuner.spec.architecture import Hyperparameters
from tuner.spec.final import is_final, words_of
from tuner.spec.work import TrialState

if TYPE_CHECKING:
    from tuner.spec.distributions import Scalar
    from tuner.spec.space import SearchSpace
    from tuner.spec.study import StudySpec

StudyState = Literal["running", "stopped", "finished"]
OutboxKind = Literal["study", "trial", "curve", "end", "summary", "answer"]


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as it was declared, and its state.

    Attributes:
        id: the study in this ledger.
        key: 32 hexadecimal digits that name the study in every ledger and tracking server there is.
        name: the user's name for it, unique in the ledger.
        spec_json: the whole declaration.
        source: the file it came from, or what the caller named it.
        fingerprint: SHA-256 of the data and of the declaration's data block.
        state: running, stopped or finished.
        created_at: Unix time in seconds.
        changed_at: when the state last changed.
        versions: name to version of what it was created with.
        rules: the number of the rules that it was begun with (`tuner.spec.rules`).
    """

    id: int
    key: str
    name: str
    spec_json: str
    source: str
    fingerprint: str
    state: StudyState
    created_at: float
    changed_at: float
    versions: dict[str, str]
    rules: int

    @property
    def spec(self) -> StudySpec:
        """The declaration, read.

        Raises:
            LedgerError: it is not one that the tuner wrote.
        """
        from tuner.spec.study import StudySpec  # noqa: PLC0415  (pydantic: a list of studies needs none of it)

        try:
            return StudySpec.model_validate_json(self.spec_json)
        except ValueError:
            raise LedgerError(
                f"study {self.name}: the ledger must hold its declaration as the tuner wrote it, but it is damaged;"
                " restore the ledger from a copy."
            ) from None


@dataclass(frozen=True, slots=True)
class StudyTally:
    """A study in a list.

    Attributes:
        name: its name.
        state: running, stopped or finished; stopped as well where the run was killed.
        counts: trials by state, the states that occur alone; runs of the final stage are not among them.
        best: the lowest validation loss of a complete trial; None where there is none.
        trials: trials in all, as it is declared now; those it has where its declaration is damaged.
        created_at: Unix time in seconds.
        owner: who runs it, in words; None where no process does.
        was_killed: its run ended without writing down how.
        changed_at: when its state last changed, Unix time in seconds.
    """

    name: str
    state: StudyState
    counts: dict[TrialState, int]
    best: float | None
    trials: int
    created_at: float
    owner: str | None
    was_killed: bool
    changed_at: float = 0.0

    @property
    def ended(self) -> int:
        """Trials that have ended, in any way."""
        return sum(count for state, count in self.counts.items() if state is not TrialState.RUNNING)


@dataclass(frozen=True, slots=True)
class CohortRecord:
    """Trials that were asked for together.

    Attributes:
        number: the cohort, counted from 0.
        position: where in the search loop it was asked for, in the loop's own count.
        size: its trials; counted by the ledger, not written by the caller.
    """

    number: int
    position: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial and how far it came.

    Attributes:
        number: place in the study, counted from 0.
        cohort: the cohort that it was asked for with.
        point: the hyperparameters.
        seed: the only source of the trial's randomness.
        state: its state.
        value: best validation loss so far; None where no epoch was finite.
        best_epoch: the epoch of `value`, counted from 1; None where there is no value.
        epochs: epochs measured.
        reason: one sentence for a trial that ended in any state but COMPLETE, else empty.
        asked_at: Unix time in seconds at which it was recorded.
        started_at: when its first recorded segment began; None before that.
        ended_at: when its end was recorded; None before that.
        measures: what its code is worth beside the loss, by name; empty where it was not measured.
        space: the study's search space; None where its declaration cannot be read.
    """

    number: int
    cohort: int
    point: Hyperparameters
    seed: int
    state: TrialState
    value: float | None
    best_epoch: int | None
    epochs: int
    reason: str
    asked_at: float
    started_at: float | None
    ended_at: float | None
    measures: Mapping[str, float] = field(default_factory=dict)
    space: SearchSpace | None = field(default=None, compare=False, repr=False)

    @property
    def shown(self) -> dict[str, Scalar | None]:
        """The hyperparameters that the study has a use for; None for those that are not active at this point.

        The final stage may train with a schedule that the search did not.
        """
        if self.space is None:
            return dict(self.point.as_dict())
        own = {"schedule": self.point.schedule} if is_final(self.number) and self.point.scheduled else {}
        return {**self.space.shown(self.point), **own}

    @property
    def params(self) -> dict[str, Scalar]:
        """The hyperparameters that are in use at this point."""
        return {name: value for name, value in self.shown.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment that was trained: `trials` from epoch `first` to `last`, in `seconds`, by `worker`."""

    trials: tuple[int, ...]
    first: int
    last: int
    seconds: float
    worker: str
    at: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that replay must know and cannot compute: a timeout, a stop, a changed budget."""

    seq: int
    at: float
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a study.

    Attributes:
        state: run or stop.
        trials: trials in all that a running study is to go on to; None for those that it was launched with.
        timeout: seconds that this run may take; None for those that it was launched with.
        at: when it was asked for, Unix time in seconds.
        by: which process asked, in words.
        granted: slots of a cluster that the service's supervisor lets the run have now; None where it says nothing.
    """

    state: Literal["run", "stop"]
    trials: int | None
    timeout: float | None
    at: float
    by: str
    granted: int | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """How far a run has come.

    Attributes:
        body: as the run wrote it.
        at: when, Unix time in seconds.
        fence: which of the study's runs wrote it, counted from 1.
    """

    body: dict[str, Any]
    at: float
    fence: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """Something recorded that MLflow does not show yet. It points at the record and holds no copy of it.

    Attributes:
        id: grows with every row, never used twice.
        kind: study, trial, curve, end, summary or answer (the files that are made once there is a summary).
        trial: the trial; None for study, summary and answer.
        first: of a curve, epochs before its first.
        last: of a curve, its last epoch.
        reason: why MLflow will never take it; None while it waits.
    """

    id: int
    kind: OutboxKind
    trial: int | None
    first: int | None
    last: int | None
    reason: str | None = None

    @property
    def why(self) -> str:
        """What MLflow will never take, and the reason."""
        return f"{self.kind}{'' if self.trial is None else f' of {words_of(self.trial)}'}: {self.reason}"


@lru_cache(maxsize=8)
def search_space(spec_json: str) -> SearchSpace | None:
    """The search space in a declaration; None where it is not one that the tuner wrote."""
    from tuner.spec.space import SearchSpace  # noqa: PLC0415  (pydantic)

    try:
        return SearchSpace.model_validate_json(json.dumps(json.loads(spec_json)["space"]))
    except (ValueError, KeyError, TypeError):
        return None


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The complete trial with the lowest value, the first of equals."""
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
    return min(complete, key=lambda t: (t.value, t.number), default=None)


def unknown_study(name: str, names: Sequence[str]) -> str:
    """What is said where a study of that name is not among these."""
    near = difflib.get_close_matches(name, names, 1)
    if not names:
        return f"study {name}: there is no study here yet; `tuner run FILE` begins one."
    hint = f"did you mean {near[0]}?" if near else f"the studies here are {', '.join(names)}."
    return f"study {name}: there is none of that name; {hint}"
