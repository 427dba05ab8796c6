"""How many faults a test causes, and the seed that they are drawn from, so that what failed can be repeated."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disturbed import FORM, LONG, table
from studies import fresh_folder, tiny

import tuner

# In CI always the same faults, so that a change is judged by itself; by hand others every time.
SEED = os.environ.get("TUNER_FAULTS_SEED") or (str(random.SystemRandom().randrange(2**32)) if LONG else "0")
os.environ["TUNER_FAULTS_SEED"] = SEED  # pytest's own worker processes draw from the same
COUNTED = "counted"


@pytest.fixture(scope="session")
def scale() -> Callable[[int, int], int]:
    """`scale(500, 10_000)`: how many faults, in `make faults` and in its long form; in a sample a tenth."""
    return lambda in_ci, long: long if LONG else max(1, in_ci // 10) if FORM == "sample" else in_ci


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance from TUNER_FAULTS_SEED and the test's name; a failure's report says how to have it again."""
    request.node.add_report_section("setup", "seed", f"TUNER_FAULTS_SEED={SEED}")
    return random.Random(f"{SEED}/{request.node.name}")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`tell("500 mutations: ...")`: a line of what was counted, shown when all tests are done."""
    # With the report, which comes to the process that prints, whichever process ran the test.
    return lambda line: request.node.user_properties.append((COUNTED, f"{request.node.name}: {line}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was counted."""
    ended = [each for reports in terminalreporter.stats.values() for each in reports]
    lines = [
        line
        for each in ended
        if isinstance(each, pytest.TestReport) and each.when == "call"
        for name, line in each.user_properties
        if name == COUNTED
    ]
    for line in lines:
        terminalreporter.write_line(line)
    if lines:
        terminalreporter.write_line(f"faults from TUNER_FAULTS_SEED={SEED}")


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
