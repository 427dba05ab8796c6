"""Claims about a split by files in what clients hand in: its files are registered data, never a client's paths."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import tuner
from tuner.errors import SpecError
from tuner.ledger.ledger import Ledger
from tuner.service.bounded import Bounded
from tuner.service.checking import Checker
from tuner.service.declarations import Declarations

TEXT = """name: parts
data:
  source: dataset:train.csv
  split:
    validation: {validation}
    test: {test}
space: {{bottleneck: 1, width: 4, depth: 1, batch_size: 8}}
search: {{trials: 2, epochs: 1}}
final: none
"""


@pytest.fixture
def declarations(workspace: Path):  # type: ignore[no-untyped-def]
    """Three registered files of 40, 20 and 10 rows."""
    with closing(Ledger.open("sqlite:///tuner.db")) as ledger:
        for name, rows in (("train.csv", 40), ("validation.csv", 20), ("test.csv", 10)):
            lines = [f"{i / 3},{i % 7 / 2},{i * i % 11 / 5}" for i in range(rows)]
            (workspace / name).write_text("a,b,c\n" + "\n".join(lines) + "\n", encoding="utf-8")
            ledger.datasets.add(name, str(workspace / name), 1, "test")
        yield Declarations(ledger.datasets)


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.csv", "validation.csv", "sklearn:digits", "dataset:other"])
def test_files_of_a_split_that_are_not_registered_are_refused_at_their_lines(
    declarations: Declarations, path: str
) -> None:
    """Whatever else the file says is right; both lines are named."""
    with pytest.raises(SpecError) as refused:
        declarations.read(TEXT.format(validation=path, test=path))
    assert [(each.key, each.line) for each in refused.value.problems] == [
        ("data.split.validation", 5),
        ("data.split.test", 6),
    ]
    assert all(path in each.message for each in refused.value.problems)


def test_registered_files_are_split_by(declarations: Declarations, workspace: Path) -> None:
    """The check counts their rows, a driver is told where all three are, and a recorded study has the names again."""
    text = TEXT.format(validation="dataset:validation.csv", test="dataset:test.csv")
    spec = declarations.read(text)
    checked = Checker(declarations, Bounded(60.0, 4_000_000_000), None).check(text)
    assert (checked.rows, checked.features) == (40, 3)
    told = declarations.overrides(spec)
    assert [each.partition("=")[0] for each in told] == ["data.source", "data.split.validation", "data.split.test"]
    (workspace / "s.yaml").write_text(text, encoding="utf-8")
    study = tuner.run(workspace / "s.yaml", overrides=told, workers=0)
    assert study.state == "finished"
    assert declarations.read(declarations.text_of(study.spec)).data == spec.data
