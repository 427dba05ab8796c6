"""Claims about users' tables on the whole way: from a file or a frame to a study, an export and new rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from studies import fresh_folder, working_in
from typer.testing import CliRunner

import tuner
from tuner.cli.app import app
from tuner.data.examine import examine
from tuner.data.sources import Sources
from tuner.errors import SpecError, StudyError
from tuner.export.apply import Request, apply
from tuner.spec.reader import spec_from_mapping

PUMPS = Path(__file__).parents[1] / "search_spaces" / "data" / "pumps.csv"
MODELLED = [
    "read", "site", "model", "installed", "hours", "inlet_bar", "outlet_bar", "flow_m3h", "power_kw", "temperature_c",
    "vibration_mm_s", "filter", "alarms",
]  # fmt: skip
SMALL = ["--set", "search.trials=4", "--set", "search.epochs=8", "--set", "final=none"]


def typed(*words: str) -> str:
    """What a command prints; it ends well."""
    ran = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def declared(name: str, **data: object) -> dict[str, Any]:
    return {
        "name": name,
        "data": {"source": "pumps.csv", "label": "state", **data},
        "space": {"bottleneck": 5, "width": 32, "learning_rate": 0.01, "batch_size": 32},
        "search": {"trials": 1, "epochs": 8},
        "final": "none",
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A folder in which `init`, `run` and `export` were typed, with the file of new rows that tests apply it to."""
    with working_in(fresh_folder(tmp_path_factory.mktemp("real"), mlflow_store)) as folder:
        shutil.copy(PUMPS, folder)
        (folder / "s.yaml").write_text(typed("init", "pumps.csv", "--label", "state"), encoding="utf-8")
        typed("run", "s.yaml", "--workers", "0", *SMALL)
        typed("export", "pumps", "best")
        new = pd.read_csv(PUMPS, dtype=str, keep_default_na=False).drop(columns="state").head(6)
        new.loc[1, "model"] = "never seen"
        new.loc[2, ["site", "inlet_bar", "read"]] = ""
        new.loc[3, "hours"] = "many"
        new.to_csv("new.csv", index=False)
    return folder


@pytest.fixture
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(finished)
    return finished


def test_init_decides_what_the_table_needs(there: Path) -> None:
    """Masks, the group, standard scaling, the label held out; `validate` says types, split and loss."""
    data = yaml.safe_load((there / "s.yaml").read_text(encoding="utf-8"))["data"]
    assert data == {
        "source": "pumps.csv", "label": "state", "missing": "mask", "split": {"group": "pump_id"},
        "scaling": "standard",
    }  # fmt: skip
    said = " ".join(typed("validate", "s.yaml").split())
    assert "13 are modelled: 6 numeric, 2 datetime, 2 categorical, 2 count, 1 boolean" in said
    assert "from whole groups of pump_id" in said
    assert "loss mixed (auto)" in said


def test_the_answer_stands_beside_pca_and_the_mean(there: Path) -> None:
    """`show --json`: all under one loss, of which the mean predictor has about 1 on rows that it was not fitted on."""
    answer = json.loads(typed("show", "pumps", "--json"))
    assert answer["counts"]["complete"] >= 1
    best = answer["best"]["value"]
    known = answer["baselines"] or answer["validation_baselines"]
    assert 0 < best < known["mean"] == pytest.approx(1, abs=0.2)
    assert 0 < known["pca"] < known["mean"]


def test_apply_takes_new_rows_as_they_are(there: Path) -> None:
    """Every row has codes, a score and a reconstruction of the table's names and types; odd cells are said."""
    said = typed("apply", "best", "new.csv", "--what", "score", "-o", "score.csv", "--keep", "pump_id")
    assert "column hours, line 5: 'many' is not of its type (1 such in these rows)" in said
    scores = pd.read_csv("score.csv")
    assert list(scores.columns[:2]) == ["pump_id", "score"]
    assert scores["score"].notna().all()
    assert scores["score"][1] > scores["score"][0]  # for its level was never seen
    typed("apply", "best", "new.csv", "--what", "score", "-o", "onnx.csv", "--onnx")
    np.testing.assert_allclose(pd.read_csv("onnx.csv")["score"], scores["score"], rtol=1e-4)
    typed("apply", "best", "new.csv", "--what", "encode", "-o", "codes.parquet", "--keep", "pump_id")
    codes = pd.read_parquet("codes.parquet")
    assert codes["pump_id"].tolist() == ["P-001"] * 6
    assert np.isfinite(codes.filter(like="code_")).all(axis=None)
    typed("apply", "best", "new.csv", "--what", "reconstruct", "-o", "rebuilt.parquet")
    typed("apply", "best", "--what", "sample", "-n", "7", "--seed", "1", "-o", "drawn.parquet")
    for name, rows in (("rebuilt.parquet", 6), ("drawn.parquet", 7)):
        made, table = pd.read_parquet(name), pd.read_csv(PUMPS)
        assert list(made.columns) == MODELLED
        assert len(made) == rows
        assert set(made["site"]) <= {*table["site"], "(other)"}
        assert set(made["filter"]) <= {"yes", "no"}
        assert pd.api.types.is_integer_dtype(made["alarms"]) and pd.api.types.is_datetime64_dtype(made["installed"])


