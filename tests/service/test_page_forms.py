"""The pages' forms without any script: plain posts, answered by redirects or by the same page with what was wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pages import Page
from starlette.testclient import TestClient
from studies import tiny_of_sklearn

from tuner.api.workspace import workspace
from tuner.errors import SpecError
from tuner.ledger.tokens import Role
from tuner.service.app import make_app
from tuner.service.options import ServiceOptions
from tuner.service.pages import assets
from tuner.spec.reader import read_spec_text

ADDRESS = "http://127.0.0.1:8770"
TEXT = yaml.safe_dump(tiny_of_sklearn(), sort_keys=False)
HTML = {"Accept": "text/html", "Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The service over an empty ledger, asked as a browser that nobody logged in with yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL", "TUNER_DATA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    app = make_app(ServiceOptions(workspace()))
    with TestClient(app, base_url=ADDRESS, headers=HTML, follow_redirects=False) as found:
        yield found


@pytest.fixture
def admin(client: TestClient) -> TestClient:
    """The same, logged in by a link."""
    return _logged_in(client, "admin")


def _logged_in(client: TestClient, role: Role) -> TestClient:
    secret, _ = client.app.state.studies.ledger.tokens.new("anna", role, 60, "test", "login")  # type: ignore[attr-defined]
    assert client.post("/login", data={"token": secret}).headers["location"] == "/"
    return client


def _page(client: TestClient, url: str, status: int = 200) -> Page:
    answer = client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    return Page(answer.text)


def test_a_link_that_is_only_looked_at_is_not_used_up(client: TestClient) -> None:
    """Previews get the link's page; its button logs in once and then no more."""
    secret, _ = client.app.state.studies.ledger.tokens.new("anna", "admin", 60, "test", "login")  # type: ignore[attr-defined]
    for _ in range(2):
        hidden = [each for each in _page(client, f"/login?once={secret}").of("input") if each["name"] == "token"]
        assert [each["value"] for each in hidden] == [secret]
    assert client.post("/login", data={"token": secret}).headers["location"] == "/"
    client.cookies.clear()
    again = client.post("/login", data={"token": secret})
    assert "failed=1" in again.headers["location"]
    assert "used already" in _page(client, again.headers["location"], 401).words


def test_who_is_not_logged_in_is_sent_to_log_in_and_then_back(client: TestClient) -> None:
    """The form remembers the page that was asked for."""
    answer = client.get("/studies/digits")
    assert answer.status_code == 303
    page = _page(client, answer.headers["location"])
    assert [each["value"] for each in page.of("input") if each["name"] == "next"] == ["/studies/digits"]


