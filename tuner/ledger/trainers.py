"""Where a study's runs trained, and by what: two steps differ in the last bits of a loss."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.answers.study import TrainedOn
from tuner.ledger.records import Event


def trained_on(events: Sequence[Event]) -> tuple[TrainedOn, ...]:
    """The device and the step of a study's runs, each pair once, the first first."""
    runs = [event.body for event in events if event.kind == "run"]
    pairs = dict.fromkeys((run["device"], run["step"]) for run in runs if "step" in run)
    return tuple(TrainedOn(device=device, step=step) for device, step in pairs)


def step_at(events: Sequence[Event], at: float | None) -> str | None:
    """The step of the run that went on at a time: what trained a trial that ended then; None where nothing tells."""
    runs = [event for event in events if event.kind == "run" and (at is None or event.at <= at)]
    return runs[-1].body.get("step") if runs else None


def in_words(trained: Sequence[TrainedOn]) -> str:
    """`cpu by the compiled step (avx2)`, the next one behind `then on`; empty where there was no run."""
    return ", then on ".join(f"{one.device} by {step_in_words(one.step)}" for one in trained)


def step_in_words(step: str) -> str:
    """What trained, in words."""
    return "PyTorch's functions" if step == "torch" else f"the compiled step ({step})"
