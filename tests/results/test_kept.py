"""Claims about a finished study whose data's source has changed or is gone: its answer is there all the same."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from disturbed import run_tuner
from numpy.typing import NDArray
from studies import fresh_folder, tiny

import tuner
from tuner.api.maintenance import prune_files
from tuner.api.publishing import sync
from tuner.errors import DataError, StudyError
from tuner.ledger.ledger import Ledger

Change = Callable[[Path], object]


def one_more_row(source: Path) -> None:
    with source.open("a") as file:
        file.write("1.0,2.0,3.0,4.0,a\n")


CHANGES = [(one_more_row, "has changed since the study began"), (Path.unlink, "is gone or can no longer be read")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder with a study of a labelled table, its export before anything changed, and raw rows of it."""
    folder = fresh_folder(tmp_path_factory.mktemp("finished"), mlflow_store)
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 4)), columns=list("wxyz"))
    table.assign(kind=["a", "b", "b"] * 40).to_csv(folder / "rows.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        study = tuner.run(tiny(data={"source": "rows.csv", "label": "kind"}), workers=0)
        study.export("before")
        np.save("raw.npy", study.raw_rows(5))
    return folder


@pytest.fixture
def copied(finished: Path, workspace: Path) -> Path:
    """The current folder, a copy of it with the data beside it."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    with closing(sqlite3.connect("tuner.db")) as connection, connection:
        connection.execute("UPDATE tuner_study SET source = ?", [str(workspace / "tiny.yaml")])
    return workspace


def rows() -> NDArray[np.float64]:
    """Some rows of the study, as they were before they were scaled."""
    return tuner.Study.open("tiny").raw_rows(5)


def figures(folder: Path) -> dict[str, object]:
    """An export's `metrics.json` without its time, what it says of the source, and the README's digest."""
    card = json.loads((folder / "metrics.json").read_text())
    for name in ("created_at", "source_note"):
        del card[name]
    del card["files"]["README.md"]
    return dict(card)


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_an_export_needs_no_source(change: Change, words: str, copied: Path) -> None:
    """Byte for byte the export of before, with a word on standard error and in its README; so does a report."""
    change(copied / "rows.csv")
    done = run_tuner(copied, "export", "tiny", "after")
    assert done.returncode == 0, done.stderr
    assert f"The study's data, rows.csv, {words}." in done.stderr
    assert figures(Path("after")) == figures(Path("before"))
    assert (copied / "after/model.onnx").read_bytes() == (copied / "before/model.onnx").read_bytes()
    text = Path("after/README.md").read_text()
    assert f"The study's data, rows.csv, {words}." in text
    assert str(copied) not in text
    assert "The study's data" not in Path("before/README.md").read_text()
    study = tuner.Study.open("tiny")
    np.testing.assert_array_equal(study.raw_rows(5), np.load("raw.npy"))
    page = study.report("page.html").read_text()
    assert words in page
    assert "Not shown: " not in page


def test_a_champion_needs_no_source(copied: Path) -> None:
    """Registered after the table is gone, with a word on standard error."""
    (copied / "rows.csv").unlink()
    done = run_tuner(copied, "register", "tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny: version 1 is the champion\n")
    assert "The study's data, rows.csv, is gone" in done.stderr


def test_what_waits_for_mlflow_needs_no_source(copied: Path) -> None:
    """The files of the answer are made and published from what was kept."""
    (copied / "rows.csv").unlink()
    shutil.rmtree(".tuner/answers", ignore_errors=True)
    ledger = Ledger.open(f"sqlite:///{copied / 'tuner.db'}")
    record = ledger.study("tiny")
    assert record is not None
    with ledger.lease(record.id, "publish"):
        ledger.outbox.publish_anew(record.id, ledger.outbox.tracking_store(record.id) or "")
    ledger.close()
    (done,) = sync("tiny")
    assert (done.error, done.waiting, done.aside) == (None, 0, ())
    assert list(Path(".tuner/answers").rglob("worst_rows.json"))


@pytest.mark.parametrize(("change", "_"), CHANGES)
@pytest.mark.parametrize("lose", ["*.npy", "*.fitted.json", "*.fitted.sha256", "*.labels.npy"])
def test_where_a_kept_file_is_gone_the_source_is_needed(lose: str, change: Change, _: str, copied: Path) -> None:
    """Unchanged, it is enough, and what was lost is written again; else nothing is answered, and no rows of the changed
    data are prepared."""
    files = sorted(Path(".tuner/prepared").iterdir())
    assert len(files) == 10
    for path in Path(".tuner/prepared").glob(lose):
        path.unlink()
    np.testing.assert_array_equal(rows(), np.load("raw.npy"))
    assert sorted(Path(".tuner/prepared").iterdir()) == files
    for path in Path(".tuner/prepared").glob(lose):
        path.unlink()
    change(copied / "rows.csv")
    with pytest.raises((DataError, StudyError), match=r"rows\.csv"):
        rows()
    assert set(Path(".tuner/prepared").iterdir()) < set(files)


@pytest.mark.parametrize("damage", ["*.npy", "*.fitted.json"])
def test_a_damaged_file_is_not_believed(damage: str, copied: Path) -> None:
    """One flipped bit: with the source it is written again, without it nothing is answered."""
    path = next(path for path in Path(".tuner/prepared").glob(damage) if ".labels" not in path.name)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    (copied / "rows.csv").rename("elsewhere.csv")
    with pytest.raises(DataError, match=r"rows\.csv"):
        rows()
    (copied / "elsewhere.csv").rename("rows.csv")
    np.testing.assert_array_equal(rows(), np.load("raw.npy"))
    assert path.read_bytes() == whole


def test_pruning_frees_all_files_of_prepared_data(copied: Path) -> None:
    """Rows, labels and scaling, each with its digest; afterwards the source is needed, and is enough."""
    prune_files()
    assert list(Path(".tuner/prepared").iterdir()) == []
    np.testing.assert_array_equal(rows(), np.load("raw.npy"))
