"""What stands in MLflow is what stands in the ledger, in a SQLite store and behind a server alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from owning import owning

from tuner.answers.parts import Scores
from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import CohortRecord, StudyRecord
from tuner.ledger.table import trials_csv
from tuner.spec.study import StudySpec
from tuner.spec.work import TrialEnd, TrialState
from tuner.tracking.publisher import Published, publish_once

Story = Any


class View:
    """A study as MLflow shows it."""

    def __init__(self, uri: str, study: StudyRecord) -> None:
        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name(study.name)
        self.experiment_id = experiment.experiment_id
        runs = self.client.search_runs([self.experiment_id])
        self.parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.trials = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
        self.count = len(runs)

    @property
    def parent(self) -> Run:
        assert len(self.parents) == 1
        return self.parents[0]

    def history(self, run: Run, key: str) -> list[tuple[int, int, float]]:
        """Step, timestamp in milliseconds and value, in the order of the steps."""
        found = self.client.get_metric_history(run.info.run_id, key)
        return sorted((metric.step, metric.timestamp, metric.value) for metric in found)

    def everything(self) -> dict[str, Any]:
        """All that MLflow holds of the study; NaN as text, so that it equals itself."""
        return {
            run.info.run_id: (
                *(run.info.status, run.info.start_time, run.info.end_time, run.info.run_name),
                dict(run.data.params),
                dict(run.data.tags),
                {key: str(self.history(run, key)) for key in run.data.metrics},
                [each.dataset.digest for each in run.inputs.dataset_inputs],
            )
            for run in (*self.parents, *self.trials.values())
        }

    def artifact(self, run: Run, name: str, folder: Path) -> str:
        uri = f"{run.info.artifact_uri}/{name}"
        if not uri.startswith("file:"):
            path = self.client.download_artifacts(run.info.run_id, name, str(folder))
        else:
            path = download_artifacts(artifact_uri=uri, dst_path=str(folder))
        return Path(path).read_text()


@pytest.fixture(params=["sqlite", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    """MLflow's store opened directly, and MLflow's server."""
    return str(request.getfixturevalue("store" if request.param == "sqlite" else "server_url"))


@pytest.fixture
def server_url(server: Any) -> str:
    return str(server.url)


def test_a_finished_study_stands_in_mlflow_as_in_the_ledger(
    uri: str, ledger: Ledger, study: StudyRecord, story: Story, tmp_path: Path
) -> None:
    """One parent, one nested run per trained trial, every epoch's losses with their times, and the true ends."""
    waiting = ledger.outbox.waiting_count(study.id)
    assert publish_once(ledger, study.id, uri) == Published(waiting, 0, 0)
    view = View(uri, study)
    assert sorted(view.trials) == ["trial-0000", "trial-0001", "trial-0002"]
    _check_parent(view, study, story)
    _check_trials(view, ledger, study, story)
    config = StudySpec.model_validate(yaml.safe_load(view.artifact(view.parent, "config.yaml", tmp_path)))
    assert config == story.declaration(study.name)
    assert view.artifact(view.parent, "trials.csv", tmp_path) == trials_csv(ledger.trials(study.id))


def _check_parent(view: View, study: StudyRecord, story: Story) -> None:
    parent = view.parent
    assert (parent.info.run_name, parent.info.status) == (study.name, "FINISHED")
    assert parent.info.start_time == round(study.created_at * 1000)
    assert parent.info.end_time == round(study.changed_at * 1000)
    assert parent.data.tags["tuner.sampler"] == "tpe"
    assert parent.data.tags["tuner.version.torch"] == "2.13.0"
    assert parent.data.tags["tuner.fingerprint"] == story.fingerprint
    assert parent.data.tags["mlflow.source.name"] == "spaces/x.yaml"
    assert (parent.data.tags["best.trial"], parent.data.tags["best.learning_rate"]) == ("0", "0.1")
    assert parent.data.metrics == {
        **{"best.value": 0.25, "best.test_loss": 1.25, "baseline.mean": 0.9, "baseline.pca": 0.3}
    }
    _check_dataset(parent, story)


