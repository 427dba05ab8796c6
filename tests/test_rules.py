"""Claims about the rules of a study: new ones hold for studies that begin under them, and for no other."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from studies import tiny

import tuner
from tuner.errors import StudyError
from tuner.spec.rules import NEWEST

KEPT = Path(__file__).parent / "fixtures" / "version_0"
PARAMS = ["number", "state", "epochs", "reason"]


def decided(table: pd.DataFrame) -> pd.DataFrame:
    """What the search decided: the same on every kind of CPU, where losses differ in their last bits."""
    return table[[name for name in table.columns if name in PARAMS or name.startswith("param.")]]


def test_the_name_of_a_study_with_hyperband_changes_nothing(workspace: Path) -> None:
    """Two names, one table; a study that cannot go on is told to take another name."""
    search = {"pruner": "hyperband", "trials": 18, "epochs": 9}
    one, two = (tuner.run(tiny(name=name, search=dict(search)), workers=0) for name in ("one", "two"))
    assert one.csv() == two.csv()
    assert one.counts.get("pruned", 0) >= 3
    states = [[trial.state for trial in study.optuna_study.trials] for study in (one, two)]
    assert states[0] == states[1]


def test_a_study_of_a_ledger_without_a_number_goes_on_as_it_was_begun(workspace: Path) -> None:
    """A version without rules killed this study and ran another to its end: hyperband by the name, bit for bit."""
    for name in ("tuner.db", "half.yaml", "sensors.csv"):
        shutil.copy(KEPT / name, name)
    study = tuner.run("half.yaml", overrides=["final=none"], workers=0)
    expected = pd.read_csv(KEPT / "half.csv", keep_default_na=False).convert_dtypes()
    table = pd.read_csv(_written(study), keep_default_na=False).convert_dtypes()
    pd.testing.assert_frame_equal(decided(table), decided(expected))


def _written(study: tuner.Study) -> Path:
    Path("trials.csv").write_text(study.csv())
    return Path("trials.csv")


def test_a_report_says_that_a_new_study_has_other_rules(workspace: Path) -> None:
    """Its advice on how to reproduce a study with older rules is not held back, and not left as it is either."""
    shutil.copy(KEPT / "tuner.db", "tuner.db")
    new = tuner.run(tiny(search={"trials": 1, "epochs": 1}), workers=0)
    said = [study.report("page.html").read_text() for study in (tuner.Study.open("half"), new)]
    assert [f"begun by rules 1, a new one has rules {NEWEST}" in page for page in said] == [True, False]


def test_a_study_with_rules_that_are_not_known_yet_is_refused(workspace: Path) -> None:
    """A newer version began it: this one would make another table of it."""
    declared = tiny(search={"trials": 1, "epochs": 1})
    tuner.run(declared, workers=0)
    with closing(sqlite3.connect("tuner.db")) as connection:
        connection.execute("UPDATE tuner_study SET rules = 99")
        connection.commit()
    with pytest.raises(StudyError, match="study tiny: was begun by rules 99, but this version of the tuner knows"):
        tuner.run(declared, workers=0)
