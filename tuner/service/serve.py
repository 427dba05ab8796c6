"""The server's process: its socket, its supervisor beside it, and its end."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import uvicorn

from tuner.errors import InputError
from tuner.ledger.ledger import Ledger
from tuner.ledger.tokens import LOGIN_SECONDS
from tuner.service import logs
from tuner.service.app import make_app
from tuner.service.options import ServiceOptions

GRACE: Final = 5  # seconds for answers under way; streams end at once
SUPERVISOR_GRACE: Final = 4.0
LOOK_SECONDS: Final = 0.2  # between two looks at whether the supervisor is there
AGAIN_SECONDS: Final = 1.0  # until one that is gone is started again
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beside:
    """The supervisor that a server starts.

    Attributes:
        arguments: of `tuner supervise`.
        folder: where it runs.
    """

    arguments: Sequence[str]
    folder: Path


def serve(options: ServiceOptions, beside: Beside | None, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        options: port 0 takes one that is free.
        beside: the supervisor to start; None for none.
        say: shows a line to whoever started it: the address, and a link that logs in once.

    Raises:
        InputError: the options are not safe, or the port is taken.
        LedgerError: the ledger cannot be opened.
    """
    logs.set_up()
    listening = _listening(options.checked())
    options = replace(options, port=listening.getsockname()[1])
    with contextlib.closing(listening), _supervised(beside):
        app = make_app(options)
        say(f"{options.address}\nlog in once, within {LOGIN_SECONDS / 60:.0f} minutes: {login_link(options, app)}")
        server = _Server(_config(options, app), app)
        server.run(sockets=[listening])


def login_link(options: ServiceOptions, app: Any) -> str:
    """A link that logs its first user in as the operator."""
    ledger: Ledger = app.state.studies.ledger
    secret, _ = ledger.tokens.new("operator", "admin", LOGIN_SECONDS, "serve", "login")
    return f"{options.address}/login?once={secret}"


def _config(options: ServiceOptions, app: Any) -> uvicorn.Config:
    files: dict[str, Any] = {}
    if options.tls is not None:
        files = {"ssl_certfile": str(options.tls[0]), "ssl_keyfile": str(options.tls[1])}
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # addresses may hold a link's secret
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
        **files,
    )


class _Server(uvicorn.Server):
    """Ends its streams as soon as it is asked to end."""

    def __init__(self, config: uvicorn.Config, app: Any) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits for answers under way."""
        self._app.state.feed.close()
        await super().shutdown(sockets)


def _listening(options: ServiceOptions) -> socket.socket:
    """The port, taken.

    Raises:
        InputError: it is taken already, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((options.host, options.port))
        made.listen()  # from here on those who come wait, and are not turned away
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"--port {options.port}: another process listens there; name another port, or end that process."
            ) from None
        why = error.strerror or error
        raise InputError(f"--host {options.host} --port {options.port}: cannot be listened at: {why}.") from None
    return made


@contextlib.contextmanager
def _supervised(beside: Beside | None) -> Iterator[None]:
    """A supervisor of its own, which ends where this process is killed; studies that it started go on."""
    if beside is None:
        yield
        return
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(beside, over), name="tuner-keep-supervisor")
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _keep(beside: Beside, over: threading.Event) -> None:
    """Start the supervisor, and again whenever it is gone, until it is over."""
    command = [sys.executable, "-m", "tuner", "supervise", "--while-open", *beside.arguments]
    while not over.is_set():
        try:
            process = subprocess.Popen(command, cwd=beside.folder, stdin=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            _log.warning("the supervisor cannot be started: %s; tried again.", error.strerror)
        else:
            while process.poll() is None and not over.wait(LOOK_SECONDS):
                pass
            _end(process)
            if not over.is_set():
                _log.warning("the supervisor ended with exit code %d; it is started again.", process.returncode)
        over.wait(AGAIN_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SUPERVISOR_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
