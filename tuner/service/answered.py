"""An answer of a study that was made, and for how long it may be given again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from tuner.answers.study import StudyAnswer

RUNNING_SECONDS: Final = 2.0  # for which the answer of a study that runs is given again; its item is always new


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was made.

    Attributes:
        of: what it follows from.
        run: the study, and its run's state.
        made: when, by the monotonic clock.
        answer: the answer.
    """

    of: object
    run: tuple[str, str]
    made: float
    answer: StudyAnswer

    def holds(self, of: object, run: tuple[str, str]) -> bool:
        """Whether it may be given: nothing has changed, or a study that runs on was asked about a moment ago."""
        is_young = time.monotonic() - self.made < RUNNING_SECONDS
        return self.of == of or (self.run == run and run[1] == "running" and is_young)
