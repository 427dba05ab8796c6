"""Claims about answers that are made once for all who ask: nobody sees what was before a change of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from page_samples import study_item
from serving import Service, serving, space
from starlette.types import Message, Receive, Scope, Send
from studies import working_in
from supervised import until

from tuner.answers.service import StudyItem
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.service import shared
from tuner.service.shared import Shared
from tuner.service.studies import ServiceStudies


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one study that waits, in a folder of its own."""
    folder = tmp_path_factory.mktemp("shared")
    with working_in(folder), serving(folder) as made:
        made.submit(space(name="first"))
        yield made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who made a list of all studies from the ledger."""
    found: list[str] = []
    real = ServiceStudies.all

    def counted(self: ServiceStudies) -> list[StudyItem]:
        found.append(threading.current_thread().name)
        return real(self)

    monkeypatch.setattr(ServiceStudies, "all", counted)
    return found


def test_many_who_ask_at_once_are_given_one_answer(
    service: Service, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those who ask while it is made: the ledger is read once, and all have the same bytes and headers; each path
    and query has its own."""
    monkeypatch.setattr(shared, "FRESH", 60.0)
    service.ask("GET", "studies/first", "read")  # that the token is used is written down
    with ThreadPoolExecutor(8) as people:
        asked = [people.submit(service.ask, "GET", "studies?limit=7", "read") for _ in range(24)]
        answers = [each.result() for each in asked]
    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert len({str(sorted(each.headers.items())) for each in answers}) == 1
    assert len(looks) == 1
    service.ask("GET", "studies?limit=8")
    assert len(looks) == 2


def test_a_change_is_in_every_answer_after_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long an answer may be kept: one's own submission, note and stop are there at once."""
    monkeypatch.setattr(shared, "FRESH", 60.0)
    for number in range(3):
        before = service.ask("GET", "studies").json()["total"]
        assert service.submit(space(name=f"more-{number}")).status_code == 201
        assert service.ask("GET", "studies").json()["total"] == before + 1
    assert service.ask("GET", "studies/more-0/progress").json()["state"] == "queued"
    assert service.ask("POST", "studies/more-0/stop").status_code == 202
    assert service.ask("GET", "studies/more-0/progress").json()["state"] == "stopped"
    assert service.ask("GET", "studies/more-0").json()["item"]["state"] == "stopped"


def test_what_others_record_is_there_soon(service: Service, looks: list[str]) -> None:
    """Another process's ledger is read again after half a second; an answer is no older."""
    folder: Path = service.app.state.options.workspace.folder
    before = service.ask("GET", "studies").json()["total"]
    other = Ledger.open("sqlite:///tuner.db", folder=folder)
    other.submissions.submit("by-another", space(name="by-another"), "test")
    other.close()
    until(lambda: service.ask("GET", "studies").json()["total"] == before + 1, "the other's study", 10 * shared.FRESH)
    assert looks


def test_refusals_and_missing_studies_are_not_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that there is none of is found once there is one; who may not read is given nothing that others were."""
    monkeypatch.setattr(shared, "FRESH", 60.0)
    assert service.ask("GET", "studies/soon").status_code == 404
    other = Ledger.open("sqlite:///tuner.db", folder=service.app.state.options.workspace.folder)
    other.submissions.submit("soon", space(name="soon"), "test")
    other.close()
    assert service.ask("GET", "studies/soon").status_code == 200
    assert service.ask("GET", "studies/soon", None).status_code == 401
    assert service.ask("GET", "studies/soon", headers={"Host": "elsewhere"}).status_code == 421


def test_a_kept_answer_is_counted_by_its_route(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics name the route as it is declared, whoever made the answer."""
    monkeypatch.setattr(shared, "FRESH", 60.0)
    label = 'method="GET",route="/api/v1/studies/{name}",status="200"'
    service.ask("GET", "studies/first")
    before = _count(service, label)
    for _ in range(3):
        service.ask("GET", "studies/first")
    assert _count(service, label) == before + 3


def test_a_caller_who_does_not_read_holds_up_nobody(service: Service) -> None:
    """The first one's connection takes nothing; the second one is given the same answer."""
    scope: Scope = {"type": "http", "method": "GET", "path": "/api/v1/studies", "query_string": b""}
    taken: list[Message] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"all"})

    async def never(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def take(message: Message) -> None:
        taken.append(message)

    async def both() -> None:
        middleware = Shared(app, service.ledger)
        first = asyncio.create_task(middleware(dict(scope), _nothing, never))
        await asyncio.sleep(0)  # the first one has asked
        await asyncio.wait_for(middleware(dict(scope), _nothing, take), 30)
        first.cancel()

    asyncio.run(both())
    assert [each.get("body") for each in taken] == [None, b"all"]


async def _nothing() -> Message:
    raise AssertionError("no body is read")


def _count(service: Service, label: str) -> float:
    lines = service.ask("GET", "/metrics", "read").text.splitlines()
    return float(next(line for line in lines if label in line).split()[-1])


def test_the_answer_of_a_study_that_runs_is_made_now_and_then(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each trial that ends; at once where its run ends, and where a study that rests is another than before."""
    made: list[int] = []

    class Counted:
        def __init__(self, *_: object) -> None:
            made.append(len(made))
            self.summary = made[-1]

    record = StudyRecord(1, "0" * 32, "digits", "{}", "", "", "running", 0.0, 0.0, {}, 4)
    monkeypatch.setattr("tuner.service.studies.Study", Counted)
    monkeypatch.setattr(ServiceStudies, "_linked", lambda _, answer: answer)
    monkeypatch.setattr("tuner.service.answered.RUNNING_SECONDS", 60.0)
    studies: ServiceStudies = service.app.state.studies

    def answers(state: str, *best: float) -> list[object]:
        return [studies._answer(record, study_item(state=state, best=each)) for each in best]

    assert answers("running", 0.3, 0.2, 0.1) == [0, 0, 0]
    assert answers("finished", 0.1, 0.1, 0.05) == [1, 1, 2]
    monkeypatch.setattr("tuner.service.answered.RUNNING_SECONDS", 0.0)
    assert answers("running", 0.3, 0.3, 0.2) == [3, 3, 4]
