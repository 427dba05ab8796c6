"""What many tests stand on: a folder of their own with MLflow's store ready made."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kept_helpers
import pytest
from filelock import FileLock
from studies import fresh_folder

from tuner.helper import Helper

# Where helper processes are kept from one test to the next.
_KEEPING = ("tuner.data.readers", "tuner.export.write", "tuner.search.importance", "tuner.tracking.apart")


def _imported() -> Iterator[Any]:
    yield from (sys.modules[name] for name in _KEEPING if name in sys.modules)


def _keep_helpers() -> None:
    """Of what was imported: importing it here would cost seconds where no test needs it."""
    for module in _imported():
        if module.Helper is Helper:
            module.Helper = kept_helpers.KeptHelper


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
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """The urls of fresh databases on a Postgres of our own, on a socket in a folder."""
    psycopg = pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none").parent]
    if not (found[-1] / "initdb").exists():
        pytest.skip("no Postgres here")
    with tempfile.TemporaryDirectory(prefix="pg") as name, _running_postgres(found[-1], Path(name)):
        numbers = itertools.count()

        def fresh() -> str:
            database = f"t{next(numbers)}"
            with psycopg.connect(f"host={name} user=tuner dbname=postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {database}")
            return f"postgresql+psycopg://tuner@/{database}?host={name}"

        yield fresh


@contextmanager
def _running_postgres(binaries: Path, folder: Path) -> Iterator[None]:
    """Postgres refuses to be root: there it runs as `nobody`."""
    as_user: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "nobody")
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups", "--"]
    data = folder / "data"
    made = [*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "tuner", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd="/")
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    started = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    subprocess.run(started, check=True, capture_output=True, cwd="/")
    try:
        yield
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
