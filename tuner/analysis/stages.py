"""The final stage of a study by whichever rules it has: whether it is over, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.analysis import final_stage
from tuner.analysis.longer_answer import longer_answer
from tuner.analysis.longer_stage import Stage, is_cut, recorded_runs, recorded_stage
from tuner.answers.parts import FinalStage
from tuner.ledger.records import Event, TrialRecord
from tuner.spec.final import Allotment
from tuner.spec.length import known_length
from tuner.spec.rules import ANSWERS
from tuner.spec.study import StudySpec


@dataclass(frozen=True, slots=True)
class StageRecord:
    """All that a final stage follows from.

    Attributes:
        spec: the study's declaration.
        rules: the number of its rules.
        trials: the search's trials.
        finals: the stage's runs so far.
        events: the study's.
        features: of a row; needed where the number of parameters is an objective.
        allotted: what the stage may spend as it is declared now; needed to tell whether it is over.
    """

    spec: StudySpec
    rules: int
    trials: Sequence[TrialRecord]
    finals: Sequence[TrialRecord]
    events: Sequence[Event]
    features: int = 0
    allotted: Allotment | None = None

    @property
    def is_longer(self) -> bool:
        """Whether the stage is the one of rules 4: longer, and measured on seeds of its own."""
        return self.rules >= ANSWERS

    @property
    def stage(self) -> Stage | None:
        """The stage of rules 4 that was begun last; None where none was, or it is switched off."""
        plan = recorded_stage(self.events)
        if plan is None or self.spec.final_stage is None:
            return None
        plans = recorded_runs(self.events)
        return Stage(self.spec, plan, self.trials, self.finals, plans, is_cut=is_cut(self.events))

    @property
    def is_begun(self) -> bool:
        """Whether the stage that was begun last is the one that is due now."""
        plan = recorded_stage(self.events)
        return plan is not None and (plan.allotment, plan.trials) == (self.allotted, len(self.trials))

    @property
    def is_over(self) -> bool:
        """Whether nothing of the final stage is left to train, once the search is over."""
        if self.spec.final_stage is None:
            return True
        if not self.is_longer:
            return not final_stage.missing(self.spec, self.trials, self.finals, self.features)
        return self.is_begun and (stage := self.stage) is not None and not stage.due()

    @property
    def answer(self) -> FinalStage | None:
        """What the stage says, without test losses; None where it is switched off or was not begun."""
        if not self.is_longer:
            return final_stage.answer(self.spec, self.trials, self.finals, self.features)
        stage = self.stage
        return None if stage is None else longer_answer(self.spec, stage, known_length(self.spec.search, self.events))
