"""What many tests stand on: a folder of their own with MLflow's store ready made."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import kept_helpers
import pytest
from filelock import FileLock
from postgres_server import running_postgres
from studies import fresh_folder

from tuner.helper import Helper

HERE = Path(__file__).parent

# `make test` judges a commit by the same examples every time; `pytest` by hand draws others.
hypothesis.settings.register_profile("repeated", derandomize=True)

# Where helper processes are kept from one test to the next.
_KEEPING = ("tuner.data.readers", "tuner.export.write", "tuner.search.importance", "tuner.tracking.apart")


def _imported() -> Iterator[Any]:
    yield from (sys.modules[name] for name in _KEEPING if name in sys.modules)


def _keep_helpers() -> None:
    """Of what was imported: importing it here would cost seconds where no test needs it."""
    for module in _imported():
        if module.Helper is Helper:
            module.Helper = kept_helpers.KeptHelper


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are listed as slow, whatever their parameters."""
    slow = frozenset((HERE / "slow.txt").read_text(encoding="utf-8").split())
    for item in items:
        if item.nodeid.partition("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """The tests' modules are imported."""
    _keep_helpers()


def pytest_sessionfinish() -> None:
    """No helper process outlives the tests."""
    kept_helpers.close_all()


@pytest.fixture(autouse=True)
def _kept_helpers() -> None:
    _keep_helpers()


@pytest.fixture
def own_helpers(_kept_helpers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Helper processes as they are outside of the tests: started for a call or two, and ended."""
    for module in _imported():
        monkeypatch.setattr(module, "Helper", Helper)


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh SQLite store of MLflow; its making takes seconds, so it is made once, also for several pytest workers."""
    from tuner.tracking.store import ensure_store

    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "mlflow_store" / "mlflow.db"
    path.parent.mkdir(exist_ok=True)
    with FileLock(f"{path}.lock"):
        ensure_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def workspace(tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, as a user's, with no variables of the environment that would lead out of it."""
    for name in ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    fresh_folder(tmp_path, mlflow_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """The urls of fresh databases on a Postgres of our own, on a socket in a folder."""
    with running_postgres() as server:
        numbers = itertools.count()
        yield lambda: server.new_database(f"t{next(numbers)}")
