"""Helper processes that live as long as the tests.

Most of what a helper process costs is what it imports: PyTorch's exporters and scikit-learn take 10 s of a core, and a
session of tests makes some sixty exports. These are real helper processes with the environment that was asked for; they
are handed back instead of ended. Tests of the helper process itself start their own (fixture `own_helpers`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Self

from tuner.errors import HelperError
from tuner.helper import Helper

_changing = threading.Lock()
_idle: defaultdict[frozenset[tuple[str, str]], list[Helper]] = defaultdict(list)
_started: list[Helper] = []


class KeptHelper:
    """Takes the place of `tuner.helper.Helper`."""

    def __init__(
        self, settings: Mapping[str, str] = MappingProxyType({}), always: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        environment = {**settings, **os.environ, **always}
        environment.pop("PYTEST_CURRENT_TEST", None)  # another one in each test
        self._place = _idle[frozenset({**environment, "effective user": str(os.geteuid())}.items())]
        self._lock = threading.Lock()
        self._is_whole, self._is_open, self._calls = True, True, 0
        self._helper = self._taken() or self._new(settings, always)

    def _taken(self) -> Helper | None:
        with _changing:
            while self._place:
                helper = self._place.pop()
                if helper._process.poll() is None:
                    return helper
        return None

    @staticmethod
    def _new(settings: Mapping[str, str], always: Mapping[str, str]) -> Helper:
        helper = Helper(settings, always)
        with _changing:
            _started.append(helper)
        return helper

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self._calls += 1
        try:
            return self._helper.call(_call_in, _current_folder(), fn, args, kwargs)
        except HelperError:
            self._is_whole = False
            raise
        finally:
            with self._lock:
                self._calls -= 1

    def close(self) -> None:
        """Hand it back; one that is in the middle of a call is ended, as it is without this."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
            is_idle = self._is_whole and not self._calls
        if was_open and is_idle and self._is_fresh_again():
            with _changing:
                self._place.append(self._helper)
        elif was_open:
            self._helper.close()

    def _is_fresh_again(self) -> bool:
        with suppress(HelperError):
            self._helper.call(_forget_stores)
            return True
        return False


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed, which a new process would not notice
        return "/"


def _call_in(folder: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A new process would begin in the caller's folder; afterwards it is in none that a test looks into or removes."""
    os.chdir(folder)
    try:
        return fn(*args, **kwargs)
    finally:
        os.chdir("/")


def _forget_stores() -> None:
    """What MLflow keeps of stores it has opened: another test's may have the same address, or the file may be gone."""
    if "mlflow.tracking" not in sys.modules:
        return
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    from tuner.tracking import apart

    apart._client.cache_clear()
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    opened = sys.modules.get("mlflow.store.tracking.sqlalchemy_store")
    if opened is not None:
        for engine in opened.SqlAlchemyStore._engine_map.values():
            engine.dispose()
        opened.SqlAlchemyStore._engine_map.clear()


def close_all() -> None:
    """End them."""
    with _changing:
        for helper in _started:
            helper.close()
        _started.clear()
        _idle.clear()
