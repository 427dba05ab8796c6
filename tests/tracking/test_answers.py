"""The files of a study's answer in MLflow: under the right runs, as MLflow's own calls would have left them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answers import NAME, made_up_answer
from mlflow import MlflowClient
from owning import owning

from tuner.errors import DataError, StorageError, TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking.publisher import publish_once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_up_answer(tmp_path / "answer")


def listed(client: MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    found = client.list_artifacts(run_id, path)
    return {each.path for each in found if not each.is_dir} | {
        name for each in found if each.is_dir for name in listed(client, run_id, each.path)
    }


@pytest.mark.parametrize("kind", ["store", "server"])
def test_files_are_published_under_their_names_and_mlflow_finds_them(
    kind: str,
    request: pytest.FixtureRequest,
    ledger: Ledger,
    study: StudyRecord,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The study's beside its table and configuration, a trial's in its run; `load_table` reads the table, and twice
    published they are there once."""
    given = request.getfixturevalue(kind)
    uri = str(getattr(given, "url", given))
    for _ in range(2):
        assert publish_once(ledger, study.id, uri, answer=lambda _: folder).waiting == 0
        with owning(ledger, study.id, "publish"):
            ledger.outbox.publish_anew(study.id, ledger.outbox.tracking_store(study.id) or "")
    publish_once(ledger, study.id, uri, answer=lambda _: folder)
    client, runs = MlflowClient(uri), ledger.outbox.run_ids(study.id, [None, 0, 1])
    own, best = (listed(client, runs[number]) for number in (None, 0))
    pictures = [{NAME.format(number) + ending for ending in (".png", "+compressed.webp")} for number in (0, 1)]
    assert own == {"config.yaml", "trials.csv", "worst_rows.json", *pictures[0]}
    assert best == pictures[1]
    assert client.get_run(runs[0]).data.tags["mlflow.loggedImages"] == "True"
    tables = json.loads(client.get_run(runs[None]).data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "worst_rows.json", "type": "table"}]
    assert "mlflow.loggedImages" not in client.get_run(runs[1]).data.tags
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)  # `load_table` searches by itself
        table = client.load_table(client.get_run(runs[0]).info.experiment_id, "worst_rows.json", [runs[None]])
    assert table.to_dict("list") == {"row": [7], "error": [0.5]}


def test_mlflows_own_calls_leave_the_same_names_and_tags(store: str, tmp_path: Path) -> None:
    """`log_image` of the pinned version: the pattern of its names, its tag, the size of its thumbnail."""
    import numpy as np
    from PIL import Image

    from tuner.report.pictures import image_files

    client = MlflowClient(store)
    run = client.create_run(client.create_experiment("x", artifact_location=(tmp_path / "artifacts").as_uri()))
    picture = Image.new("RGB", (240, 160))
    client.log_image(run.info.run_id, picture, key="reconstructions", step=0, timestamp=1_700_000_000_000)
    theirs = sorted(listed(client, run.info.run_id))
    assert client.get_run(run.info.run_id).data.tags["mlflow.loggedImages"] == "True"
    made = image_files(np.asarray(picture), "reconstructions", "study's key", ["study"], 1_700_000_000_000)
    ours = {path.removeprefix("study/"): content for path, content in made.items()}
    for name, other in zip(sorted(ours), theirs, strict=True):
        assert (name.rpartition("timestamp+1700000000000+")[0], len(name)) == (
            other.rpartition("timestamp+1700000000000+")[0],
            len(other),
        )
        (tmp_path / "ours").write_bytes(ours[name])
        theirs_here = Path(run.info.artifact_uri.removeprefix("file://")) / other
        assert Image.open(tmp_path / "ours").size == Image.open(theirs_here).size


def test_files_that_cannot_be_made_are_set_aside_with_the_reason(
    store: str, ledger: Ledger, study: StudyRecord
) -> None:
    """The data is gone: the rest of the study is published, and the sentence says what is missing."""

    def gone(_: StudyRecord) -> Path:
        raise DataError("rows.csv: must be a file, got nothing.")

    published = publish_once(ledger, study.id, store, answer=gone)
    assert (published.waiting, published.aside) == (0, 1)
    (row,) = ledger.outbox.aside(study.id)
    assert (row.kind, row.reason) == ("answer", "rows.csv: must be a file, got nothing.")
    assert MlflowClient(store).get_run(ledger.outbox.run_id(study.id, None)).info.status == "FINISHED"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", ".tuner"), StorageError("No space left")])
def test_a_full_disk_lets_the_files_wait(
    error: Exception, store: str, ledger: Ledger, study: StudyRecord, folder: Path
) -> None:
    """What may be possible another time is not given up, and keeps nothing else from being published."""

    def full(_: StudyRecord) -> Path:
        raise error

    with pytest.raises((TrackingError, StorageError), match="No space left"):
        publish_once(ledger, study.id, store, answer=full)
    assert [row.kind for row in ledger.outbox.waiting(study.id, 10)] == ["answer"]
    assert publish_once(ledger, study.id, store, answer=lambda _: folder).waiting == 0


def test_files_of_a_trial_that_mlflow_does_not_show_are_left_out(
    store: str, ledger: Ledger, study: StudyRecord, folder: Path
) -> None:
    """Nothing fails for them."""
    (folder / "trial-3" / "images").mkdir(parents=True)
    assert publish_once(ledger, study.id, store, answer=lambda _: folder).aside == 0


def test_the_machine_stands_on_the_study(store: str, ledger: Ledger, story: Any) -> None:
    """Device, step, workers, cores and memory as tags, the number of parameters on every trial that ended."""
    study = story.begin(ledger, "machine")
    body = {"device": "cpu", "step": "avx2", "workers": 2, "cores": 4, "memory": "8.0 GB", "features": 20}
    with owning(ledger, study.id):
        ledger.record_event(study.id, "run", body)
    story.finish(ledger, study.id)
    publish_once(ledger, study.id, store)
    client = MlflowClient(store)
    tags = client.get_run(ledger.outbox.run_id(study.id, None)).data.tags
    assert {name: tags[f"tuner.{name}"] for name in body} == {name: str(value) for name, value in body.items()}
    metrics = client.get_run(ledger.outbox.run_id(study.id, 0)).data.metrics
    widths = [(20, 128), (128, 32), (32, 8), (8, 32), (32, 128), (128, 20)]
    assert metrics["n_params"] == sum((inputs + 1) * outputs for inputs, outputs in widths)
