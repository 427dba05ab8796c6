"""Claims about what is imported, and when: a study of seconds must not spend them on imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from studies import fresh_folder, tiny

from tuner.learning.compiled.library import library

HEAVY = ("torch", "optuna", "mlflow", "sqlalchemy", "pandas", "sklearn", "scipy", "scipy.stats", "pydantic")


def imported_by(code: str, folder: Path | None = None) -> list[str]:
    """Which heavy modules a fresh process has loaded after running some code."""
    show = f"\nimport sys; print('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code + show], cwd=folder, capture_output=True, text=True, check=False)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("LOADED")]
    assert lines, ran.stderr
    return lines[0].split()[1:]


def test_a_worker_needs_none_of_the_heavy_libraries() -> None:
    """It starts in a quarter of a second, and holds megabytes: numpy is all that the compiled step needs."""
    assert imported_by("import tuner.execution.worker") == []


@pytest.mark.skipif(library() is None, reason="no C++ compiler was there when the project was installed")
def test_a_whole_study_on_the_cpu_never_imports_torch_nor_mlflow(tmp_path: Path, mlflow_store: Path) -> None:
    """Trained, scored on the test split beside its baselines, and published into a known SQLite store."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    (folder / "spec.json").write_text(json.dumps(tiny()))
    loaded = imported_by("import json, tuner; tuner.run(json.load(open('spec.json')), workers=0)", folder)
    assert "torch" not in loaded
    assert "mlflow" not in loaded
    assert "optuna" in loaded


@pytest.mark.skipif(library() is None, reason="no C++ compiler was there when the project was installed")
def test_a_study_of_an_arrays_file_imports_what_it_uses_alone(tmp_path: Path, mlflow_store: Path) -> None:
    """Searched, confirmed with several seeds, its figures drawn: without scikit-learn and pandas, which take seconds;
    of SciPy its distributions alone, for the final stage's intervals."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(size=(200, 6)))
    spec = tiny(data={"source": "rows.npy"}, final={"top": 2, "seeds": 2})
    (folder / "spec.json").write_text(json.dumps(spec))
    loaded = imported_by("import json, tuner; tuner.run(json.load(open('spec.json')), workers=0)", folder)
    assert set(loaded) == {"optuna", "sqlalchemy", "pydantic", "scipy"}


def test_workers_start_before_anything_heavy_is_imported(tmp_path: Path, mlflow_store: Path) -> None:
    """When the worker processes are spawned, neither Optuna nor pandas nor scikit-learn has been imported yet."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    (folder / "spec.json").write_text(json.dumps(tiny()))
    code = """
import json, sys, tuner, tuner.orchestration.prepared_run as run

def stop(*_):
    raise KeyboardInterrupt

run.start_executor = stop
try:
    tuner.run(json.load(open("spec.json")), workers=1)
except KeyboardInterrupt:
    pass
"""
    assert set(imported_by(code, folder)) <= {"sqlalchemy", "pydantic"}


def test_a_list_of_studies_imports_the_database_alone(tmp_path: Path, mlflow_store: Path) -> None:
    """`tuner list` and a look at a study's progress read no declaration, and so need no pydantic."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    (folder / "spec.json").write_text(json.dumps(tiny()))
    run = "import json, tuner; tuner.run(json.load(open('spec.json')), workers=0)"
    subprocess.run([sys.executable, "-c", run], cwd=folder, check=True, capture_output=True)
    code = """
from tuner.api import control, listing
from tuner.cli import display
print(display.studies(listing.studies()), control.progress("tiny"))
"""
    assert imported_by(code, folder) == ["sqlalchemy"]
