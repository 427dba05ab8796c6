"""Claims about the table of hyperparameters: what is declared there alone is found everywhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.learning.compiled import border
from tuner.spec.distributions import Condition
from tuner.spec.hyperparameters import TABLE, Hyperparameters, as_markdown
from tuner.spec.space import SearchSpace

ROOT = Path(__file__).parents[2]
MADE_UP = """
    stretch: float = _declared(0.5, "Made up by a test.", "stretch", Bounds(0, 3))

    @classmethod
    def of("""
ASKED = """
import json
from tuner.learning.compiled.border import difference
from tuner.spec.hyperparameters import as_markdown
from tuner.spec.reader import read_spec_text
from tuner.spec.schema import schema

TEXT = '''name: x
data: {source: "sklearn:iris"}
space: {bottleneck: 2, depth: {type: int, low: 0, high: 1}, stretch: %s}
search: {trials: 1, epochs: 1}
'''
plain = read_spec_text(TEXT % "0.5", "x").space
searched = read_spec_text(TEXT % "{type: float, low: 1, high: 2, when: {depth: 1}}", "x").space
try:
    read_spec_text(TEXT % "4.0", "x")
except Exception as error:
    refused = str(error)
definitions = schema()["$defs"]
print(json.dumps({
    "space": definitions["SearchSpace"]["properties"]["stretch"],
    "when": "stretch" in definitions["Condition"]["properties"],
    "searched": list(searched.searched()),
    "columns": [plain.columns, searched.columns],
    "points": [searched.point({"stretch": 1.5, "depth": depth}).stretch for depth in (1, 0)],
    "refused": refused,
    "docs": as_markdown().splitlines()[-1],
    "build": difference(%r),
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a copy of the package says of itself whose table has one more hyperparameter."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "tuner", copy / "tuner", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    table = copy / "tuner" / "spec" / "hyperparameters.py"
    before = table.read_text(encoding="utf-8")
    table.write_text(before.replace("\n    @classmethod\n    def of(", MADE_UP, 1), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", ASKED.replace("%r", repr(border.description()))],
        env={**os.environ, "PYTHONPATH": str(copy)},
        cwd=copy,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_hyperparameter_is_declared_once(found: dict[str, object]) -> None:
    """One line in the table: a space takes it as a value, a distribution and a condition, and its schema says so."""
    declared = found["space"]
    assert isinstance(declared, dict)
    assert (declared["default"], declared["description"]) == (0.5, "Made up by a test.")
    assert {"$ref": "#/$defs/FloatDistribution"} in declared["oneOf"]
    assert found["when"]
    assert found["searched"] == ["depth", "stretch"]
    assert found["points"] == [1.5, 0.5]
    assert found["refused"] == "x:3: space.stretch: must be at least 0 and at most 3, got 4.0"


def test_it_is_a_column_where_it_is_used(found: dict[str, object]) -> None:
    """The tables of studies that leave it at its default stay as they were; the docs' table has it as its last row."""
    original = [row.name for row in TABLE if row.original]
    assert found["columns"] == [original, [*original, "stretch"]]
    assert found["docs"] == "| `stretch` | float, 0 to 3 | `0.5` | Made up by a test. |"


def test_a_build_of_the_compiled_step_without_it_is_refused(found: dict[str, object]) -> None:
    """A step that would train without it does not train: the message names the structure that is another one."""
    assert "its Model should have" in str(found["build"])
    assert border.difference(border.description()) is None


def test_the_docs_table_is_the_table() -> None:
    """docs/space-file.md has what `python -m tuner.spec.hyperparameters` prints, and an example of every key."""
    page = (ROOT / "docs" / "space-file.md").read_text(encoding="utf-8")
    assert as_markdown() in page
    example = page.partition("```yaml")[2].partition("```")[0]
    keys = re.findall(r"^  (\w+):", example.partition("space:")[2].partition("loss:")[0], re.MULTILINE)
    assert keys == [row.name for row in TABLE]


def test_every_hyperparameter_reaches_the_compiled_step() -> None:
    """Each names the field of the step's structures that carries it."""
    carried = {field[0] for structure in (border.Model, border.VisitFields) for field in structure._fields_}
    assert {row.step for row in TABLE} <= carried


def test_space_conditions_and_points_have_the_same_names() -> None:
    """In one order, which is that of a table's columns."""
    names = [row.name for row in TABLE]
    assert list(SearchSpace.model_fields) == list(Condition.model_fields) == names
    assert list(Hyperparameters.__dataclass_fields__) == names
