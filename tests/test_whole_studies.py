"""Claims about deleting and renaming a study: what goes, what stays, and who is asked."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from disturbed import TUNER, run_tuner, table
from studies import tiny

import tuner
from tuner.api import listing, whole_studies
from tuner.api.maintenance import doctor
from tuner.api.publishing import sync
from tuner.errors import SpecError, StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping


def problems() -> list[str]:
    return [problem for found in doctor() for problem in found.problems]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / ".tuner").rglob("*") if path.is_file()}


@pytest.fixture
def two(workspace: Path) -> Path:
    """Two studies of the same prepared data."""
    for name in ("tiny", "other"):
        tuner.run(tiny(name=name), workers=0)
    return workspace


def test_a_deleted_study_leaves_the_other_one_alone(two: Path) -> None:
    """Its record, checkpoints and files for MLflow are gone; the rows that both need stay until the last one goes.
    The ledger is whole, and the name is free: a study that is begun under it has the same table."""
    before, other = table(two), table(two, "other")
    found = whole_studies.delete("tiny")
    assert (found.trials, found.files > 0) == (13, True)
    assert [study.name for study in listing.studies()] == ["other"]
    assert table(two, "other") == other
    assert any("prepared" in name for name in files_below(two))
    assert problems() == []
    tuner.run(tiny(), workers=0)
    assert table(two) == before
    assert problems() == []
    for name in ("tiny", "other"):
        whole_studies.delete(name)
    assert files_below(two) == {name for name in files_below(two) if name.endswith(".lock")}
    assert problems() == []


@pytest.mark.parametrize("purpose", ["run", "publish"])
def test_a_study_that_somebody_holds_is_neither_deleted_nor_renamed(purpose: str, workspace: Path) -> None:
    """One sentence with the owner; nothing is changed."""
    ledger = Ledger.open("sqlite:///tuner.db")
    study = ledger.create_study(spec_from_mapping(tiny()).model_dump_json(), "s.yaml", "f" * 64, "tiny", {})
    with ledger.lease(study.id, purpose):  # type: ignore[arg-type]
        for act in (lambda: whole_studies.delete("tiny"), lambda: whole_studies.rename("tiny", "new")):
            with pytest.raises(StudyError, match=f"process {os.getpid()} on .* nothing was changed"):
                act()
    assert ledger.studies() == [study]
    ledger.close()


def test_a_study_whose_run_was_killed_is_compared_as_stopped(two: Path) -> None:
    """Its row says that it runs, as a killed run leaves it, and no process holds it."""
    ledger = Ledger.open("sqlite:///tuner.db")
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("UPDATE tuner_study SET state = 'running' WHERE name = 'tiny'")
    ledger.close()
    assert tuple(listing.compare(["tiny", "other"]).rows["state"]) == ("stopped", "finished")


def test_rows_that_others_removed_are_still_missed(two: Path) -> None:
    """What a deletion counts is its own: a row that is removed by hand is found after it as before."""
    whole_studies.delete("tiny")
    ledger = Ledger.open("sqlite:///tuner.db")
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM tuner_event WHERE seq = (SELECT max(seq) FROM tuner_event)")
    assert any("rows of tuner_event were recorded" in fault for fault in ledger.faults())
    ledger.close()


def test_deleting_and_renaming_on_postgres(postgres, make_trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows go, and another study's stay."""
    monkeypatch.setenv("TUNER_DATABASE_URL", url := postgres())
    ledger = Ledger.open(url)
    for name in ("tiny", "other"):
        study = ledger.create_study(spec_from_mapping(tiny(name=name)).model_dump_json(), "s", "f" * 64, name, {})
        with ledger.lease_to_run(study.id):
            ledger.record_cohorts(study.id, [(CohortRecord(0, 0), [make_trial(number) for number in range(3)])])
            ledger.record_event(study.id, "run", {"features": 4})
    whole_studies.rename("tiny", "new")
    whole_studies.delete("new")
    assert [(study.name, study.counts) for study in ledger.tallies()] == [("other", {"running": 3})]
    ledger.close()


