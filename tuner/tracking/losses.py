"""Whether MLflow shows the losses that the ledger holds, value for value; nothing is changed on either side."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Final

from tuner.errors import TrackingError
from tuner.ledger.checks import Evidence
from tuner.ledger.readonly import read_only_uri
from tuner.spec.final import words_of
from tuner.spec.work import Curve
from tuner.tracking.apart import Mlflow
from tuner.tracking.direct import is_known
from tuner.tracking.store import absolute, sentence, sqlite_path

_LOSSES: Final = ("train_loss", "val_loss")
Values = Mapping[str, Mapping[int, float]]  # by key and epoch


def loss_differences(evidence: Evidence, uri: str) -> Iterator[str]:
    """The trials whose losses in MLflow are others; those that are not whole there are named by `audit.differences`.

    Args:
        evidence: what is recorded of the study.
        uri: the MLflow that it was published to.

    Raises:
        TrackingError: MLflow cannot be asked.
    """
    shown = {n: run for n, run in evidence.runs.items() if n is not None and n not in evidence.unpublished}
    try:
        seen = _directly(uri, shown.values()) if is_known(uri) else _apart(uri, list(shown.values()))
    except TrackingError:
        raise
    except Exception as error:  # what MLflow's stores and transports raise
        raise TrackingError(sentence(uri, error)) from None
    for number, run in shown.items():
        curve = evidence.curves.get(number)
        if curve is not None:
            for key, epoch in _differing(curve, seen.get(run, {})):
                yield f"{words_of(number)}: the {key} of epoch {epoch} is another one in MLflow"


def _differing(curve: Curve, seen: Values) -> Iterator[tuple[str, int]]:
    """The first epoch of each loss that differs; MLflow has no place for infinite values, nor shows it missing ones."""
    for key, recorded in zip(_LOSSES, (curve.train_loss, curve.val_loss), strict=True):
        shown = seen.get(key, {})
        for epoch, value in enumerate(recorded, start=curve.first + 1):
            if math.isfinite(value) and shown.get(epoch, value) != value:
                yield key, epoch
                break


def _directly(uri: str, runs: Iterable[str]) -> dict[str, Values]:
    path, wanted = sqlite_path(uri), set(runs)
    found: dict[str, Values] = {}
    with closing(sqlite3.connect(read_only_uri(path) if path else uri, uri=True)) as store:
        for run in wanted:
            values: defaultdict[str, dict[int, float]] = defaultdict(dict)
            query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND key IN (?, ?)"
            for key, step, value in store.execute(query, [run, *_LOSSES]):
                values[key][step] = value
            found[run] = values
    return found


def _apart(uri: str, runs: list[str]) -> dict[str, Values]:
    with Mlflow(absolute(uri)) as mlflow:
        return mlflow.call(_by_client, mlflow.uri, runs)


def _by_client(uri: str, runs: Iterable[str]) -> dict[str, Values]:
    """In the helper process."""
    from tuner.tracking.client import mlflow_client  # noqa: PLC0415  (MLflow, 1.3 s)

    client = mlflow_client(uri)
    return {
        run: {key: {one.step: one.value for one in client.get_metric_history(run, key)} for key in _LOSSES}
        for run in runs
    }
