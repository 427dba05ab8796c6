"""A service over one folder with a finished study, called in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from serving import Service, serving
from studies import fresh_folder, tiny, working_in

import tuner


@pytest.fixture(scope="session")
def finished(mlflow_store: Path) -> Path:
    """A folder with the finished study `tiny`, made once for all pytest workers; tests copy it and do not change it."""
    folder = mlflow_store.parent / "finished"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            with working_in(fresh_folder(folder, mlflow_store)):
                tuner.run(tiny(final={"top": 1, "seeds": 2}, search={"trials": 9}), workers=0)
            (folder / "done").touch()
    return folder


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service without studies, with a data root."""
    with serving(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def service_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """Makes services that live as long as a module's tests."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(tmp_path_factory.mktemp("service"), **options))