def _check_dataset(run: Run, story: Story) -> None:
    (found,) = run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("rows.csv", story.fingerprint[:36])


def _check_trials(view: View, ledger: Ledger, study: StudyRecord, story: Story) -> None:
    statuses = {0: "FINISHED", 1: "FINISHED", 2: "FAILED"}
    for record in ledger.trials(study.id)[:3]:
        run = view.trials[f"trial-{record.number:04d}"]
        assert run.data.params == {name: str(v) for name, v in record.shown.items()} | {"seed": str(record.seed)}
        assert run.info.status == statuses[record.number]
        assert record.started_at is not None and record.ended_at is not None
        assert (run.info.start_time, run.info.end_time) == (
            (round(record.started_at * 1000), round(record.ended_at * 1000))
        )
        assert run.data.tags["mlflow.parentRunId"] == view.parent.info.run_id
        assert run.data.tags["mlflow.user"]
        assert run.data.tags["tuner.state"] == record.state
        assert run.data.tags.get("tuner.reason", "") == record.reason
        assert run.data.tags.get("best") == ("true" if record.number == 0 else None)
        assert run.data.metrics["objective"] == record.value
        assert run.data.metrics["best_epoch"] == record.best_epoch
        assert run.data.metrics["epochs"] == record.epochs
        assert run.data.metrics["log10_learning_rate"] == pytest.approx(-(record.number + 1), abs=1e-15)
        _check_dataset(run, story)
        _check_losses(view, run, ledger.curves(study.id)[record.number])


def _check_losses(view: View, run: Run, curve: Any) -> None:
    for key, losses in (("train_loss", curve.train_loss), ("val_loss", curve.val_loss)):
        expected = [
            (epoch, round(at * 1000), loss if math.isfinite(loss) else math.nan)
            for epoch, (at, loss) in enumerate(zip(curve.at, losses, strict=True), start=1)
        ]
        assert str(view.history(run, key)) == str(expected)


def test_publishing_again_changes_nothing(uri: str, ledger: Ledger, study: StudyRecord) -> None:
    """Everything may be published twice, even by someone who knows nothing of the first time."""
    publish_once(ledger, study.id, uri)
    before = View(uri, study).everything()
    with owning(ledger, study.id, "publish"):
        ledger.outbox.publish_anew(study.id, ledger.outbox.tracking_store(study.id) or "")
    assert publish_once(ledger, study.id, uri).count > 0
    assert View(uri, study).everything() == before
    assert publish_once(ledger, study.id, uri) == Published(0, 0, 0)


def test_a_study_published_bit_by_bit_is_the_study_published_at_once(
    make_store: Callable[[str], str], tmp_path: Path, story: Story
) -> None:
    """How often the publisher comes by does not change what MLflow shows, but for the ids."""
    shown = []
    for name, often in (("often", True), ("once", False)):
        uri, ledger = make_store(name), Ledger.open(f"sqlite:///{tmp_path / name}.db")
        study = story.begin(ledger, "x")
        if often:
            publish_once(ledger, study.id, uri)
            assert {run.info.status for run in View(uri, study).trials.values()} == {"RUNNING"}
            assert View(uri, study).parent.info.status == "RUNNING"
        story.finish(ledger, study.id)
        publish_once(ledger, study.id, uri)
        view = View(uri, study)
        shown.append(
            {
                name: (run.data.params, run.info.status, *(str(view.history(run, key)) for key in sorted(LOSSES)))
                for name, run in view.trials.items()
            }
        )
        ledger.close()
    assert shown[0] == shown[1]


LOSSES = {"train_loss", "val_loss"}


