"""Keeps libraries' warnings from the user, one thread at a time: their filters are the whole process's."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Two threads that leave such blocks in another order than they entered them would leave the filters changed for good.
TURN = threading.RLock()


@contextmanager
def without_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings of that kind within; a thread that is in such a block is waited for."""
    with TURN, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
