"""Claims about the process that uses the library: after every call it is what it was before."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from studies import fresh_folder

import tuner
from tuner.api.train import Model
from tuner.export.model import ExportedModel
from tuner.tracking.dashboard import serve

HERE = Path(__file__).parent
CALLS = (FunctionType, classmethod, staticmethod, property, cached_property)
# What importing a library does, in whatever program; of what is imported in this process, that is all that is left.
BY_IMPORTS = {"warnings"}
CALLERS = (
    "numpy",
    "pandas",
    "torch",
    "sklearn.mixture",
    "scipy.stats",
    "optuna",
    "mlflow",
    "onnxruntime",
    "PIL.Image",
    "sympy",
)


def changed(folder: Path, address: str, *libraries: str) -> dict[str, dict[str, str]]:
    """What each call changed in a fresh process."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TUNER_"))}
    variables["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path])
    words = [sys.executable, str(HERE / "api_calls.py"), address, *libraries]
    ran = subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=900, stdin=-3
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, dict[str, str]] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.fixture
def folder(tmp_path: Path, mlflow_store: Path) -> Path:
    return fresh_folder(tmp_path, mlflow_store)


@pytest.fixture
def server(tmp_path: Path, mlflow_store: Path) -> Iterator[str]:
    with serve(f"sqlite:///{fresh_folder(tmp_path / 'served', mlflow_store) / 'mlflow.db'}", seconds=120) as page:
        yield page.url


@pytest.mark.long
def test_no_call_changes_a_process_that_uses_the_same_libraries(folder: Path) -> None:
    """Environment, signals, warnings, loggers, chance, threads, children, open files and what the caller's own torch,
    MLflow and Optuna are set to: nothing differs after any call of the interface; trained in the process itself."""
    found = changed(folder, "", *CALLERS)
    assert {name: changes for name, changes in found.items() if changes} == {}


@pytest.mark.long
def test_no_call_changes_a_process_that_uses_nothing_else(tmp_path: Path, server: str) -> None:
    """The same where no library was imported before, with worker processes and a tracking server: only filters of
    warnings may be more, which NumPy and SciPy add wherever they are imported."""
    found = changed(tmp_path, server)
    left = {name: sorted(changes.keys() - BY_IMPORTS) for name, changes in found.items()}
    assert {name: changes for name, changes in left.items() if changes} == {}


EXEMPT = {
    "tuner.connect": "a client, whose tests are tests/service's",
    "Study.at": "as Study.open, for processes of the service",
}


def test_every_call_of_the_interface_is_looked_at() -> None:
    """All that `tuner` offers, and all public methods and properties of what it returns, but for a few with reasons."""
    offered = {f"tuner.{name}" for name in tuner.__all__}
    for kind in (tuner.Study, Model, ExportedModel):
        calls = (name for name, value in vars(kind).items() if isinstance(value, CALLS) and not name.startswith("_"))
        offered |= {f"{kind.__name__}.{name}" for name in calls}
    assert len(offered) > 30
    made = {
        node.attr
        for node in ast.walk(ast.parse((HERE / "api_calls.py").read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert {name for name in offered if name.partition(".")[2] not in made} == EXEMPT.keys()


def test_the_plain_loop_leaves_the_environment_alone(tmp_path: Path) -> None:
    """PyTorch's optimizers set a variable that every child of the caller's would have."""
    program = """
import os, tuner
from studies import tiny_of_sklearn
model = tuner.train(tiny_of_sklearn(space={"bottleneck": 2}, search={"epochs": 2}))
before = dict(os.environ)
model.beside_plain()
print(dict(os.environ) == before)
"""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    variables.pop("TORCHINDUCTOR_CACHE_DIR", None)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "True"


def test_what_a_caller_set_stays_while_the_library_runs(folder: Path) -> None:
    """During `run` no thread of the caller sees another environment, or other filters of MLflow's loggers."""
    program = """
import logging, os, threading
import mlflow, tuner
from studies import tiny_of_sklearn
logging.getLogger("mlflow").setLevel(logging.WARNING)
before, seen, done = (dict(os.environ), logging.WARNING), [], threading.Event()
def watch():
    while not done.wait(0.002):
        now = dict(os.environ), logging.getLogger("mlflow").level
        if now != before:
            seen.append(now)
watcher = threading.Thread(target=watch)
watcher.start()
tuner.run(tiny_of_sklearn(), workers=0)
done.set()
watcher.join()
print(len(seen))
"""
    variables: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=variables, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "0"
