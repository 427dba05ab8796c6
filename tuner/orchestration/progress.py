"""The state of a study's run: what a terminal shows of it, here or elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from tuner.ledger.records import StudyState
from tuner.spec.work import TrialState

Phase = Literal["starting", "preparing data", "training", "confirming", "scoring", "publishing", "not running"]
RATE_SECONDS = 5.0  # the progress line's speed is that of the last seconds
_OF_THE_READER = ("state", "owner", "stop_asked_by", "at")


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a study.

    Attributes:
        name: the study.
        total: trials in all.
        counts: trials by state, the states that occur alone.
        best: the lowest validation loss of a complete trial; None before there is one.
        epochs_per_second: over the last seconds, of all trials together; in `unit`.
        seconds_left: None until there is a speed to estimate it by.
        waiting: records that wait for MLflow.
        phase: what the run is doing; `starting` before it has said so, `not running` where there is no run.
        confirmed: the final stage's runs that are done, of all; None before the final stage.
        detail: what is being done while data is prepared or the winner scored.
        unit: epochs or steps.
        state: running, stopped or finished.
        owner: the process that runs it, in words, where that was asked for from outside.
        stop_asked_by: the process that asked it to stop; None where none did.
        at: when the run said so, Unix time in seconds.
        slots: workers that are there, at work or idle; None while nothing is trained.
        nodes: nodes of a cluster that they are on; None where they are on the run's own machine.
        room: slots that the cluster has room for if nobody else used it; None where there is none.
    """

    name: str
    total: int
    counts: dict[TrialState, int]
    best: float | None
    epochs_per_second: float
    seconds_left: float | None
    waiting: int
    phase: Phase
    confirmed: tuple[int, int] | None = None
    detail: str = ""
    unit: Literal["epochs", "steps"] = "epochs"
    state: StudyState = "running"
    owner: str | None = None
    stop_asked_by: str | None = None
    at: float | None = None
    slots: int | None = None
    nodes: int | None = None
    room: int | None = None

    @property
    def ended(self) -> int:
        """Trials that have ended, in any way."""
        return sum(count for state, count in self.counts.items() if state is not TrialState.RUNNING)

    def body(self) -> dict[str, Any]:
        """As the ledger keeps it: what the run itself knows."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_THE_READER}

    @classmethod
    def of_body(cls, body: Mapping[str, Any], **seen: Any) -> Self:
        """From what a run wrote, perhaps of another version: keys that this one does not know are passed over.

        Args:
            body: from `body`.
            **seen: what the reader adds.
        """
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in body.items() if name in known and name not in seen}
        counts = {TrialState(state): count for state, count in body["counts"].items()}
        confirmed = body.get("confirmed")
        return cls(**{**given, "counts": counts, "confirmed": confirmed and tuple(confirmed), **seen})


class Speed:
    """Epochs per second over the last few seconds, counted from the first record on: before it, workers start."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def of(self, epochs: float) -> float:
        """The speed, now that so many epochs are done."""
        if epochs == 0:
            return 0.0
        now = time.monotonic()
        self._points.append((now, epochs))
        while now - self._points[0][0] > RATE_SECONDS and len(self._points) > 2:
            self._points.popleft()
        before, then = self._points[0]
        return (epochs - then) / (now - before) if now > before else 0.0


def workers_in_words(slots: int, nodes: int | None) -> str:
    """`2 workers`, `5 slots on 2 nodes`: how many are there, at work or idle; nodes are those of a cluster."""
    if slots == 0:
        return "workers are starting" if nodes is None else "waiting for slots"
    if nodes is None:
        return f"{slots} worker{'s' * (slots != 1)}"
    return f"{slots} slot{'s' * (slots != 1)} on {nodes} node{'s' * (nodes != 1)}"
