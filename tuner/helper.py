"""Calls in a process of their own, for libraries that change the process they run in.

MLflow takes its settings from environment variables, PyTorch's exporters fix the start method of multiprocessing and
leave a thread, scikit-learn sets variables that every child inherits: none of it shows in the process that called us.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from types import MappingProxyType
from typing import Any, Final, ParamSpec, Self, TypeVar, final

from tuner.errors import HelperError

P = ParamSpec("P")
T = TypeVar("T")

_END_SECONDS: Final = 5.0  # between a process's last word and its end
# Not `multiprocessing.Process`, for it would run the caller's script again.
_MAIN: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tuner.helper import serve
serve(int(sys.argv[2]))
"""


@final
class Helper:
    """A process that makes calls for this one, one after the other; it ends when this one does.

    It has a session of its own, so that Ctrl-C reaches it through `close` alone, and writes nothing to the terminal.

    Args:
        settings: environment variables that it has where the user has set none of that name.
        always: environment variables that it has in place of the user's.
    """

    def __init__(
        self, settings: Mapping[str, str] = MappingProxyType({}), always: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._calling = threading.Lock()
        self._connection, theirs = Pipe()
        paths = json.dumps([os.fsdecode(path) for path in sys.path])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _MAIN, paths, str(theirs.fileno())],
                env={**settings, **os.environ, **always},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # the system closes it when this process is gone, and the helper ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._connection.close()
            raise HelperError(f"a helper process must be started, but the system refuses: {error.strerror}") from None
        finally:
            theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` there, and wait for its answer; all that goes there and comes back is pickled.

        Threads take turns.

        Raises:
            HelperError: the process ended before it answered, or was closed by another thread.
            Exception: what `fn` raised; a RuntimeError with its words where that cannot be pickled.
        """
        content = pickle.dumps((fn, args, kwargs))  # not as multiprocessing does it: tensors go by value
        try:
            with self._calling:
                self._connection.send_bytes(content)
                done, value = self._connection.recv()
        except (EOFError, OSError):
            raise HelperError(f"a helper process must answer, but it ended with {self._ending()}") from None
        if not done:
            raise value
        return value  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process at once; may be called from another thread, and again."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with self._calling:  # a thread that waits for an answer has learnt by now that there will be none
            self._connection.close()

    def _ending(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()
        code = self._process.wait()
        known = {-number: number.name for number in signal.Signals}
        return known.get(code, f"exit code {code}")


def serve(connection_file: int) -> None:
    """What a helper process does: call after call, until the process that started it closes it or is gone."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    connection = Connection(connection_file)
    while True:
        try:
            content = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(content))


def _end_with_caller() -> None:
    os.read(0, 1)
    os._exit(1)


def _answer(content: bytes) -> bytes:
    """Whether the call succeeded, and its value or error, pickled."""
    try:
        fn, args, kwargs = pickle.loads(content)  # noqa: S301 - of the process that started this one
        return pickle.dumps((True, fn(*args, **kwargs)))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> bytes:
    """Some errors cannot be pickled, and some that can cannot be read again."""
    try:
        content = pickle.dumps((False, error))
        pickle.loads(content)  # noqa: S301 - it was made in the line above
    except Exception:
        said: Any = RuntimeError(f"{type(error).__name__}: {error}")
        return pickle.dumps((False, said))
    return content
