"""When a study has become flat: a pure function of the results, in the order in which they were told.

A cohort brings something where one of its complete trials has a validation loss lower by more than `min_improvement`,
relative, than the best trial of its size or smaller that counted before it. The mark moves only when it is passed, so
that N flat cohorts brought less than `min_improvement` all together, and many small steps count as the large one they
make.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from tuner.spec.study import SearchSpec


@dataclass(frozen=True, slots=True)
class Budget:
    """What ends a study: an event whenever it changes, so that replay repeats what was decided under the old one.

    Attributes:
        trials: trials in all.
        patience: flat cohorts in a row after which no more are asked for; None where there is no such end.
        min_improvement: what counts as an improvement, relative.
    """

    trials: int
    patience: int | None
    min_improvement: float

    @classmethod
    def of(cls, search: SearchSpec) -> Self:
        """What a declaration asks for."""
        return cls(search.trials, search.patience, search.min_improvement)

    @classmethod
    def recorded(cls, body: Mapping[str, Any]) -> Self:
        """From an event's body; before there was patience, `trials` alone was recorded."""
        return cls(body["trials"], body.get("patience"), body.get("min_improvement", 0.0))

    def body(self, position: int) -> dict[str, Any]:
        """An event's body: from that position on, this one holds."""
        patience = {"patience": self.patience, "min_improvement": self.min_improvement}
        return {"position": position, "trials": self.trials, **(patience if self.patience is not None else {})}

    def same_as(self, other: Budget) -> bool:
        """Whether both end a study alike: without patience nothing hangs on what counts as an improvement."""
        same = (self.trials, self.patience) == (other.trials, other.patience)
        return same and (self.patience is None or self.min_improvement == other.min_improvement)


class Plateau:
    """How many of the newest cohorts brought nothing."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []  # (size, loss) of the trials that counted
        self._flat: list[int] = []  # where the cohorts since the last improvement ended

    def tell(self, position: int, reached: Iterable[tuple[float, float]], least: float) -> None:
        """A cohort has ended.

        Args:
            position: where in the study, in the driver's own count.
            reached: size and validation loss of each trial that it completed; with one objective all sizes are equal.
            least: relative improvement that counts.
        """
        improved = [(size, loss) for size, loss in sorted(reached) if loss < (1 - least) * self._mark(size)]
        self._flat = [] if improved else [*self._flat, position]
        self._marks += improved

    def _mark(self, size: float) -> float:
        return min((loss for other, loss in self._marks if other <= size), default=math.inf)

    def since(self, position: int) -> int:
        """Flat cohorts in a row, the newest included, that ended after that position."""
        return sum(end > position for end in self._flat)


class Recorded(Protocol):
    """An event of the record."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def body(self) -> dict[str, Any]: ...  # noqa: D102


def stopped_early(events: Sequence[Recorded]) -> Budget | None:
    """The budget under which a study has become flat, if that was how it ended and nothing was asked for since."""
    of_both = [event for event in events if event.kind in ("budget", "flat")]
    if not of_both or of_both[-1].kind != "flat":
        return None
    return Budget.recorded(next(event.body for event in reversed(of_both) if event.kind == "budget"))