def test_python_gives_the_tables_names_types_and_index(there: Path) -> None:
    """From a frame with typed columns as from a file of text; a row's missing cells are rebuilt."""
    model = tuner.load_model("best")
    frame = pd.read_csv(PUMPS, parse_dates=["read", "installed"]).iloc[10:30]
    rebuilt = model.reconstruct(frame)
    assert list(rebuilt.columns) == MODELLED
    assert rebuilt.index.equals(frame.index)
    assert rebuilt.notna().all(axis=None)
    same = ["read", "installed", "inlet_bar", "power_kw", "alarms"]
    assert [rebuilt[name].dtype.kind for name in same] == [frame[name].dtype.kind for name in same]
    assert list(model.sample(3, seed=0).columns) == MODELLED
    frame.to_csv("part.csv", index=False)
    apply("best", Request("score", Path("part.npy"), "part.csv"))
    np.testing.assert_allclose(np.load("part.npy"), model.score(frame), rtol=1e-6)


def test_a_missing_cell_where_none_was_allowed_empties_its_row_alone(workspace: Path) -> None:
    """Scores of the others are as without it; the row is kept, and counted."""
    whole = pd.read_csv(PUMPS).dropna()
    whole.to_csv("pumps.csv", index=False)
    tuner.run(declared("whole"), workers=0).export("best")
    new = whole.head(5).astype(object)
    new.to_csv("whole.csv", index=False)
    new.loc[new.index[2], "hours"] = None
    new.to_csv("new.csv", index=False)
    apply("best", Request("score", Path("expected.csv"), "whole.csv"))
    said = typed("apply", "best", "new.csv", "--what", "score", "-o", "s.csv", "--keep", "pump_id")
    assert "1 row without a result, for a value is missing (the first: column hours, line 4)" in said
    scores, expected = pd.read_csv("s.csv")["score"], pd.read_csv("expected.csv")["score"]
    assert pd.read_csv("s.csv")["anomaly"].isna().tolist() == scores.isna().tolist()
    apply("best", Request("score", Path("s.parquet"), "new.csv"))
    assert pd.read_parquet("s.parquet")["anomaly"].isna().tolist() == scores.isna().tolist()
    assert scores.isna().tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(scores.dropna(), expected.drop(2))
    assert tuner.load_model("best").reconstruct(new).iloc[2].isna().sum() > 0


@pytest.mark.parametrize("missing", ["drop", "mean", "median", "mask"])
def test_missing_values_as_declared(missing: str, workspace: Path) -> None:
    """The rows that are used and whether the prepared ones have gaps; the study ends with a loss below the mean's."""
    shutil.copy(PUMPS, workspace)
    incomplete = pd.read_csv(PUMPS).drop(columns="state").isna().any(axis=1)
    spec = declared("gaps", missing=missing, indicators=missing in ("mean", "mask"))
    found = examine(spec_from_mapping(spec), Sources(workspace))
    raw = found.data.raw(found.split.train)
    assert found.data.rows == (600 if missing != "drop" else (~incomplete).sum())
    assert np.isnan(raw).any() == (missing == "mask")
    told = [name for name in found.data.names if name.endswith(" is missing")]
    assert len(told) == (5 if missing in ("mean", "mask") else 0)
    study = tuner.run(spec, workers=0)
    assert study.outcome == "finished"
    assert study.best.value is not None and 0 < study.best.value < 1
    if missing in ("drop", "mean"):  # masks are exported above, and medians are filled like means
        study.export("best")
        scores = tuner.load_model("best").score(pd.read_csv(PUMPS))
        assert np.isnan(scores).tolist() == (incomplete.tolist() if missing == "drop" else [False] * 600)


def test_missing_values_are_refused_where_nothing_is_declared(workspace: Path) -> None:
    """All columns with counts and first lines, and keys that work as they are printed."""
    shutil.copy(PUMPS, workspace)
    (workspace / "s.yaml").write_text(yaml.safe_dump(declared("none")), encoding="utf-8")
    ran = CliRunner().invoke(app, ["validate", "s.yaml"])
    said = str(ran.exception)
    assert "hours (27 of 600, the first in line 4)" in said and "filter (6 of 600" in said
    assert "say data.missing: mask, mean, median or drop" in said


SPLITS: dict[str, dict[str, Any]] = {
    "group": {"group": "pump_id"},
    "column": {"column": "fold"},
    "time": {"time": "read"},
    "stratify": {"stratify": "state"},
    "files": {"validation": "val.csv", "test": "test.csv"},
}