def test_a_stopped_study_is_killed_and_a_continued_one_runs_again(
    store: str, ledger: Ledger, study: StudyRecord, story: Story
) -> None:
    """The parent's status follows the study, and the tag of the best trial moves to a better one."""
    publish_once(ledger, study.id, store)
    ledger.set_state(study.id, "stopped")
    publish_once(ledger, study.id, store)
    assert View(store, study).parent.info.status == "KILLED"
    ledger.set_state(study.id, "running")
    ledger.record_cohorts(study.id, [(CohortRecord(1, 3), [story.trial(4)])])
    ledger.record_segments(study.id, [story.segment(story.curve(4, 0, [0.1]))])
    publish_once(ledger, study.id, store)
    assert View(store, study).parent.info.status == "RUNNING"
    ledger.record_ends(study.id, [TrialEnd(4, TrialState.COMPLETE, 0.1, 1, 1, "")])
    story.conclude(ledger, study.id, 4, 0.1)
    publish_once(ledger, study.id, store)
    view = View(store, study)
    assert (view.parent.info.status, view.parent.data.tags["best.trial"]) == ("FINISHED", "4")
    assert view.parent.data.metrics["best.value"] == 0.1
    assert [name for name, run in sorted(view.trials.items()) if run.data.tags.get("best") == "true"] == ["trial-0004"]


@pytest.mark.parametrize(
    ("state", "status"),
    [(TrialState.FAILED, "FAILED"), (TrialState.INFEASIBLE, "FAILED"), (TrialState.PRUNED, "FINISHED")],
)
def test_a_trial_that_ended_without_an_epoch_is_shown_with_its_reason(
    store: str, ledger: Ledger, study: StudyRecord, state: TrialState, status: str
) -> None:
    """A trial that never began has no objective, but a run that says why."""
    ledger.record_ends(study.id, [TrialEnd(3, state, None, None, 0, "out of memory")])
    publish_once(ledger, study.id, store)
    run = View(store, study).trials["trial-0003"]
    assert (run.info.status, run.data.tags["tuner.state"], run.data.tags["tuner.reason"]) == (
        (status, state, "out of memory")
    )
    assert "objective" not in run.data.metrics


def test_more_epochs_than_a_batch_may_hold_are_all_there(
    store: str, ledger: Ledger, study: StudyRecord, story: Story
) -> None:
    """A trial of 1,500 epochs has 3,000 values; a batch takes 1,000."""
    losses = [1 / epoch for epoch in range(1, 1501)]
    ledger.record_segments(study.id, [story.segment(story.curve(3, 0, losses))])
    publish_once(ledger, study.id, store)
    view = View(store, study)
    history = view.history(view.trials["trial-0003"], "val_loss")
    assert [value for _, __, value in history] == losses


def test_two_studies_of_one_name_share_the_experiment_and_keep_their_runs_apart(
    store: str, tmp_path: Path, story: Story
) -> None:
    """Ledgers that publish to the same MLflow do not take each other's runs."""
    for folder in ("a", "b"):
        ledger = Ledger.open(f"sqlite:///{tmp_path / folder}.db")
        study = story.begin(ledger, "same")
        publish_once(ledger, study.id, store)
        ledger.close()
    view = View(store, study)
    assert len(view.parents) == 2
    assert view.count == 2 * 4


def test_a_ledger_begun_anew_leaves_one_best_trial(uri: str, tmp_path: Path, story: Story) -> None:
    """Who looks for `tags.best = 'true'` finds the study that is there, not the one whose ledger was deleted; another
    person's study of that name, in another ledger, keeps its own."""
    name, runs = f"anew-{tmp_path.name[-40:]}", []
    for folder in ("ours", "theirs", "ours"):
        (tmp_path / f"{folder}.db").unlink(missing_ok=True)
        ledger = Ledger.open(f"sqlite:///{tmp_path / folder}.db")
        study = story.begin(ledger, name)
        story.finish(ledger, study.id)
        with owning(ledger, study.id, "run"):
            known = ledger.summary(study.id)
            assert known is not None
            scored = Scores(trial=0, runs=(0,), losses=(1.25,))
            ledger.record_summary(study.id, known.model_copy(update={"scored": scored}))
        publish_once(ledger, study.id, uri)
        runs.append(ledger.outbox.run_ids(study.id, [None, 0]))
        ledger.close()
    client, experiment = MlflowClient(uri), View(uri, study).experiment_id
    for tag in ("best", "`tuner.winner`"):
        found = client.search_runs([experiment], f"tags.{tag} = 'true'")
        assert {run.info.run_id for run in found} == {runs[1][0], runs[2][0]}, tag
    assert client.get_run(runs[0][None]).data.tags["tuner.superseded_by"] == study.key


