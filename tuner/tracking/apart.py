"""MLflow's client in a helper process: its settings, loggers and warning filters are those of a whole process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, final

from tuner.errors import HelperError, TrackingError, TunerError
from tuner.helper import Helper
from tuner.tracking.entries import Dataset, Metric, StoppedError, StoreError, never
from tuner.tracking.store import past_proxy, sentence, settings

if TYPE_CHECKING:
    from tuner.tracking.client import ClientExperiments

P = ParamSpec("P")
T = TypeVar("T")


@final
class Mlflow:
    """The helper process that speaks to one MLflow, started when it is needed first.

    Args:
        uri: of a server, or of a store with its whole path.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._helper: Helper | None = None
        self._is_closed = False
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn`, which may import MLflow, in the helper process.

        Raises:
            StoreError: what MLflow raised.
            TrackingError: the helper process ended, or was closed.
        """
        helper = self._started()
        try:
            return helper.call(_called, fn, args, kwargs)  # type: ignore[no-any-return]
        except HelperError as error:
            self._end()
            raise TrackingError(sentence(self.uri, error)) from None

    def close(self) -> None:
        """End the helper process, also while it waits for MLflow; there will be no other."""
        with self._changing:
            self._is_closed = True
        self._end()

    def _started(self) -> Helper:
        with self._changing:
            if self._is_closed:
                raise TrackingError(sentence(self.uri, RuntimeError("the run is over")))
            self._helper = self._helper or Helper(settings(), past_proxy(os.environ))
            return self._helper

    def _end(self) -> None:
        with self._changing:
            helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()


def _called(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """In the helper process: MLflow's errors are its own classes, which the caller's process does not import."""
    try:
        return fn(*args, **kwargs)
    except (TunerError, StoreError):
        raise
    except Exception as error:
        code = str(getattr(error, "error_code", "INTERNAL_ERROR"))
        raise StoreError(code, str(error) or type(error).__name__) from None


@lru_cache
def _client(uri: str) -> ClientExperiments:
    from tuner.tracking.client import ClientExperiments  # noqa: PLC0415  (MLflow, 1.3 s)

    return ClientExperiments(uri)


def _experiments_call(uri: str, method: str, *args: Any) -> Any:
    return getattr(_client(uri), method)(*args)


def _runs_call(uri: str, experiment_id: str, method: str, *args: Any) -> Any:
    return getattr(_client(uri).runs(experiment_id), method)(*args)


@final
class ApartExperiments:
    """`ClientExperiments` in the helper process.

    Args:
        mlflow: the helper process.
        stop: asked before each call; StoppedError is raised where it is true.
    """

    def __init__(self, mlflow: Mlflow, stop: Callable[[], bool] = never) -> None:
        self._mlflow, self._stop = mlflow, stop

    def ensure(self, name: str, artifacts: str | None) -> str:
        """See `Experiments`."""
        return str(self._call("ensure", name, artifacts))

    def of_run(self, run_id: str) -> str:
        """See `Experiments`."""
        return str(self._call("of_run", run_id))

    def runs(self, experiment_id: str) -> ApartRuns:
        """See `Experiments`."""
        return ApartRuns(self._mlflow, experiment_id, self._stop)

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        """See `Experiments`."""
        self._call("set_tag", experiment_id, name, value)

    def _call(self, method: str, *args: Any) -> Any:
        if self._stop():
            raise StoppedError
        return self._mlflow.call(_experiments_call, self._mlflow.uri, method, *args)


@final
class ApartRuns:
    """`ClientRuns` in the helper process; see `ApartExperiments`."""

    def __init__(self, mlflow: Mlflow, experiment_id: str, stop: Callable[[], bool] = never) -> None:
        self._mlflow, self._experiment_id, self._stop = mlflow, experiment_id, stop

    @contextmanager
    def transaction(self) -> Iterator[bool]:
        """Send each call by itself."""
        yield False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Send each call by itself."""
        yield

    def ensure(self, name: str, tags: Mapping[str, str], started_at: int) -> str:
        """See `Runs`."""
        return str(self._call("ensure", name, dict(tags), started_at))

    def tagged(self, tags: Mapping[str, str]) -> list[str]:
        """See `Runs`."""
        return list(self._call("tagged", dict(tags)))

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """See `Runs`."""
        self._call("log", run_id, list(metrics), params, tags)

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """See `Runs`."""
        self._call("log_dataset", run_id, dataset)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """See `Runs`."""
        self._call("log_text", run_id, text, file)

    def log_files(self, run_id: str, folder: Path) -> None:
        """See `Runs`."""
        self._call("log_files", run_id, folder.absolute())

    def set_status(self, run_id: str, status: str, ended_at: int) -> None:
        """See `Runs`."""
        self._call("set_status", run_id, status, ended_at)

    def _call(self, method: str, *args: Any) -> Any:
        if self._stop():
            raise StoppedError
        return self._mlflow.call(_runs_call, self._mlflow.uri, self._experiment_id, method, *args)
