"""Claims about the routes: what is handed in, watched, changed and taken away."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from serving import Service, said, serving, space
from studies import IRIS, tiny_of_sklearn

import tuner
from tuner.ledger.owners import Owner
from tuner.ledger.records import StudyTally
from tuner.orchestration.progress import Progress
from tuner.service.items import standing
from tuner.service.options import Limits
from tuner.spec.reader import read_spec_text


@pytest.fixture(scope="module")
def done(service_of: Callable[..., Service], finished: Path) -> Service:
    """A service with a finished study; its tests change nothing."""
    return service_of(copy_of=finished)


def test_the_same_declaration_is_the_same_study_and_another_one_is_refused_by_its_key(service: Service) -> None:
    """However it is written; the answer to another one names what differs."""
    first, again = service.submit(), service.submit("# the same\n" + space())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.headers["location"] == "/api/v1/studies/tiny"
    other = service.submit(space(search={"trials": 20}))
    assert other.status_code == 409
    assert "search.trials was 13 and is now 20" in said(other)
    assert [study["name"] for study in service.ask("GET", "studies").json()["studies"]] == ["tiny"]


def test_an_idempotency_key_is_of_one_declaration(service: Service) -> None:
    """Sent again it gives the same study; with another declaration it is refused."""
    key = {"Idempotency-Key": "once"}
    assert service.submit(headers=key).status_code == 201
    assert service.submit(headers=key).status_code == 200
    assert service.submit(space(name="other"), headers=key).status_code == 409


def test_json_is_read_as_yaml_is(service: Service) -> None:
    """Of the same mapping, with tabs and characters written as two halves; what is no JSON is named by its line."""
    given = service.ask("POST", "studies", json=tiny_of_sklearn())
    assert given.status_code == 201
    assert read_spec_text(service.ask("GET", "studies/tiny/space.yaml").text, "x") == read_spec_text(space(), "x")
    odd = '{"name":\t"odd", "data": {"source": "sklearn:iris", "label": "\\ud83d\\ude00"}}'
    as_json = {"Content-Type": "application/json"}
    mistakes = service.ask("POST", "check", content=odd, headers=as_json).json()["errors"]
    assert not [mistake for mistake in mistakes if mistake["key"] in {"name", "data.label", ""}]
    broken = service.ask("POST", "check", content='{"name": "a",\n oops}', headers=as_json)
    assert broken.status_code == 422
    assert broken.json()["errors"][0]["line"] == 2


def test_a_check_says_what_a_study_would_cost(service: Service) -> None:
    """Rows, features and the largest model are the data's; a check without data reads none; nothing is launched."""
    found = service.ask("POST", "check", content=space()).json()
    assert (found["name"], found["trials"], found["rows"], found["features"]) == ("tiny", 13, 105, 4)
    assert found["largest_parameters"] > 0
    assert 5 < found["seconds"] < 60
    assert "9 epochs" in found["epochs"]
    assert service.ask("POST", "check?data=false", content=space()).json()["rows"] is None
    assert service.ask("GET", "studies").json()["total"] == 0


def test_data_is_named_and_never_a_path_or_an_address(service: Service) -> None:
    """Whatever a client names as a source but a registered name is refused at its line, and not opened."""
    for source in (str(IRIS), "../x.csv", "http://127.0.0.1:9/x.csv", "dataset:../x", "dataset:", "file:///etc/passwd"):
        answer = service.submit(space(data={"source": source}))
        assert answer.status_code == 422
        (mistake,) = answer.json()["errors"]
        assert mistake["key"] == "data.source"
        assert mistake["line"] == 3


def test_where_trials_train_is_not_a_clients_to_say(service: Service) -> None:
    """An address would be opened by the driver, with what the operator's environment has."""
    answer = service.submit(space(execution={"executor": "ray", "address": "10.0.0.1:6379"}))
    assert answer.status_code == 422
    (mistake,) = answer.json()["errors"]
    assert mistake["key"] == "execution"
    assert "the operator says" in mistake["message"]