def test_another_mlflow_gets_the_whole_study(
    make_store: Callable[[str], str], ledger: Ledger, study: StudyRecord
) -> None:
    """Who changes MLFLOW_TRACKING_URI misses nothing that was published elsewhere before."""
    for name in ("first", "second"):
        uri = make_store(name)
        assert publish_once(ledger, study.id, uri).waiting == 0
        assert View(uri, study).count == 4


def test_runs_that_mlflow_forgot_are_published_anew(uri: str, ledger: Ledger, study: StudyRecord) -> None:
    """What the ledger remembers of MLflow is not believed: the study is found by its key, or made again."""
    publish_once(ledger, study.id, uri)
    before = View(uri, study).everything()
    with owning(ledger, study.id, "publish"):
        ledger.outbox.set_run_id(study.id, None, "0" * 32)
    ledger.set_state(study.id, "stopped")
    ledger.set_state(study.id, "finished")
    changed = round(ledger.study_by_id(study.id).changed_at * 1000)
    publish_once(ledger, study.id, uri)
    after = View(uri, study).everything()
    parent = View(uri, study).parent.info
    assert parent.end_time == changed
    del before[parent.run_id], after[parent.run_id]
    assert after == before


def test_a_row_that_mlflow_never_takes_is_set_aside_and_the_rest_goes_on(
    uri: str, ledger: Ledger, study: StudyRecord
) -> None:
    """A run in which someone logged another learning rate cannot be published; its neighbours can."""
    client = MlflowClient(uri)
    experiment = client.create_experiment(study.name)
    run = client.create_run(experiment, tags={"tuner.key": f"{study.key}/1"}, run_name="trial-0001")
    client.log_param(run.info.run_id, "learning_rate", "somebody's own")
    result = publish_once(ledger, study.id, uri)
    rows = ledger.outbox.aside(study.id)
    assert [(row.kind, row.trial) for row in rows] == [("trial", 1), ("curve", 1), ("end", 1)]
    assert all("learning_rate" in (row.reason or "") for row in rows)
    assert (result.waiting, result.aside) == (0, 3)
    view = View(uri, study)
    assert view.trials["trial-0000"].info.status == "FINISHED"
    assert view.trials["trial-0002"].info.status == "FAILED"


def test_an_experiment_in_the_bin_is_named_and_nothing_is_lost(uri: str, ledger: Ledger, study: StudyRecord) -> None:
    """A deleted experiment is not brought back unasked: the rows wait until the user restores it."""
    client = MlflowClient(uri)
    experiment = client.create_experiment(study.name)
    client.delete_experiment(experiment)
    waiting = ledger.outbox.waiting_count()
    with pytest.raises(TrackingError, match=f"must be active, but it is deleted.*restore -x {experiment}"):
        publish_once(ledger, study.id, uri)
    assert (ledger.outbox.waiting_count(), ledger.outbox.aside(study.id)) == (waiting, [])
    client.restore_experiment(experiment)
    assert publish_once(ledger, study.id, uri).waiting == 0
    client.delete_experiment(experiment)
    ledger.set_state(study.id, "stopped")
    with pytest.raises(TrackingError, match="must be active"):
        publish_once(ledger, study.id, uri)


def test_publishing_stops_between_two_trials(store: str, ledger: Ledger, study: StudyRecord) -> None:
    """Who closes the publisher does not wait for all trials, and what is published is marked."""
    asked = []

    def stop() -> bool:
        asked.append(ledger.outbox.waiting_count(study.id))
        return len(asked) > 2

    result = publish_once(ledger, study.id, store, stop)
    assert 0 < result.waiting < asked[0]
    assert publish_once(ledger, study.id, store).waiting == 0
    assert View(store, study).count == 4
