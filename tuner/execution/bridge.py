"""The bridge process between a driver and a Ray cluster: what it does before and after it speaks with Ray."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from tuner.execution.joining import Joining
from tuner.execution.processes import settle


def serve(connection_file: int, life: int) -> None:
    """What a bridge process does, until the driver ends it or is gone.

    Args:
        connection_file: its end of the connection.
        life: a pipe whose other end the driver alone holds.
    """
    connection = Connection(connection_file)
    settle("", life)
    with suppress(EOFError, OSError):
        how: Joining = connection.recv()
        os.environ.update(how.environment)
        if not os.environ.get("TUNER_DEBUG"):
            _silence()
        _serve(connection, how)


def _silence() -> None:
    """What Ray's libraries print must not mix with what the driver says; it is in Ray's logs."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _serve(connection: Connection, how: Joining) -> None:
    from tuner.execution import ray as cluster  # noqa: PLC0415 - it reads the environment when it is imported

    try:
        cluster.join(how)
        room = cluster.room(how)
    except Exception as error:
        connection.send((False, error))
        return
    bridge = cluster.Bridge(connection, how)
    connection.send((True, room))
    threading.Thread(target=bridge.listen, daemon=True).start()
    try:
        bridge.serve()
    finally:
        bridge.end()
