"""Which executor a study runs on: a value with its options. `executors.py` starts it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from tuner.errors import InputError
from tuner.learning.checkpoint_url import store_at
from tuner.spec.execution import ExecutionSpec


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


_ADDRESS: Final = re.compile(r"auto|[^/\s]+:\d+")  # Ray's own `local` would listen on every interface


@dataclass(frozen=True, slots=True)
class Share:
    """What one slot takes of a node.

    Attributes:
        cpu: cores.
        gpu: GPUs, or a share of one.
    """

    cpu: float = 1.0
    gpu: float = 0.0

    def __post_init__(self) -> None:
        amounts = (self.cpu, self.gpu)
        if not all(0 <= amount < math.inf for amount in amounts) or not any(amounts):
            raise InputError(f"executor ray: a slot needs cores or GPUs, got {self}.")
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise InputError(f"executor ray: a slot takes a share of one GPU or whole ones, got {self}.")

    def __str__(self) -> str:
        return f"cpu={self.cpu:g}" + (f",gpu={self.gpu:g}" if self.gpu else "")

    @classmethod
    def of(cls, text: str) -> Self:
        """From `cpu=1`, `gpu=0.25` or `cpu=2,gpu=1`; with a GPU a core goes along unless the text says otherwise.

        Raises:
            InputError: it says something else.
        """
        amounts = {}
        for part in text.split(","):
            name, _, amount = part.strip().partition("=")
            try:
                amounts[name] = float(amount)
            except ValueError:
                amounts[""] = 0.0
        if not amounts or not set(amounts) <= {"cpu", "gpu"}:
            raise InputError(f"executor ray: slots must be like cpu=1, gpu=0.25 or cpu=2,gpu=1, got {text!r}.")
        return cls(**amounts)


@dataclass(frozen=True, slots=True)
class Ray:
    """Train in the slots of a Ray cluster.

    Attributes:
        address: of the cluster that this machine belongs to, as Ray has it: `auto` or `host:port`; None starts one on
            this machine, and ends it.
        slot: what a slot takes of a node; None for a core, or for a core and a GPU where the study trains on GPUs.
        most: slots at most; None for all that the cluster has room for.
        checkpoints: a folder or bucket that all nodes reach, for large states; None where all go through the driver.
    """

    name: ClassVar[str] = "ray"
    address: str | None = None
    slot: Share | None = None
    most: int | None = None
    checkpoints: str | None = None

    def __post_init__(self) -> None:
        if self.checkpoints is not None:
            object.__setattr__(self, "checkpoints", store_at(self.checkpoints))
        if self.most is not None and self.most < 1:
            raise InputError(f"executor ray: most must be at least 1, got {self.most}.")
        if self.address is not None and not _ADDRESS.fullmatch(self.address):
            raise InputError(
                f"executor ray: address must be auto or host:port of the cluster that this machine belongs to, got"
                f" {self.address!r}; a client from outside (ray://) is not supported, and without an address a cluster"
                " of this machine is started."
            )

    @property
    def options(self) -> list[str]:
        """What says the same to `tuner run`."""
        said = {
            "--address": self.address,
            "--slots": self.slot,
            "--most": self.most,
            "--checkpoints": self.checkpoints,
        }
        return ["--executor", self.name, *(f"{key}={value}" for key, value in said.items() if value is not None)]

    @property
    def share(self) -> Share:
        """What a slot takes."""
        return self.slot or Share()

    @property
    def workers(self) -> int | None:
        """Slots, where that is known beforehand."""
        return self.most


ExecutorChoice = Inline | Processes | Ray
EXECUTORS: Final[dict[str, type[ExecutorChoice]]] = {kind.name: kind for kind in (Inline, Processes, Ray)}


def asked_for(
    executor: str | None,
    address: str | None = None,
    slots: str | None = None,
    most: int | None = None,
    checkpoints: str | None = None,
) -> ExecutorChoice | str | None:
    """What a door was asked for in words, for `chosen`; what is said of a cluster stands for a cluster.

    Args:
        executor: a name, or None.
        address: of a cluster; see `Ray`.
        slots: what a slot takes, in words.
        most: slots at most.
        checkpoints: where large states lie.

    Raises:
        InputError: it is another executor's name, or a word means nothing.
    """
    if address is None and slots is None and most is None and checkpoints is None:
        return executor
    if executor not in (None, Ray.name):
        raise InputError(
            f"executor {executor}: address, slots, most and checkpoints are those of a cluster; say ray, or leave them"
            " out."
        )
    return Ray(address, None if slots is None else Share.of(slots), most, checkpoints)


def over(asked: ExecutorChoice | None, known: ExecutorChoice) -> ExecutorChoice:
    """What a door was asked for, before what is declared; what it leaves open of a cluster is as declared.

    Args:
        asked: from `chosen`; None where nothing was asked for.
        known: from `declared`.
    """
    if isinstance(asked, Ray) and isinstance(known, Ray):
        return Ray(
            asked.address or known.address,
            asked.slot or known.slot,
            asked.most or known.most,
            asked.checkpoints or known.checkpoints,
        )
    return known if asked is None else asked


def declared(execution: ExecutionSpec | None) -> ExecutorChoice:
    """What a space file says of it; worker processes where it says nothing.

    Raises:
        InputError: a word means nothing, or is another executor's.
    """
    if execution is None:
        return Processes()
    asked = asked_for(execution.executor, execution.address, execution.slots, execution.most, execution.checkpoints)
    return chosen(asked, execution.workers)


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
        raise InputError(f"executor: must be {', '.join(EXECUTORS)}, got {executor!r}.")
    value = EXECUTORS[executor]() if isinstance(executor, str) else executor
    if workers is None or workers == value.workers:
        return value
    if value == Processes():
        return Processes(workers)
    if isinstance(value, Ray):
        raise InputError(f"executor ray: has slots, no workers, but workers is {workers}; say most={workers} instead.")
    raise InputError(
        f"executor: {value.name} has {value.workers} workers, but workers is {workers}; leave one of them out."
    )