@pytest.fixture
def make_trial():
    from tuner.spec.architecture import Hyperparameters
    from tuner.spec.work import Trial

    return lambda number: Trial(number, Hyperparameters(0.1, 64, 2, 128, "gelu", 8, 1e-7, 0.0), number)


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_renamed_study_goes_on_as_if_it_had_always_had_that_name(pruner: str, workspace: Path) -> None:
    """By a file with the new name: its draws do not depend on it, hyperband's neither, so the table is that of a study
    that was never renamed, and the replay agrees. The old name is free, and MLflow's tag follows."""
    for trials in (9, 18):
        tuner.run(tiny(name="same", search={"trials": trials, "pruner": pruner}), workers=0)
    tuner.run(tiny(search={"trials": 9, "pruner": pruner}), workers=0)
    whole_studies.rename("tiny", "new")
    assert [study.name for study in listing.studies()] == ["same", "new"]
    assert tuner.run(tiny(name="new", search={"trials": 18, "pruner": pruner}), workers=0).outcome == "finished"
    assert table(workspace, "new") == table(workspace, "same")
    assert [done.error for done in sync()] == [None, None]
    assert problems() == []


def test_names_that_cannot_be_given_are_refused(two: Path) -> None:
    """One that is taken, one that is none, and another name for draws that depend on it."""
    with pytest.raises(StudyError, match="study other: there is one of that name already"):
        whole_studies.rename("tiny", "other")
    with pytest.raises(StudyError, match="study tiny: it has that name already; choose another one"):
        whole_studies.rename("tiny", "tiny")
    with pytest.raises(SpecError, match="name"):
        whole_studies.rename("tiny", "../x")
    tuner.run(tiny(name="old", search={"pruner": "hyperband"}), workers=0)
    ledger = Ledger.open("sqlite:///tuner.db")
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("UPDATE tuner_study SET rules = 1 WHERE name = 'old'")
    ledger.close()
    with pytest.raises(StudyError, match="study old: must keep its name"):
        whole_studies.rename("old", "new")
    assert [study.name for study in listing.studies()] == ["tiny", "other", "old"]


def test_who_is_asked(workspace: Path) -> None:
    """Without a terminal and --yes nothing is done, exit code 2, after saying what would be; at a terminal `n` does
    nothing and `y` does it; --yes asks nobody."""
    tuner.run(tiny(search={"trials": 9, "epochs": 3}), workers=0)
    for words in (["delete", "tiny"], ["rename", "tiny", "new"]):
        refused = run_tuner(workspace, *words)
        assert refused.returncode == 2
        assert "MLflow's" in refused.stderr
        assert "add --yes" in refused.stderr
    assert run_tuner(workspace, "rename", "tiny", "new", "--yes").returncode == 0
    assert answered("n", "delete", "new") == 2
    assert [study.name for study in listing.studies()] == ["new"]
    assert answered("y", "delete", "new") == 0
    assert listing.studies() == []


def answered(answer: str, *words: str) -> int:
    """The exit code of a command at a terminal where somebody answers."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen([*TUNER, *words], stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    os.close(theirs)
    os.write(terminal, f"{answer}\n".encode())
    process.communicate(timeout=120)
    os.close(terminal)
    return process.returncode


def test_the_record_of_a_rename_is_what_a_file_says(workspace: Path) -> None:
    """Its declaration has the new name, so that a file with the old one begins another study."""
    tuner.run(tiny(search={"trials": 9, "epochs": 3}), workers=0)
    whole_studies.rename("tiny", "new")
    assert "name: new" in to_yaml(tuner.Study.open("new").spec)
    with pytest.raises(StudyError, match="tiny"):
        tuner.Study.open("tiny")
