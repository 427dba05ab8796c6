"""What the bridge process is told of the cluster; imports nothing of Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tuner.execution.choice import Share

ROOM_SECONDS: Final = 600.0  # for which a cluster that has room for no slot may get a node: an autoscaler takes minutes


@dataclass(frozen=True, slots=True)
class Joining:
    """Which cluster a study joins, and what a slot takes of it.

    Attributes:
        address: as Ray has it, `auto` or `host:port`; None starts a cluster on this machine.
        share: cores and GPUs of a slot.
        most: slots at most; None for all that there is room for.
        cores: of a cluster that is started here.
        folder: where such a cluster keeps its files.
        environment: variables that Ray reads when it is imported.
        store: bytes of memory that such a cluster holds objects in.
    """

    address: str | None
    share: Share
    most: int | None
    cores: int
    folder: str
    environment: tuple[tuple[str, str], ...] = ()
    store: int = 256 * 2**20
