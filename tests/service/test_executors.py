"""Claims about where a study of the service trains: what the operator offers, what is chosen, what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import page_samples as samples
import pytest
from disturbed import table
from pages import Page
from ray_nodes import nodes
from serving import Service, said, space
from studies import fresh_folder, tiny, working_in
from supervised import hand_in, opened, rest, supervisor_process, until

import tuner
from tuner.cli.supervise import Executor, cluster_of
from tuner.errors import InputError
from tuner.execution.choice import Ray
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.ledger.submissions import ExecutorName
from tuner.service.pages.frame import Viewer
from tuner.service.pages.launch import Choices, Draft, launch_page
from tuner.service.pages.study import study_page
from tuner.service.supervisor import SupervisorOptions

BOTH: tuple[ExecutorName, ...] = ("processes", "ray")
ANNA = Viewer("anna", "launch")
OFFERED = {
    "this machine": (SupervisorOptions(workers=2), {"processes": ["--workers", "2"]}),
    "the cluster alone": (SupervisorOptions(cluster=Ray("h:1")), {"ray": ["--executor", "ray", "--address=h:1"]}),
    "both, this machine first": (
        SupervisorOptions(cluster=Ray("h:1"), default="processes"),
        {"processes": [], "ray": ["--executor", "ray", "--address=h:1"]},
    ),
    "both, the cluster first": (
        SupervisorOptions(workers=0, cluster=Ray("h:1", most=3), default="ray"),
        {"ray": ["--executor", "ray", "--address=h:1", "--most=3"], "processes": ["--workers", "0"]},
    ),
}


@pytest.mark.parametrize("case", OFFERED)
def test_what_is_offered_follows_from_the_operators_options(case: str) -> None:
    """By executor, the default first, each with the words that `tuner run` takes for it."""
    options, words = OFFERED[case]
    assert list(options.where.items()) == list(words.items())


def test_options_that_contradict_each_other_are_refused() -> None:
    """A default needs a cluster beside this machine; with one, this machine's workers may be said as well."""
    with pytest.raises(InputError, match="--default-executor: chooses between this machine and a cluster"):
        cluster_of(None, None, None, None, None, Executor.RAY)
    with pytest.raises(InputError, match=r"--workers: .* or offer both by --default-executor"):
        cluster_of(2, "auto", None, None, None, None)
    with pytest.raises(InputError, match="--cluster-checkpoints: say how a cluster is used"):
        cluster_of(None, None, None, None, "/s", None)
    assert cluster_of(2, "auto", None, None, "/s", Executor.RAY) == Ray("auto", checkpoints="/s")


@pytest.fixture
def offering(service: Service) -> Iterator[Service]:
    """A service whose supervisor offers both."""
    owner = Owner.this_process()
    owner.hold()
    assert service.ledger.supervision.take(owner, BOTH)
    yield service
    owner.let_go()


def test_a_choice_is_kept_and_no_part_of_the_declaration(offering: Service) -> None:
    """Handed in again it is the same study, whose next run trains where the last choice said; stop, continue and a
    copy keep it, and the declaration does not hold it."""
    assert offering.submit(params={"executor": "ray"}).json()["executor"] == "ray"
    again = offering.submit()
    assert (again.status_code, again.json()["executor"]) == (200, "ray")
    for action in ("stop", "continue"):
        assert offering.ask("POST", f"studies/tiny/{action}").json()["executor"] == "ray"
    copy = offering.ask("POST", "studies/tiny/clone", json={"name": "copy"})
    assert (copy.status_code, copy.json()["executor"]) == (201, "ray")
    assert offering.ask("GET", "studies/tiny/space.yaml").text == space()
    assert offering.submit(params={"executor": "processes"}).json()["executor"] == "processes"
    assert offering.submit(space(name="other")).json()["executor"] is None


def test_what_is_not_offered_is_refused(service: Service) -> None:
    """In a sentence, 422: before a supervisor was ever there, where it offers something else, and what is none."""
    assert "nothing can be chosen before a supervisor has run" in said(service.submit(params={"executor": "ray"}))
    owner = Owner.this_process()
    owner.hold()
    service.ledger.supervision.take(owner, ("processes",))
    refused = service.submit(params={"executor": "ray"})
    assert (refused.status_code, said(refused)) == (
        422,
        "executor: must be processes, where this service trains, got ray.",
    )
    assert service.submit(params={"executor": "inline"}).status_code == 422
    assert service.ledger.submissions.all() == []
    assert service.submit(params={"executor": "processes"}).status_code == 201
    owner.let_go()


