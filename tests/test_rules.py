"""Claims about the rules of a study: new ones hold for studies that begin under them, and for no other."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import tiny

import tuner
from tuner.api.listing import studies
from tuner.api.maintenance import doctor
from tuner.data.examine import examine, fingerprint
from tuner.data.sources import Sources
from tuner.errors import DataError, SpecError, StudyError
from tuner.export.apply import Request, apply
from tuner.spec.reader import spec_from_mapping
from tuner.spec.rules import NEWEST

THREE = Path(__file__).parent / "fixtures" / "version_3"
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


def test_a_study_of_rules_3_goes_on_as_it_was_begun(workspace: Path) -> None:
    """Rows as they are read, epochs, cohorts, final stage: the last version of rules 3 came to the same trials, winner
    and runs; an export says its rules."""
    shutil.copy(THREE / "tuner.db", "tuner.db")
    study = of_rules_3(["rules=3"])
    pd.testing.assert_frame_equal(decided(as_read(_written(study))), decided(as_read(THREE / "three.csv")))
    known = json.loads((THREE / "three.json").read_text())
    assert study.summary.winner.model_dump(mode="json")["params"] == known["winner"]["params"]
    ours, theirs = study.summary.final.configurations, known["final"]["configurations"]
    assert [one.trial for one in ours] == [one["trial"] for one in theirs]
    losses, expected = [one.losses for one in ours], [one["losses"] for one in theirs]
    np.testing.assert_allclose(np.array(losses), np.array(expected), rtol=1e-3)
    config = (study.export("best") / "config.yaml").read_text()
    assert "rules: 3\n" in config and "skip: none\n" in config


def test_a_new_study_can_ask_for_older_rules(workspace: Path) -> None:
    """It comes to what a study that began by them came to."""
    study = of_rules_3(["rules=3", "search.trials=18", "final=none"])
    begun = as_read(THREE / "three.csv").head(18)
    pd.testing.assert_frame_equal(decided(as_read(_written(study))), decided(begun))


def test_a_study_that_began_with_merged_numbers_goes_on(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same table is refused to a new study, by a sentence, and nothing is recorded."""
    ids = pd.DataFrame({"id": [2**60 + n for n in range(60)], "a": np.arange(60) % 7, "b": np.arange(60) % 5 / 2})
    data = {"source": "memory", "columns": {"id": {"type": "numeric"}}}
    with monkeypatch.context() as before:
        before.setattr("tuner.data.examine_table.refuse_merged_columns", lambda _: None)
        begun = tuner.run(tiny(data=data, search={"trials": 9}), data=ids, workers=0)
    assert tuner.run(tiny(data=data), data=ids, workers=0).trials.head(9).equals(begun.trials)
    with pytest.raises(DataError, match="column id: its 60 different numbers must stay different as 64-bit floats"):
        tuner.run(tiny(name="new", data=data), data=ids, workers=0)
    assert [study.name for study in studies()] == ["tiny"]


def of_rules_3(overrides: list[str]) -> tuner.Study:
    shutil.copy(THREE / "three.yaml", "three.yaml")
    shutil.copy(KEPT / "sensors.csv", "sensors.csv")
    return tuner.run("three.yaml", overrides=overrides, workers=0)


def as_read(table: Path) -> pd.DataFrame:
    return pd.read_csv(table, keep_default_na=False).convert_dtypes()


def _written(study: tuner.Study) -> Path:
    Path("trials.csv").write_text(study.csv())
    return Path("trials.csv")


def found_otherwise() -> pd.DataFrame:
    """A table in which rules 5 find more than rules 4 did: in all columns but the first two."""
    rows = range(120)
    return pd.DataFrame(
        {
            "x": [f"{row * 37 % 101 / 8}" for row in rows],
            "y": [f"{row * 53 % 97 / 4}" for row in rows],
            "lab": ["n.d." if row % 5 == 2 else f"{row / 8}" for row in rows],
            "day": [f"2024-01-{row % 28 + 1:02}" if row % 40 else "soon" for row in rows],
            "month": [f"2024-{row % 12 + 1:02}" for row in rows],
            "owed": ["(3)" if row % 3 else "5" for row in rows],
            "level": [
                "-9999" if row % 40 == 1 else "-999" if row % 40 == 2 else f"{row * 29 % 83 / 8}" for row in rows
            ],
            "ratio": ["inf" if row % 60 == 7 else f"{row * 17 % 71 / 8}" for row in rows],
            "code": [f"0{row % 13 + 10}" for row in rows],
            "share": ["4" if row % 30 == 0 else f"{row % 41}%" for row in rows],
        }
    )


