"""Work on what clients send, in a process of its own with limits: a file that is a bomb ends that process alone."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar, final

from tuner.errors import DataError, HelperError
from tuner.helper import Helper

P = ParamSpec("P")
T = TypeVar("T")
AT_ONCE: Final = 2
PATIENCE: Final = 30.0  # seconds that a request waits for its turn
# Libraries' threads would each take address space, and there is one core's time to spend.
_SETTINGS: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@final
@dataclass(frozen=True, slots=True)
class Bounded:
    """Calls functions in processes of their own, a few at a time.

    Attributes:
        seconds: that a call may take.
        size: bytes of memory that its process may take.
    """

    seconds: float
    size: int
    _turns: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's answer.

        Raises:
            DataError: it took more time or memory than it may.
            HelperError: too many wait.
            TunerError: as the function does.
        """
        if not self._turns.acquire(timeout=PATIENCE):
            raise HelperError("too many requests read data or score rows now; try again in a minute.")
        try:
            return self._call(fn, *args, **kwargs)
        finally:
            self._turns.release()

    def _call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        late = threading.Event()

        def end() -> None:
            late.set()
            helper.close()

        with Helper(_SETTINGS) as helper:
            timer = threading.Timer(self.seconds, end)
            timer.start()
            try:
                helper.call(_confine, self.size, int(self.seconds) + 1)
                return helper.call(fn, *args, **kwargs)
            except MemoryError:
                raise self._too_large() from None
            except HelperError as error:
                if late.is_set():
                    raise DataError(f"the data must be read within {self.seconds:g} seconds, but was not.") from None
                raise self._too_large() from error
            finally:
                timer.cancel()

    def _too_large(self) -> DataError:
        return DataError(
            f"the data must need at most {self.size / 1e9:.3g} GB of memory to be read, but needs more, or breaks its"
            " reader."
        )


def _confine(size: int, seconds: int) -> None:
    """Limit this process, which ends after the next call."""
    if sys.platform == "linux":  # elsewhere the system does not hold a process to it
        _limit(resource.RLIMIT_DATA, size)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    allowed: Any = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))
