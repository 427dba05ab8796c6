"""A study's saved view: MLflow's charts page, arranged for it, and really drawn."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from answers import made_up_answer, view_state
from mlflow import MlflowClient
from owning import owning

from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.spec.study import StudySpec
from tuner.tracking import direct
from tuner.tracking.links import study_url
from tuner.tracking.publisher import publish_once
from tuner.tracking.store import sqlite_path
from tuner.tracking.view import TAG, saved_view, view_key

CHROMIUM = shutil.which("chromium")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=2200,4000", "--virtual-time-budget=40000", "--timeout=60000"),
)


@pytest.fixture(params=["directly", "through the client", "to a server"])
def uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "through the client":
        monkeypatch.setattr(direct, "REVISION", "another")
    is_server = request.param == "to a server"
    return str(request.getfixturevalue("server").url if is_server else request.getfixturevalue("store"))


def installed(uri: str, ledger: Ledger, study: StudyRecord) -> dict[str, dict[str, Any]]:
    """The saved views of a study's experiment, by what opens them."""
    tags = MlflowClient(uri).get_experiment(ledger.outbox.experiment_id(study.id)).tags
    return {
        name.removeprefix(TAG): json.loads(view_state(value))["state"]
        for name, value in tags.items()
        if name.startswith(TAG)
    }


def test_a_study_brings_its_view(uri: str, ledger: Ledger, study: StudyRecord) -> None:
    """It shows the study's trials alone, the best first, on axes that are searched, and the link opens it."""
    publish_once(ledger, study.id, uri)
    key, run_id = ledger.outbox.view_key(study.id), ledger.outbox.run_id(study.id, None)
    (state,) = installed(uri, ledger, study).values()
    assert state["searchFilter"] == f"tags.mlflow.parentRunId = '{run_id}'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`objective`", True)
    charts = {chart["type"]: chart for chart in state["compareRunCharts"]}
    assert charts["PARALLEL"]["selectedMetrics"] == ["log10_learning_rate", "objective"]
    assert charts["LINE"]["metricKey"] == "val_loss"
    assert charts.keys() == {"PARALLEL", "SCATTER", "LINE", "DIFFERENCE"}, "one number is searched, rows are no images"
    assert f"viewStateShareKey={key}&" in study_url("http://x", "1", run_id or "", key)


def test_a_view_that_cannot_be_installed_is_gone_without(store: str, ledger: Ledger, study: StudyRecord) -> None:
    """Everything else is published, and the link is the plain one."""
    with closing(sqlite3.connect(sqlite_path(store) or "")) as opened:
        opened.execute("DROP TABLE experiment_tags")
    assert publish_once(ledger, study.id, store).waiting == 0
    assert ledger.outbox.aside(study.id) == []
    assert ledger.outbox.view_key(study.id) is None
    assert "searchFilter=tags.mlflow.parentRunId" in study_url("http://x", "1", "r", ledger.outbox.view_key(study.id))


def test_a_study_that_goes_on_with_another_declaration_has_its_view_replaced(
    store: str, ledger: Ledger, study: StudyRecord
) -> None:
    """One view a study; a second study in the same experiment has its own."""
    publish_once(ledger, study.id, store)
    (before,) = installed(store, ledger, study).items()
    spec = study.spec.model_dump()
    wider = {**spec, "space": {**spec["space"], "width": {"type": "int", "low": 8, "high": 64}}}
    ledger.update_spec(study.id, StudySpec.model_validate(wider).model_dump_json(), "x.yaml")
    publish_once(ledger, study.id, store)
    (after,) = installed(store, ledger, study).items()
    assert (after[0], "CONTOUR" in json.dumps(after[1])) == (before[0], True)
    assert "CONTOUR" not in json.dumps(before[1])
    other = Ledger.open("sqlite:///other.db")
    second = other.create_study(study.spec_json, "y.yaml", study.fingerprint, study.name, {})
    publish_once(other, second.id, store)
    assert installed(store, ledger, study).keys() == {view_key(study), view_key(second)}
    other.close()


def test_the_view_of_the_largest_space_fits_into_a_tag(study: StudyRecord) -> None:
    """MLflow takes 20,000 characters."""
    numbers = {
        name: {"type": "float", "low": 0.1, "high": 0.2}
        for name in ("learning_rate", "weight_decay", "input_noise", "dropout", "taper", "sparsity")
    }
    spec = {**study.spec.model_dump(), "space": {**numbers, "kind": "sparse", "bottleneck": 2}}
    text = StudySpec.model_validate(spec).model_dump_json()
    wide = StudyRecord(**{**{name: getattr(study, name) for name in study.__slots__}, "spec_json": text})
    assert len(saved_view(wide, "f" * 32, True)[1]) < 4_000


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_draws_every_chart(server: Any, ledger: Ledger, story: Any, tmp_path: Path) -> None:
    """MLflow's page of the pinned version, opened by the link: the study's trials in the order of their objective,
    lines and points drawn, pictures loaded, and no word of an error."""
    study = story.begin(ledger, "drawn")
    spec = study.spec.model_dump()
    wider = {**spec, "space": {**spec["space"], "width": {"type": "int", "low": 8, "high": 64}}}
    with owning(ledger, study.id):
        ledger.update_spec(study.id, StudySpec.model_validate(wider).model_dump_json(), "x.yaml")
        ledger.record_event(study.id, "run", {"features": 20, "images": True})
    story.finish(ledger, study.id)
    folder = made_up_answer(tmp_path / "answer")
    publish_once(ledger, study.id, server.url, answer=lambda _: folder)
    url = study_url(
        *(server.url, ledger.outbox.experiment_id(study.id) or "", ledger.outbox.run_id(study.id, None) or ""),
        ledger.outbox.view_key(study.id),
    )
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", url]
    page = subprocess.run(command, capture_output=True, text=True, check=True, timeout=180).stdout
    assert re.findall(r">(trial-\d{4})<", page)[:3] == ["trial-0000", "trial-0001", "trial-0002"]
    for words in ("Search space", "What the objective depends on", "Learning curves", "Reconstructions", "Differences"):
        assert f">{words}" in page, words
    assert page.count('class="parcoords') > 0, "parallel coordinates"
    assert len(re.findall(r'class="trace scatter', page)) > 3, "points and curves"
    assert 'class="contour' in page
    assert "images%2Freconstructions" in page or "images/reconstructions" in page
    assert "No images found" not in page.split("worst_rows")[0]
    assert "Failed to load" not in page