def test_limits_of_a_token_are_kept(tmp_path: Path) -> None:
    """Studies that wait or run, trials of one, and its time, also where a study is to go on."""
    with serving(tmp_path, limits=Limits(studies=1, trials=20, minutes=1)) as service:
        short = {"trials": 13, "timeout": 30}
        assert service.submit(space(search=short)).status_code == 201
        assert "at most 1 studies of one token" in said(service.submit(space(name="b", search=short)))
        assert "search.trials" in said(service.submit(space(name="b", search={**short, "trials": 21})))
        assert "search.timeout" in said(service.submit(space(name="b")))
        more = service.ask("POST", "studies/tiny/continue", json={"trials": 30})
        assert "at most 20" in said(more)
        assert service.ask("POST", "studies/tiny/stop").status_code == 202
        assert service.submit(space(name="b", search=short)).status_code == 201


def test_a_waiting_study_is_changed_in_every_way(service: Service) -> None:
    """Stopped, continued to more, renamed, cloned, archived, brought back, and deleted once it is archived."""
    service.submit()
    assert service.ask("POST", "studies/tiny/stop").json()["wanted"] == "stop"
    more = service.ask("POST", "studies/tiny/continue", json={"trials": 30}).json()
    assert (more["state"], more["total"]) == ("queued", 30)
    assert service.ask("POST", "studies/tiny/continue", json={"trials": 3}).status_code == 409
    renamed = service.ask("POST", "studies/tiny/rename", json={"name": "large"})
    assert renamed.json()["name"] == "large"
    assert service.ask("GET", "studies/tiny").status_code == 404
    assert yaml.safe_load(service.ask("GET", "studies/large/space.yaml").text)["name"] == "large"
    clone = service.ask("POST", "studies/large/clone", json={"name": "small", "changes": ["search.trials=5"]})
    assert clone.status_code == 201
    assert yaml.safe_load(service.ask("GET", "studies/small/space.yaml").text)["search"]["trials"] == 5
    assert "archived before" in said(service.ask("DELETE", "studies/small"))
    assert service.ask("POST", "studies/small/archive").json()["state"] == "archived"
    assert service.ask("GET", "studies").json()["total"] == 1
    assert service.ask("POST", "studies/small/unarchive").json()["state"] == "stopped"
    done = service.ask("POST", "bulk", json={"action": "archive", "names": ["small", "large", "none"]}).json()
    assert (done["done"], [each["name"] for each in done["refused"]]) == (["small", "large"], ["none"])
    assert service.ask("DELETE", "studies/small").status_code == 204
    assert [item["name"] for item in service.ask("GET", "studies?state=archived").json()["studies"]] == ["large"]
    actions = [line["action"] for line in service.ask("GET", "audit?subject=small", "admin").json()["lines"]]
    assert actions[::-1] == ["submit", "archived", "stop", "archived", "delete"]


def test_a_list_is_filtered_sorted_and_paged(service: Service) -> None:
    """By words, state and any key, the total counting what fits."""
    for name in ("b-one", "a-two", "c-three"):
        service.submit(space(name=name))
    service.ask("POST", "studies/a-two/stop")

    def names(query: str) -> list[str]:
        return [item["name"] for item in service.ask("GET", f"studies?{query}").json()["studies"]]

    assert names("sort=name") == ["a-two", "b-one", "c-three"]
    assert names("sort=-name&limit=1&offset=1") == ["b-one"]
    assert names("q=THREE") == ["c-three"]
    assert names("state=stopped") == ["a-two"]
    assert service.ask("GET", "studies?sort=name&limit=1").json()["total"] == 3
    assert service.ask("GET", "studies?sort=size").status_code == 422


