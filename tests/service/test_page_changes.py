"""The forms that change studies: name, note and tags of one, and the same action for many; plain posts, no script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import page_samples as samples
import pytest
from pages import Page
from serving import Service, serving, space

from tuner.service.pages.frame import Viewer
from tuner.service.pages.listing import BULK, OF_ARCHIVE, listing_page
from tuner.service.rest.changes import ACTIONS

ORIGIN = {"Origin": "http://127.0.0.1:8770"}


@pytest.fixture
def known(tmp_path: Path, finished: Path) -> Iterator[Service]:
    """A service with one finished study, `tiny`."""
    with serving(tmp_path / "here", copy_of=finished) as made:
        yield made


def about(service: Service, study: str, /, **given: str) -> tuple[int, str, Page]:
    """What comes of the form: its status, where it leads, and the page."""
    answer = service.ask("POST", f"/studies/{study}/about", data=given, headers=ORIGIN)
    return answer.status_code, answer.headers.get("location", ""), Page(answer.text)


def names_shown(service: Service, url: str = "/") -> list[str | None]:
    """Those that can be chosen on a list."""
    page = Page(service.ask("GET", url, headers={"Accept": "text/html"}).text)
    return [each["value"] for each in page.of("input") if each["type"] == "checkbox"]


def test_a_study_gets_a_name_a_note_and_tags_from_its_page(known: Service) -> None:
    """All three at once, and the form shows them then; what is left as it was is not written again."""
    status, where, _ = about(known, "tiny", name="pumps-2", note="good\r\nenough", tags="best, of 3,, best")
    assert (status, where) == (303, "/studies/pumps-2")
    item = known.ask("GET", "studies/pumps-2/progress").json()
    assert (item["note"], item["tags"]) == ("good\nenough", ["best", "of 3"])
    page = Page(known.ask("GET", "/studies/pumps-2").text)
    assert {each["value"] for each in page.of("input") if (each.get("id") or "").startswith("about-")} == {
        "pumps-2",
        "best, of 3",
    }
    written = len(known.ledger.audit.newest())
    assert about(known, "pumps-2", name="pumps-2", note="good\r\nenough", tags="best, of 3")[0] == 303
    assert len(known.ledger.audit.newest()) == written


def test_a_tag_with_a_comma_is_not_torn_by_another_note(known: Service) -> None:
    """It came over REST; whoever changes the note alone keeps it."""
    known.ask("PUT", "studies/tiny/note", json={"text": "", "tags": ["a, b"]})
    assert about(known, "tiny", name="tiny", note="new", tags="a, b")[0] == 303
    item = known.ask("GET", "studies/tiny/progress").json()
    assert (item["note"], item["tags"]) == ("new", ["a, b"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "", "note": "x", "tags": ""}, "name"),
        ({"name": "other", "note": "x", "tags": ""}, "study other: one of that name was handed in"),
        ({"name": "a", "note": "x" * 10_001, "tags": ""}, "note: must have at most 10,000 characters, got 10,001."),
        ({"name": "a", "note": "", "tags": "x" * 61}, "tags: must be at most 30 of at most 60 characters each, got 1"),
        ({"name": "a", "note": "", "tags": ",".join(map(str, range(31)))}, "got 31"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(known: Service, given: dict[str, str], said: str) -> None:
    """422, the form open with what was written; neither name nor note is another then."""
    known.submit(space(name="other"))
    status, _, page = about(known, "tiny", **given)
    assert (status, said in page.words) == (422, True), page.words
    assert "open" in next(each for each in page.of("details") if each.get("id") == "about")
    assert {given["name"], given["tags"]} <= {each.get("value") for each in page.of("input")}
    item = known.ask("GET", "studies/tiny/progress").json()
    assert (item["note"], item["tags"]) == ("", [])


def test_a_study_that_waits_can_be_renamed_and_has_no_note_yet(known: Service) -> None:
    """The note is refused in a sentence before the name is changed."""
    known.submit(space(name="waits"))
    status, _, page = about(known, "waits", name="later", note="soon", tags="")
    assert (status, "study waits: must have begun" in page.words) == (422, True)
    assert about(known, "waits", name="later", note="", tags="")[:2] == (303, "/studies/later")


def test_many_are_stopped_archived_brought_back_and_deleted(known: Service) -> None:
    """Each action leads back to the list where its buttons are; deleting asks once more, and then they are gone."""
    for name in ("a", "b", "c"):
        known.submit(space(name=name))

    def all_of(action: str, *names: str, **more: str) -> tuple[int, str]:
        answer = known.ask("POST", "/bulk", data={"action": action, "name": list(names), **more}, headers=ORIGIN)
        return answer.status_code, answer.headers.get("location", "")

    assert all_of("stop", "a", "b") == (303, "/")
    assert [known.ask("GET", f"studies/{name}/progress").json()["state"] for name in "abc"] == [
        "stopped",
        "stopped",
        "queued",
    ]
    assert all_of("archive", "a", "b") == (303, "/")
    assert all_of("unarchive", "a") == (303, "/?archived=1")
    assert (sorted(map(str, names_shown(known))), names_shown(known, "/?archived=1")) == (["a", "c", "tiny"], ["b"])
    assert all_of("archive", "a") == (303, "/")
    asked = known.ask("POST", "/bulk", data={"action": "delete", "name": ["a", "b"]}, headers=ORIGIN)
    page = Page(asked.text)
    assert (asked.status_code, "Delete 2 studies?" in page.words) == (200, True)
    assert [each["value"] for each in page.of("input") if each["name"] == "name"] == ["a", "b"]
    assert names_shown(known, "/?archived=1") == ["b", "a"]
    assert all_of("delete", "a", "b", sure="yes") == (303, "/?archived=1")
    assert names_shown(known, "/?archived=1") == []


def test_an_archived_study_is_deleted_from_its_page(known: Service) -> None:
    """By the same question; the only way there is through the archive."""
    for state, is_offered in (("finished", False), ("archived", True)):
        page = Page(known.ask("GET", "/studies/tiny").text)
        assert state in page.words
        assert ("/bulk" in {each["action"] for each in page.of("form")}) is is_offered
        known.ask("POST", "studies/tiny/archive")
    asked = known.ask("POST", "/bulk", data={"action": "delete", "name": "tiny"}, headers=ORIGIN)
    assert "Delete this study?" in Page(asked.text).words
    known.ask("POST", "/bulk", data={"action": "delete", "name": "tiny", "sure": "yes"}, headers=ORIGIN)
    assert known.ask("GET", "/studies/tiny").status_code == 404


def test_one_that_refuses_holds_up_no_other(known: Service) -> None:
    """422 and its sentence on the list; the others are done. Without a choice, or with an action that is none, too."""
    known.submit(space(name="a"))
    known.ask("POST", "studies/a/stop")
    known.ask("POST", "studies/a/archive")
    answer = known.ask("POST", "/bulk", data={"action": "delete", "name": ["tiny", "a"], "sure": "yes"}, headers=ORIGIN)
    assert answer.status_code == 422
    assert "study tiny: must be archived before it is deleted, but it is finished." in Page(answer.text).words
    assert known.ask("GET", "studies/a").status_code == 404
    for given, said in (({"action": "stop"}, "Choose at least one study"), ({"name": "tiny"}, "There is no action")):
        refused = known.ask("POST", "/bulk", data=given, headers=ORIGIN)
        assert (refused.status_code, said in Page(refused.text).words) == (422, True)


@pytest.mark.parametrize("url", ["/bulk", "/studies/tiny/about"])
def test_these_forms_have_the_gates_rules(known: Service, url: str) -> None:
    """Role `launch`, and no other site's form."""
    given = {"action": "archive", "name": "tiny", "note": "x", "tags": ""}
    assert known.ask("POST", url, "read", data=given, headers=ORIGIN).status_code == 403
    for headers in ({"Origin": "http://evil.example"}, {**ORIGIN, "Sec-Fetch-Site": "cross-site"}):
        assert known.ask("POST", url, data=given, headers=headers).status_code == 403
    item = known.ask("GET", "studies/tiny/progress").json()
    assert (item["state"], item["note"]) == ("finished", "")


def test_the_buttons_of_a_list_are_actions_and_a_reader_has_none() -> None:
    """Every check box says which study it chooses; who may only read has neither boxes nor buttons."""
    items = [samples.study_item(), samples.study_item("other", state="archived")]
    for archived, actions, name in ((False, BULK, "digits"), (True, OF_ARCHIVE, "other")):
        page = Page(listing_page(items, Viewer("anna", "launch"), archived))
        assert [each["value"] for each in page.of("button") if each.get("name") == "action"] == [
            a for a, _, _ in actions
        ]
        assert [(each["id"], each["value"]) for each in page.of("input")] == [(f"choose-{name}", name)]
        assert f"Choose {name}" in page.words
        assert {action for action, _, _ in actions} <= ACTIONS.keys()
        reader = Page(listing_page(items, Viewer("ben", "read"), archived))
        assert reader.of("input") == [] and [each["action"] for each in reader.of("form")] == ["/logout"]
