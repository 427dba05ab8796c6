"""Which executor a study runs on: a value with its options. `executors.py` starts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from tuner.errors import InputError


@dataclass(frozen=True, slots=True)
class Inline:
    """Train in this process: for one trial, and for debugging."""

    name: ClassVar[str] = "inline"
    workers: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Processes:
    """Train in worker processes of this machine.

    Attributes:
        workers: how many; None for one per usable core, or one per GPU.
    """

    name: ClassVar[str] = "processes"
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(
                f"executor processes: workers must be at least 1, got {self.workers}; the executor inline needs none."
            )


ExecutorChoice = Inline | Processes
EXECUTORS: Final[dict[str, type[ExecutorChoice]]] = {kind.name: kind for kind in (Inline, Processes)}


def chosen(executor: ExecutorChoice | str | None = None, workers: int | None = None) -> ExecutorChoice:
    """What a door was asked for, as one value.

    Args:
        executor: a value, or a name; None leaves it to `workers`.
        workers: worker processes; 0 means `inline`, None the executor's own default.

    Raises:
        InputError: there is no such executor, or it contradicts `workers`.
    """
    if executor is None:
        return Inline() if workers == 0 else Processes(workers)
    if isinstance(executor, str) and executor not in EXECUTORS:
        raise InputError(f"executor: must be {' or '.join(EXECUTORS)}, got {executor!r}.")
    value = EXECUTORS[executor]() if isinstance(executor, str) else executor
    if workers is None or workers == value.workers:
        return value
    if value == Processes():
        return Processes(workers)
    raise InputError(
        f"executor: {value.name} has {value.workers} workers, but workers is {workers}; leave one of them out."
    )
