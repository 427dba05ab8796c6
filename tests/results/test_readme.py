"""Claims about the README.md of an export: its programs run as they stand there, and its figures are the export's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.export.model import load_model


def programs(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("which", ["table", "images"])
def test_every_program_runs(which: str, template: Path, images: Path) -> None:
    """All three, in one process each way a reader would: in the folder, as they stand there; none warns."""
    folder = template if which == "table" else images
    found = programs(folder)
    assert len(found) == 3
    assert "load_model" in found[0] and "InferenceSession" in found[1] and "torch.export.load" in found[2]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(found)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 3


def test_the_table_is_named_by_its_real_columns(template: Path) -> None:
    """The program for a table makes a DataFrame of the model's columns, and the text lists them."""
    names = list(load_model(template).names)
    assert f"columns={names!r}" in programs(template)[0]
    assert ", ".join(f"`{name}`" for name in names) in (template / "README.md").read_text()


def test_the_figures_are_those_of_the_metrics(winner: object, exported: Callable[[Path], Path], template: Path) -> None:
    """Validation loss and threshold; what was not measured is said so."""
    text, card = (template / "README.md").read_text(), json.loads((template / "metrics.json").read_text())
    assert f"| validation rows (compared by) | {card['losses']['validation']:.6g} | not measured |" in text
    assert f"scores more than {card['anomaly']['threshold']:.6g} is unusual (`anomaly` in metrics.json): set on" in text


def test_it_names_no_place_of_this_machine(template: Path) -> None:
    """What is handed on says nothing of where it was made."""
    assert str(template.parent) not in (template / "README.md").read_text()


def test_without_a_threshold_no_program_compares_with_it(winner: Any, tmp_path: Path) -> None:
    """A validation row that scores infinity, of too few for a threshold below it."""
    known = winner.known.copy()
    known[25] = 1e30
    folder = replace(winner, known=known).export(tmp_path / "best")
    assert load_model(folder).threshold is None
    assert "No threshold is known" in (folder / "README.md").read_text()
    assert not any("threshold" in program for program in programs(folder))