def test_a_study_is_launched_stopped_archived_and_taken_out_again(admin: TestClient) -> None:
    """Each form leads to the study's page, which says what is so now, and offers the next step."""
    answer = admin.post("/launch", data={"space": TEXT.replace("\n", "\r\n")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/tiny")
    assert "queued" in _page(admin, "/studies/tiny").words
    for action, state in (("stop", "stopped"), ("continue", "queued"), ("stop", "stopped"), ("archive", "archived")):
        assert admin.post(f"/studies/tiny/{action}").headers["location"] == "/studies/tiny"
        assert state in _page(admin, "/studies/tiny").words, action
    assert "tiny" not in _page(admin, "/").words
    assert "tiny" in _page(admin, "/?archived=1").words
    admin.post("/studies/tiny/restore")
    assert "tiny" in _page(admin, "/").words


BROKEN = ["", "name: [", TEXT.replace("relu", "rellu"), TEXT.replace("low: 4", "low: 400"), "name: a\nname: b\n"]


@pytest.mark.parametrize("text", BROKEN)
def test_mistakes_are_those_of_the_reader_at_its_lines(admin: TestClient, text: str) -> None:
    """On the page that comes back, which keeps what was written, and while somebody types."""
    with pytest.raises(SpecError) as found:
        read_spec_text(text, "space.yaml")
    lines = [str(each.line) for each in found.value.problems if each.line is not None]
    answer = admin.post("/launch", data={"space": text})
    assert answer.status_code == 422
    page = Page(answer.text)
    assert [each["data-line"] for each in page.of("a") if "data-line" in each] == lines
    for problem in found.value.problems:
        assert problem.message in page.words
    assert _written(answer.text) == text
    asked = admin.post("/launch/check", data={"space": text}, headers={"HX-Request": "true"})
    assert "<html" not in asked.text
    assert not text or [each["data-line"] for each in Page(asked.text).of("a")] == lines


def _written(content: str) -> str:
    """What a browser has in the field: without the line break that it drops."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", content, re.DOTALL)
    assert found is not None
    return Page(f"<p>{found[1]}</p>").words.removesuffix(" ") if found[1] else ""


def test_a_copy_has_another_name_and_the_same_rest(admin: TestClient) -> None:
    """So that it can be launched as it is."""
    admin.post("/launch", data={"space": TEXT})
    copied = _written(admin.get("/launch?copy=tiny").text)
    assert yaml.safe_load(copied) == tiny_of_sklearn(name="tiny-copy")
    assert admin.post("/launch", data={"space": copied}).headers["location"] == "/studies/tiny-copy"


def test_another_declaration_under_a_name_that_is_taken_is_refused(admin: TestClient) -> None:
    """In a sentence, with the declaration still there."""
    admin.post("/launch", data={"space": TEXT})
    answer = admin.post("/launch", data={"space": TEXT.replace("seed: 3", "seed: 4")})
    assert answer.status_code == 422
    assert "study tiny: " in Page(answer.text).words and "seed: 4" in answer.text


def test_a_new_token_is_shown_once(admin: TestClient) -> None:
    """It works; it is on no later page; revoked, it works no more."""
    made = admin.post("/tokens", data={"name": "<b>ben</b>", "role": "read", "days": "1"})
    secret = next(each["value"] for each in Page(made.text).of("input") if each["id"] == "secret")
    assert made.status_code == 201 and secret
    later = admin.get("/tokens").text
    assert secret not in later and "<b>" not in later
    caller = {"Authorization": f"Bearer {secret}", "Cookie": ""}
    assert admin.get("/api/v1/studies", headers=caller).status_code == 200
    form = next(each["action"] for each in Page(later).of("form") if (each["action"] or "").endswith("/revoke"))
    assert admin.post(form or "").headers["location"] == "/tokens"
    admin.cookies.clear()
    assert admin.get("/api/v1/studies", headers=caller).status_code == 401


@pytest.mark.parametrize(
    "given", [{"name": "", "role": "read"}, {"name": "a", "role": "root"}, {"name": "a", "days": "x"}]
)
def test_a_token_that_cannot_be_made_is_told_so(admin: TestClient, given: dict[str, str]) -> None:
    """On a page, and nothing is made."""
    answer = admin.post("/tokens", data={"days": "1", **given})
    assert answer.status_code == 422 and 'role="alert"' in answer.text
    assert "No token yet." in _page(admin, "/tokens").words


def test_who_may_only_read_sees_everything_and_changes_nothing(client: TestClient) -> None:
    """Pages without forms, and forms that were made up are refused."""
    _logged_in(client, "admin").post("/launch", data={"space": TEXT})
    client.cookies.clear()
    reader = _logged_in(client, "read")
    for url in ("/", "/studies/tiny", "/datasets"):
        assert {each["action"] for each in _page(reader, url).of("form")} == {"/logout"}
    for url in ("/launch", "/launch/check", "/studies/tiny/stop", "/tokens", "/datasets/x/remove"):
        assert reader.post(url, data={"space": TEXT}).status_code == 403
    assert reader.get("/tokens").status_code == 403


def test_a_form_of_another_site_changes_nothing(admin: TestClient) -> None:
    """Whatever cookie comes with it."""
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert admin.post("/launch", data={"space": TEXT}, headers=headers).status_code == 403
    assert "No study yet" in _page(admin, "/").words


def test_what_is_not_there_is_said_on_a_page(admin: TestClient) -> None:
    """With the status that REST answers."""
    assert "study nothing: there is" in _page(admin, "/studies/nothing", 404).words
    assert admin.post("/studies/nothing/stop").status_code == 404
    admin.post("/launch", data={"space": TEXT})
    answer = admin.post("/studies/tiny/continue", data={"trials": "many"})
    assert answer.status_code == 422 and "must be a whole number, got many" in answer.text


def test_style_and_scripts_are_kept_by_browsers(client: TestClient) -> None:
    """For good under their address, and there is no other one; logging in needs them, so they are open."""
    for each in assets.assets().values():
        answer = client.get(each.url)
        assert (answer.content, answer.headers["cache-control"]) == (
            each.content,
            "public, max-age=31536000, immutable",
        )
        assert answer.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")
    for url in ("/static/0/pages.js", f"/static/{assets.assets()['pages.js'].digest}/..%2fapp.py", "/static/app.py"):
        assert client.get(url).status_code == 404