def test_the_table_of_trials_is_the_command_lines(done: Service, finished: Path) -> None:
    """As CSV byte for byte, as Parquet value for value, as JSON page by page."""
    study = tuner.Study.open("tiny", workspace=tuner.workspace(finished))
    assert done.ask("GET", "studies/tiny/trials?format=csv").text == study.csv()
    assert done.ask("GET", "studies/tiny/trials", headers={"Accept": "text/csv"}).text == study.csv()
    table = done.ask("GET", "studies/tiny/trials?format=parquet").content
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(table)), study.trials)
    page = done.ask("GET", "studies/tiny/trials?sort=value&limit=2").json()
    assert page["total"] == 9
    assert [trial["value"] for trial in page["trials"]] == sorted(study.trials["value"].dropna())[:2]
    only = done.ask("GET", "studies/tiny/trials?state=complete").json()
    assert only["total"] == study.counts["complete"]


def test_curves_are_those_of_the_record(done: Service, finished: Path) -> None:
    """Of the trials that are asked for, or of the best; what is no number is refused."""
    found = done.ask("GET", "studies/tiny/curves?trials=0,3").json()["curves"]
    assert [curve["number"] for curve in found] == [0, 3]
    trials = {trial["number"]: trial for trial in done.ask("GET", "studies/tiny/trials").json()["trials"]}
    for curve in found:
        assert curve["epochs"] == list(range(1, trials[curve["number"]]["epochs"] + 1))
        losses = [*curve["validation"], *([] if curve["before"] is None else [curve["before"]])]
        assert min(losses) == trials[curve["number"]]["value"]
    assert len(done.ask("GET", "studies/tiny/curves").json()["curves"]) == 9
    assert done.ask("GET", "studies/tiny/curves?trials=-1").status_code == 422


def test_a_study_s_answer_is_the_librarys(done: Service, finished: Path) -> None:
    """The detail holds what `tuner show --json` prints, and the declaration of a study launched by hand."""
    study = tuner.Study.open("tiny", workspace=tuner.workspace(finished))
    detail = done.ask("GET", "studies/tiny").json()
    answer = {key: value for key, value in detail["answer"].items() if key != "mlflow"}
    assert answer == {key: value for key, value in study.summary.as_dict().items() if key != "mlflow"}
    assert read_spec_text(detail["spec_text"], "x") == study.spec
    assert detail["item"]["state"] == "finished"


def test_what_is_taken_away_can_be_used(done: Service, tmp_path: Path) -> None:
    """The export is loaded, its configuration is read, and both name the same model; the report is sandboxed."""
    answer = done.ask("GET", "studies/tiny/export.zip")
    assert answer.headers["repr-digest"].startswith("sha-256=:")
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path)
    model = tuner.load_model(tmp_path / "tiny")
    configuration = done.ask("GET", "studies/tiny/config.yaml")
    assert configuration.text == (tmp_path / "tiny" / "config.yaml").read_text()
    assert read_spec_text(configuration.text, "x").search.trials == 1
    rows = [[5.1, 3.5, 1.4, 0.2], [60, 30, 14, 2]]
    scored = done.ask("POST", "studies/tiny/score", json=rows).json()
    assert scored["scores"] == pytest.approx(model.score(rows).tolist(), rel=1e-5)
    assert pd.DataFrame(scored["codes"]).to_numpy() == pytest.approx(model.encode(rows), rel=1e-5)
    assert "DataError" not in said(done.ask("POST", "studies/tiny/score", json=[["a"]]))
    report = done.ask("GET", "studies/tiny/report")
    assert "sandbox" in report.headers["content-security-policy"]
    assert "allow-same-origin" not in report.headers["content-security-policy"]
    assert report.text.startswith("<!doctype html>")


