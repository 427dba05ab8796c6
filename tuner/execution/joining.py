"""What the bridge process is told of the cluster; imports nothing of Ray."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import Final, Self, final

from tuner.execution.choice import Ray, Share
from tuner.execution.processes import import_path

ROOM_SECONDS: Final = 600.0  # for which a cluster that has room for no slot may get a node: an autoscaler takes minutes

# No request leaves the machine, and nothing is said that nobody asked for.
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


@final
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
        granted: slots at most of those, now; None for all of them.
    """

    address: str | None
    share: Share
    most: int | None
    cores: int
    folder: str
    environment: tuple[tuple[str, str], ...] = ()
    store: int = 256 * 2**20
    granted: int | None = None

    @classmethod
    def of(cls, choice: Ray, cores: int, folder: str, granted: int | None = None) -> Self:
        """What a bridge is told of the cluster that was chosen.

        A cluster that is started here listens on loopback alone, takes a word that nobody knows, and ends no process
        for want of memory: that is the system's business, as with local workers.
        """
        own = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # for all systems: the address of a cluster of one machine
            "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *import_path()]),
        }
        environment = _QUIET | (own if choice.address is None else {})
        told = tuple(environment.items())
        return cls(choice.address, choice.share, choice.most, cores, folder, told, granted=granted)