# Of that table with masks, by the last version of rules 4.
FOUND_BY_4 = "5c8f099df1d5e801d36605d4c1d2bf4c847d5d51cab46bde889c57fc22a19326"


@pytest.mark.parametrize("rules", [3, 4])
def test_what_older_rules_found_in_a_table_is_found_again(rules: int, tmp_path: Path) -> None:
    """Names, types, formats, levels and values, to the bit: the fingerprint is that of the last version of rules 4."""
    found_otherwise().to_csv(tmp_path / "t.csv", index=False)
    spec = spec_from_mapping(tiny(data={"source": "t.csv", "missing": "mask"}))
    assert fingerprint(examine(spec, Sources(tmp_path), rules).data, spec.data) == FOUND_BY_4
    with pytest.raises(DataError, match=r"column lab, line 4: must be a number, got 'n\.d\.'"):
        examine(spec, Sources(tmp_path), NEWEST)


def test_a_study_of_rules_4_goes_on_with_the_columns_that_it_found(workspace: Path) -> None:
    """Begun by rules 4 on a table that rules 5 refuse, killed or extended, it comes to the same trials."""
    found_otherwise().to_csv("t.csv", index=False)
    ways: dict[str, list[int]] = {"short": [9, 13], "long": [13]}
    for name, lengths in ways.items():
        for number, trials in enumerate(lengths):
            declared = tiny(name=name, data={"source": "t.csv", "missing": "mask"}, search={"trials": trials})
            tuner.run({**declared, "rules": 4} if number == 0 else declared, workers=0)
    short, long = (tuner.Study.open(name) for name in ways)
    assert short.csv() == long.csv()
    assert "rules: 4\n" in (short.export("best") / "config.yaml").read_text()


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


def asked_at(name: str) -> list[int]:
    """After how many told rounds each cohort of a study was asked for."""
    with closing(sqlite3.connect("tuner.db")) as connection:
        query = "SELECT c.position FROM tuner_cohort c JOIN tuner_study s ON s.id = c.study_id WHERE s.name = ?"
        return [row[0] for row in connection.execute(query + " ORDER BY c.number", (name,))]


def test_a_sampler_that_learns_sees_the_whole_first_cohort(workspace: Path) -> None:
    """By rules 4 it has climbed all three rungs when the second is asked for; by older ones, and by a sampler that
    learns nothing, both begin at once."""
    ways = {"new": {}, "old": {"rules": 3}, "blind": {"search": {"sampler": "random"}}}
    for name, changes in ways.items():
        tuner.run(tiny(name=name, **changes), workers=0)
    assert [asked_at(name) for name in ways] == [[0, 3], [0, 0], [0, 0]]


def test_older_rules_know_no_length_of_the_final_stage(workspace: Path) -> None:
    """Their stage trains as long as the search's longest training: another length is refused, with what to do."""
    declared = tiny(final={"epochs": 9}, search={"trials": 3, "epochs": 2})
    with pytest.raises(SpecError, match=r"final\.epochs: must be left out by rules 3; by rules 4"):
        tuner.run({**declared, "rules": 3}, workers=0)


def test_outputs_are_bounded_by_new_rules_alone(workspace: Path) -> None:
    """Rows that are often 0: by rules 5 the table is that of `bounds: none`; by rules 6 the loss is lower, no
    reconstruction is below 0, the exported graph scores as its model does, and doctor computes the same again."""
    draw = np.random.default_rng(0)
    rows = np.maximum(0, draw.standard_normal((400, 3)) @ draw.standard_normal((3, 12)) - 0.5)
    np.save("rows.npy", rows)
    common = {"data": {"source": "rows.npy", "scaling": "standard"}, "search": {"trials": 6, "epochs": 9, "seed": 1}}
    new, free, older = (
        tuner.run(tiny(name=name, **more, **common), workers=0)
        for name, more in (("new", {}), ("free", {"bounds": "none"}), ("older", {"rules": 5}))
    )
    assert older.csv() == free.csv()
    assert new.summary.winner.value < free.summary.winner.value
    best = tuner.load_model(new.export("new"))
    assert (best.card.bounded, best.card.format) == (12, 5)
    assert best.reconstruct(rows).min() == pytest.approx(0, abs=1e-6)
    assert "All columns have a limit" in Path("new/README.md").read_text()
    apply(Path("new"), Request("score", Path("onnx.npy"), "rows.npy", onnx=True))
    np.testing.assert_allclose(np.load("onnx.npy"), best.score(rows), rtol=1e-4)
    assert [problem for each in doctor(deep=True) for problem in each.problems] == []
    with pytest.raises(StudyError, match="bounds"):
        tuner.run(tiny(name="new", bounds="none", **common), workers=0)
