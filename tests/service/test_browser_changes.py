"""Names, notes, tags, the same action for many, in Debian's Chromium: by keyboard, on a telephone, while it changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from browsing import CHROMIUM, Running, chromium, logged_in, serving, visit
from playwright.sync_api import Browser, Page, expect
from studies import tiny

from tuner.ledger.ledger import Ledger

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
TELEPHONE = {"width": 360, "height": 740}
expect.set_options(timeout=180_000)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Iterator[Running]:
    """A service with the finished study `tiny`; it has no supervisor, so what is handed in waits."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    with serving(folder, "--no-supervise") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def session(service: Running, browser: Browser) -> Any:
    return logged_in(browser, service)


@pytest.fixture
def page(service: Running, browser: Browser, session: Any) -> Iterator[Page]:
    """A window of a telephone that is logged in; a complaint of the page fails the test."""
    with visit(browser, session, base_url=service.address, viewport=TELEPHONE) as found:
        yield found.page
        assert not found.complaints


def launch(page: Page, origin: str, *names: str) -> None:
    """Hand studies in by REST, as another window does."""
    for name in names:
        text = yaml.safe_dump(tiny(name=name, data={"source": "sklearn:iris"}))
        answer = page.request.post(
            "/api/v1/studies", data=text, headers={"Origin": origin, "Content-Type": "text/yaml"}
        )
        assert answer.status == 201, answer.text()


def test_a_choice_is_kept_while_the_list_changes_and_goes_by_keyboard(page: Page, service: Running) -> None:
    """Two are chosen with the space bar; a third one that comes in meanwhile changes the list and not the choice; their
    archive is one key more, and there they are deleted after a question."""
    launch(page, service.address, "one", "two")
    page.goto("/")
    for name in ("one", "two"):
        page.get_by_label(f"Choose {name}", exact=True).focus()
        page.keyboard.press("Space")
    launch(page, service.address, "three")
    expect(page.get_by_label("Choose three", exact=True)).to_be_visible()
    expect(page.get_by_label("Choose one", exact=True)).to_be_checked()
    expect(page.get_by_label("Choose two", exact=True)).to_be_checked()
    assert page.evaluate("document.documentElement.scrollWidth") == TELEPHONE["width"]
    page.get_by_role("button", name="Archive").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Choose one", exact=True)).to_have_count(0)
    page.goto("/?archived=1")
    for name in ("one", "two"):
        page.get_by_label(f"Choose {name}", exact=True).check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete 2 studies?")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No study is archived.")).to_be_visible()


def test_name_note_and_tags_without_a_script(service: Running, browser: Browser, session: Any) -> None:
    """Opened, written, saved: the page of the new name has them; a name that is taken is said, and what was written
    stays."""
    with visit(browser, session, base_url=service.address, viewport=TELEPHONE, java_script_enabled=False) as found:
        page = found.page
        page.goto("/studies/tiny")
        page.get_by_text("Name, note and tags").click()
        page.get_by_label("Name").fill("pumps")
        page.get_by_label("Note").fill("Good enough.")
        page.get_by_label("Tags").fill("best, 2026")
        page.get_by_role("button", name="Save").click()
        expect(page).to_have_url(re.compile("/studies/pumps$"))
        expect(page.locator(".tag")).to_have_text(["best", "2026"])
        expect(page.locator("#live")).to_contain_text("Good enough.")
        with closing(Ledger.open(f"sqlite:///{service.folder / 'tuner.db'}")) as ledger:
            ledger.submissions.submit("taken", "name: taken", "test")
        page.get_by_text("Name, note and tags").click()
        page.get_by_label("Name").fill("taken")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("study taken: ")
        expect(page.get_by_label("Name")).to_have_value("taken")
        assert not [said for said in found.complaints if "422" not in said]
