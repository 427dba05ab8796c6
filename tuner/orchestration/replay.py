"""The search of one study, run from its beginning: what is recorded is repeated, what follows is recorded.

Durable replay (law 3): a study that was killed goes on by running the very code that an undisturbed one runs. Nothing
is trained here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from tuner.errors import LedgerError, StudyError
from tuner.ledger.record import RunRecord
from tuner.ledger.records import CohortRecord, StudyRecord, TrialRecord
from tuner.orchestration.results import Results
from tuner.search.patience import Budget, Plateau, stopped_early
from tuner.search.rungs import at_once, cohort_size
from tuner.spec.length import recorded_length
from tuner.spec.study import StudySpec
from tuner.spec.work import Trial, TrialEnd, TrialState

if TYPE_CHECKING:
    from tuner.search.loop import Decision, Round, Search


class Replay:
    """Asks for cohorts and tells rounds, in the order in which the search wants them.

    A cohort's size and the position at which it was asked for are recorded, since both depend on the budget of that
    moment. What was asked and told is recorded by `record`, before any of it is trained: until then it is lost with the
    process, and the next one decides the same.

    Args:
        study: the study's record.
        spec: its declaration as it is now.
        record: where everything is recorded.
        results: what is measured so far.

    Attributes:
        rounds: begun and not told yet, in the order in which they are to be told.
        counts: trials by state; kept up to date, for a long study is told of often.
    """

    def __init__(self, study: StudyRecord, spec: StudySpec, record: RunRecord, results: Results) -> None:
        self._study, self._spec, self._record, self._results = study, spec, record, results
        self._cohorts = record.cohorts(study.id)
        self._trials = {trial.number: trial for trial in record.trials(study.id)}
        self._ended = {n for n, trial in self._trials.items() if trial.state is not TrialState.RUNNING}
        events = record.events(study.id)
        self._first = [point for event in events if event.kind == "warm_start" for point in event.body["points"]]
        self._features = next((event.body["features"] for event in reversed(events) if event.kind == "run"), 0)
        self._known_length = recorded_length(events)
        self._budgets = {e.body["position"]: Budget.recorded(e.body) for e in events if e.kind == "budget"}
        self._plateau, self._noted_flat = Plateau(), stopped_early(events) is not None
        self._position = 0  # rounds that the search knows
        self._asked_cohorts = 0
        self._new_cohorts: list[tuple[CohortRecord, Sequence[Trial]]] = []
        self._new_ends: list[TrialEnd] = []
        self.rounds: deque[Round] = deque()
        self._states = {number: trial.state for number, trial in self._trials.items()}
        self.counts = Counter(self._states.values())

    @cached_property
    def _search(self) -> Search:
        from tuner.search.loop import Search  # (Optuna, while the workers start)

        return Search(self._spec, self._first, self._features, self._study.rules, self._known_length)

    @property
    def trials_asked(self) -> int:
        """Trials asked for so far."""
        return self._search.trials_asked

    def extend(self, spec: StudySpec) -> None:
        """Go on with another budget; `take_new_budget` records it where the record ends."""
        self._spec = spec

    def ask(self) -> list[Round]:
        """The rounds that begin now: one for each cohort that is due.

        Raises:
            StudyError: the search proposes other trials than are recorded.
        """
        begun = []
        while (size := self._due()) > 0:
            recorded = self._asked_cohorts < len(self._cohorts)
            asked = self._search.ask(self._asked_cohorts, size)
            if recorded:
                self._check(asked.trials)
            else:
                cohort = CohortRecord(self._asked_cohorts, self._position)
                self._new_cohorts.append((cohort, asked.trials))
                self._cohorts.append(replace(cohort, size=size))
            self._asked_cohorts += 1
            self._count(
                {trial.number: TrialState.RUNNING for trial in asked.trials if trial.number not in self._states}
            )
            self.rounds.append(asked)
            begun.append(asked)
        return begun

    def tell(self) -> Decision:
        """Tell the search of the first round, which is whole."""
        ended = self.rounds.popleft()
        numbers = [trial.number for trial in ended.trials]
        decision = self._search.tell(ended, self._results.curves_of(ended), self._results.lost(numbers, ended.last))
        self._new_ends += [end for end in decision.ends if end.number not in self._ended]
        if decision.next is None:
            complete = [end for end in decision.ends if end.state is TrialState.COMPLETE]
            reached = [(self._search.size(end.number), end.value) for end in complete if end.value is not None]
            self._plateau.tell(self._position + 1, reached, self._budget().min_improvement)
        else:
            self.rounds.append(decision.next)
        self._position += 1
        self._count({end.number: end.state for end in decision.ends})
        return decision

    def record(self) -> None:
        """Record what was decided since the last time: the cohorts that were asked for, and how trials ended."""
        if self._new_cohorts:
            self._record.record_cohorts(self._study.id, self._new_cohorts, self._new_ends)
        elif self._new_ends:
            self._record.record_ends(self._study.id, self._new_ends)
        self._new_cohorts, self._new_ends = [], []

    def take_new_budget(self) -> bool:
        """Where the record ends, the budget asked for now begins to count: an event, so that replay repeats it."""
        wanted, newest = Budget.of(self._spec.search), max(self._budgets)
        if self._budgets[newest].same_as(wanted) or newest > self._position:
            return False
        self.record()
        self._record.record_event(self._study.id, "budget", wanted.body(self._position))
        self._budgets[self._position] = wanted
        self._noted_flat = False
        return True

    def finish(self) -> None:
        """Nothing is left to be asked or told; it is recorded.

        Raises:
            LedgerError: more is recorded than the search came to.
        """
        self.record()
        if self._asked_cohorts < len(self._cohorts):
            raise LedgerError(
                f"study {self._study.name}: the ledger's cohort {self._asked_cohorts} was asked for after"
                f" {self._cohorts[self._asked_cohorts].position} rounds, but replaying it ended after {self._position}."
            )
        if self._is_flat() and not self._noted_flat:
            self._record.record_event(self._study.id, "flat", {"position": self._position})

    def _count(self, states: Mapping[int, TrialState]) -> None:
        """Trials that are new, or in another state."""
        self.counts.subtract(self._states[number] for number in states if number in self._states)
        self.counts.update(states.values())
        self._states.update(states)

    def _due(self) -> int:
        """Trials of the cohort that is to be asked for now; 0 where none is."""
        if self._asked_cohorts < len(self._cohorts):
            cohort = self._cohorts[self._asked_cohorts]
            return cohort.size if cohort.position == self._position else 0
        return self._wanted()

    def _wanted(self) -> int:
        """Trials that the search asks for at this position; 0 where it waits, or has all it is to have."""
        most = at_once(self._spec.search, self._study.rules, self._asked_cohorts)
        if len(self.rounds) >= most or self._is_flat():
            return 0
        return max(0, min(cohort_size(self._spec.search), self._budget().trials - self._search.trials_asked))

    def _budget(self) -> Budget:
        """The budget that counts at this position."""
        return self._budgets[self._budget_since()]

    def _budget_since(self) -> int:
        return int(max(position for position in self._budgets if position <= self._position))

    def _is_flat(self) -> bool:
        """Patience is over before the trials are; every budget begins to wait anew."""
        budget = self._budget()
        if budget.patience is None or self._search.trials_asked >= budget.trials:
            return False
        return self._plateau.since(self._budget_since()) >= budget.patience

    def _check(self, trials: Iterable[Trial]) -> None:
        for trial in trials:
            known = self._trials[trial.number]
            if (known.point, known.seed) != (trial.point, trial.seed):
                raise StudyError(_other_versions(self._study, known, trial))


def _other_versions(study: StudyRecord, record: TrialRecord, trial: Trial) -> str:
    return (
        f"study {study.name}: replaying it proposed {trial.point.as_dict()} for trial {trial.number}, but the ledger"
        f" holds {record.point.as_dict()}; it was begun with optuna {study.versions.get('optuna', '(unknown)')}."
        " Install that version to go on, or give the study another name."
    )