def test_notes_and_tags_are_kept_and_found(service_of: Callable[..., Service], finished: Path) -> None:
    """As they are written, markup and all."""
    service = service_of(copy_of=finished)
    given = {"text": "<script>alert(1)</script>", "tags": ["tall", "tall", "<b>"]}
    kept = service.ask("PUT", "studies/tiny/note", json=given).json()
    assert (kept["note"], kept["tags"]) == (given["text"], ["tall", "<b>"])
    assert service.ask("GET", "studies?q=ALERT").json()["total"] == 1


def test_a_recorded_study_is_renamed_and_deleted_with_its_files(tmp_path: Path, finished: Path) -> None:
    """Only once it is archived; what it kept on the disk goes with it."""
    with serving(tmp_path, copy_of=finished) as service:
        assert service.ask("POST", "studies/tiny/rename", json={"name": "other"}).status_code == 200
        assert service.ask("DELETE", "studies/other").status_code == 409
        assert service.ask("POST", "studies/other/archive").json()["state"] == "archived"
        key = service.ledger.study("other").key  # type: ignore[union-attr]
        assert list((tmp_path / ".tuner").rglob(f"{key}*"))
        assert service.ask("DELETE", "studies/other").status_code == 204
        assert not [path for path in (tmp_path / ".tuner").rglob(f"{key}*") if path.is_file()]
        assert service.ask("GET", "studies/other").status_code == 404


def test_tokens_are_made_shown_once_and_revoked(service: Service) -> None:
    """A revoked token opens nothing from the next request on, nor do the sessions made with it."""
    made = service.ask("POST", "tokens", "admin", json={"name": "x", "role": "read", "days": 1}).json()
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    assert service.ask("GET", "me", None, headers=bearer).json()["name"] == "x"
    assert made["secret"] not in service.ask("GET", "tokens", "admin").text
    login = service.ask("POST", "/login", None, json={"token": made["secret"]})
    assert login.status_code == 204
    assert service.ask("DELETE", f"tokens/{made['token']['id']}", "admin").status_code == 204
    assert service.ask("GET", "me", None, headers=bearer).status_code == 401
    assert service.ask("GET", "me", None).status_code == 401
    assert service.ask("DELETE", "tokens/12345", "admin").status_code == 404


def test_a_running_study_says_how_many_train_it(service_of: Callable[..., Service], finished: Path) -> None:
    """What its run reported of slots and nodes; null once there is no run."""
    service = service_of(copy_of=finished)
    record = service.ledger.study("tiny")
    assert record is not None
    with service.ledger.lease_to_run(record.id):
        now = Progress("tiny", 13, {}, None, 2.0, None, 0, "training", slots=5, nodes=2)
        service.ledger.control.report(record.id, now.body())
        found = service.ask("GET", "studies/tiny/progress").json()
        assert (found["slots"], found["nodes"]) == (5, 2)
    service.submit(space(name="waits"))
    rested = service.ask("GET", "studies/waits/progress").json()
    assert (rested["slots"], rested["nodes"]) == (None, None)


def test_mlflow_is_linked_where_browsers_reach_it(service_of: Callable[..., Service], finished: Path) -> None:
    """At the address that the operator names, whatever the drivers call it."""
    service = service_of(copy_of=finished, mlflow_url="https://mlflow.example/sub")
    url = service.ask("GET", "studies/tiny").json()["answer"]["mlflow"]["url"]
    assert url.startswith("https://mlflow.example/sub/#/experiments/")


def test_a_driver_that_is_ending_is_no_study_that_starts(service: Service) -> None:
    """Its run has let the lease go and changed the study's state since it was started; before that it is starting."""
    service.submit()
    ledger = service.ledger
    each = ledger.submissions.get("tiny")
    assert each is not None
    ours = Owner.this_process()
    ours.hold()
    tally = StudyTally("tiny", "finished", {}, None, 13, 0.0, None, False, changed_at=100.0)
    for started_at, state in ((99.0, "running"), (101.0, "starting")):
        assert standing(replace(each, driver=ours, started_at=started_at), tally) == state
    ours.let_go()
