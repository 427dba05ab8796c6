"""The short form runs in CI, the long one with `make faults` (TUNER_FAULTS=long).

Every random choice follows from one seed, which is printed where a test fails and taken from TUNER_FAULTS_SEED.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import LONG, table
from studies import fresh_folder, tiny

import tuner


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    """The test's only source of chance."""
    seed = os.environ.get("TUNER_FAULTS_SEED") or secrets.token_hex(4)
    print(f"TUNER_FAULTS_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    yield random.Random(f"{seed}/{request.node.name}")


@pytest.fixture
def scale() -> Callable[[int, int], int]:
    """How often: in CI, and by hand."""
    return lambda short, long: long if LONG else short


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Callable[..., str]:
    """The table of a study that nothing happens to, trained in this process."""
    known: dict[str, str] = {}

    def run(spec: dict[str, Any] | None = None) -> str:
        declared = spec or tiny()
        if str(declared) not in known:
            folder = fresh_folder(tmp_path_factory.mktemp("undisturbed"), mlflow_store)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                tuner.run(declared, workers=0)
            known[str(declared)] = table(folder, declared["name"])
        return known[str(declared)]

    return run