def test_a_copy_of_a_study_whose_place_is_gone_trains_where_the_operator_lets_it(offering: Service) -> None:
    """The operator has the last word: a choice that is offered no more is none."""
    offering.submit(params={"executor": "ray"})
    owner = Owner.this_process()
    with offering.ledger._database.writing() as connection:
        connection.exec_driver_sql("UPDATE tuner_supervisor SET owner = NULL")
    owner.hold()
    assert offering.ledger.supervision.take(owner, ("processes",))
    assert offering.ask("POST", "studies/tiny/clone", json={"name": "copy"}).json()["executor"] is None
    owner.let_go()


def test_the_launch_page_shows_a_choice_where_there_is_one() -> None:
    """The default first; a draft's choice is selected; with one executor nothing is asked."""

    def options(*executors: str, chosen: str = "") -> list[dict[str, str | None]]:
        page = Page(launch_page(Draft("name: a\n", executor=chosen), Choices(executors=executors), ANNA))
        return [each for each in page.of("option") if each["value"] in BOTH]

    assert [each["value"] for each in options("ray", "processes")] == ["ray", "processes"]
    assert [each["value"] for each in options(*BOTH, chosen="ray") if "selected" in each] == ["ray"]
    assert options("ray") == []


def test_a_form_sends_the_choice_and_a_copy_keeps_it(offering: Service) -> None:
    """What a form makes up is refused on the page."""
    sent = offering.ask("POST", "/launch", data={"space": space(), "executor": "ray"})
    assert sent.status_code == 303
    copied = Page(offering.ask("GET", "/launch?copy=tiny").text).of("option")
    assert [each["value"] for each in copied if "selected" in each and each["value"] in BOTH] == ["ray"]
    refused = offering.ask("POST", "/launch", data={"space": space(name="b"), "executor": "<b>moon"})
    assert refused.status_code == 422 and "executor: must be processes or ray" in Page(refused.text).words


@pytest.mark.parametrize(
    ("state", "executor", "words"),
    [
        ("queued", "ray", "; to train on the Ray cluster"),
        ("running", "ray", "; trains on the Ray cluster"),
        ("finished", "processes", "; trained on the service's machine"),
        ("running", None, "handed in by anna "),
    ],
)
def test_a_studys_page_says_where_it_trains(state: str, executor: str | None, words: str) -> None:
    """In the tense of its state; empty where the executor is unknown."""
    assert words in Page(study_page(samples.view(state, executor=executor), ANNA)).words


def test_each_study_trains_where_its_launcher_chose(workspace: Path, mlflow_store: Path) -> None:
    """A supervisor of both, with a real cluster: one study on each, the record says where, and the tables are those of
    one worker."""
    search = {"trials": 6, "epochs": 2, "cohort": 6, "seed": 3}
    with nodes(others=0) as cluster, opened(workspace) as ledger, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        cluster_words = ("--cluster", cluster.address, "--cluster-most", "1", "--default-executor", "processes")
        with supervisor_process(workspace, *cluster_words, "--workers", "1", "--slots", "2"):
            until(ledger.supervision.executors, "the supervisor")
            hand_in(ledger, tiny(name="here", search=search))
            hand_in(ledger, tiny(name="there", search=search), executor="ray")
            for name, place in (("here", "processes"), ("there", "ray")):
                ended = rest(ledger, name)
                assert (ended.outcome, ended.ran_on) == ("finished", place), ended.message
        assert {worker.startswith("node ") for worker in _workers(ledger, "there")} == {True}
        assert {worker.startswith("node ") for worker in _workers(ledger, "here")} == {False}
    with working_in(fresh_folder(workspace / "by-hand", mlflow_store)) as other:
        for name in ("here", "there"):
            tuner.run(tiny(name=name, search=search), workers=1)
            assert table(workspace, name) == table(other, name)


def _workers(ledger: Ledger, name: str) -> set[str]:
    study = ledger.study(name)
    assert study is not None
    return {segment.worker for segment in ledger.segments(study.id)}