@pytest.mark.parametrize("kind", SPLITS)
def test_rows_are_held_out_as_declared(kind: str, workspace: Path) -> None:
    """Seen in the rows of each split; the study runs on them."""
    frame = pd.read_csv(PUMPS)
    fold = np.array(["train", "validation", "test", "train"])[np.arange(600) % 4]
    if kind == "files":
        for name, part in (("pumps", "train"), ("val", "validation"), ("test", "test")):
            frame[fold == part].to_csv(f"{name}.csv", index=False)
        frame = pd.concat([frame[fold == part] for part in ("train", "validation", "test")], ignore_index=True)
    else:
        (frame.assign(fold=fold) if kind == "column" else frame).to_csv("pumps.csv", index=False)
    spec = declared("split", missing="mask", split=SPLITS[kind])
    found = examine(spec_from_mapping(spec), Sources(workspace)).split
    train, validation, test = (frame.iloc[part] for part in (found.train, found.validation, found.test))
    assert len(train) + len(validation) + len(test) == 600
    if kind == "group":
        pumps = [set(part["pump_id"]) for part in (train, validation, test)]
        assert sum(map(len, pumps)) == 60 == len(set.union(*pumps))
        assert (len(validation), len(test)) == (120, 60)
    elif kind == "time":
        assert train["read"].max() < validation["read"].min() <= validation["read"].max() < test["read"].min()
    elif kind == "stratify":
        assert [(part["state"] == "worn").sum() for part in (validation, test)] in ([5, 2], [5, 3], [4, 2], [4, 3])
    else:
        assert (len(train), len(validation), len(test)) == (300, 150, 150)
        rows = np.arange(600) if kind == "files" else np.flatnonzero(fold == "train")
        assert found.train.tolist() == rows[: len(train)].tolist()
    assert tuner.run(spec, workers=0).outcome == "finished"


def test_a_frame_in_memory_is_a_study(workspace: Path) -> None:
    """It goes on with the same data, refuses others and none, and its export needs neither; the table is a file's."""
    frame = pd.read_csv(PUMPS, parse_dates=["read", "installed"])
    spec = declared("memory", missing="mask", exclude=["pump_id"])
    from_file = spec_from_mapping(spec)
    del spec["data"]["source"]
    study = tuner.run(spec, data=frame, workers=0)
    more = {**spec, "search": {"trials": 2, "epochs": 8}}
    again = tuner.run(more, data=frame.copy(), workers=0)
    assert len(again.trials) == 2
    assert again.csv().startswith(study.csv())
    for other in (frame.iloc[:-1], frame.assign(hours=frame["hours"] + 1), frame.drop(columns="alarms")):
        with pytest.raises(StudyError, match="the data in memory has changed since the study began"):
            tuner.run(more, data=other, workers=0)
    with pytest.raises(SpecError, match=r"data.source: must be given"):
        tuner.run(more, workers=0)
    again.export("best")
    assert list(tuner.load_model("best").reconstruct(frame.head(2)).columns) == MODELLED
    shutil.copy(PUMPS, workspace)
    of_file = tuner.run(from_file.model_copy(update={"name": "of-file"}), workers=0)
    assert of_file.best.value == pytest.approx(study.best.value, rel=1e-9)


@pytest.mark.parametrize("loss", ["auto", "huber", "poisson"])
def test_a_loss_by_terms_stands_beside_pca(loss: str, workspace: Path) -> None:
    """Everyone is judged by it: nobody who knows the means alone loses much else than 1, and PCA loses less."""
    shutil.copy(PUMPS, workspace)
    spec = {**declared("loss", missing="mask", exclude=["pump_id"]), "loss": loss}
    spec["data"]["columns"] = {"alarms": {"loss": "poisson"}, "power_kw": {"loss": "huber"}, "site": {"weight": 0.5}}
    summary = tuner.run(spec, workers=0).summary
    known = summary.baselines or summary.validation_baselines
    assert known is not None
    assert known.mean == pytest.approx(1, abs=0.2)
    assert 0 < known.pca < known.mean


def test_an_array_with_gaps_is_a_table_of_columns_x0_on(workspace: Path) -> None:
    """In memory and as .npy the same study; its export takes arrays by place, in Python and from the shell."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(90, 6))
    rows[:, 0] = 2 * rows[:, 1]
    rows[draw.random(rows.shape) < 0.05] = np.nan
    np.save("rows.npy", rows)
    spec = {**declared("array"), "data": {"missing": "mask"}}
    spec["space"] |= {"bottleneck": 3}
    study = tuner.run(spec, data=rows, workers=0)
    of_file = tuner.run({**spec, "name": "npy", "data": {"missing": "mask", "source": "rows.npy"}}, workers=0)
    assert of_file.best.value == study.best.value
    study.export("best")
    model = tuner.load_model("best")
    scores = model.score(rows)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(model.score(pd.DataFrame(rows, columns=[f"x{place}" for place in range(6)])), scores)
    typed("apply", "best", "rows.npy", "--what", "score", "-o", "scores.npy")
    np.testing.assert_allclose(np.load("scores.npy"), scores, rtol=1e-6)
    np.savez("narrow.npz", rows[:, :5])
    ran = CliRunner().invoke(app, ["apply", "best", "narrow.npz", "--what", "score", "-o", "s.csv"])
    assert "narrow.npz: must have the model's columns, missing: x5" in str(ran.exception)
