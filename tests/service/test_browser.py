"""The whole way in a browser: Debian's Chromium before `tuner serve`, with its supervisor and its drivers."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browsing import CHROMIUM, Running, chromium, logged_in, serving, visit
from playwright.sync_api import Browser, Page, expect
from studies import fresh_folder, tiny_of_sklearn, working_in

import tuner
from tuner.ledger.ledger import Ledger
from tuner.spec.reader import declared

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
MORE = 30
expect.set_options(timeout=180_000)  # a study runs beside whatever else the machine does
DIGITS = {
    "name": "digits",
    "data": {"source": "sklearn:digits"},
    "space": {
        "learning_rate": {"type": "float", "low": 1e-3, "high": 3e-2, "log": True},
        "batch_size": {"type": "categorical", "choices": [16, 32]},
        "width": {"type": "int", "low": 32, "high": 128},
        "depth": {"type": "int", "low": 1, "high": 2},
        "activation": {"type": "categorical", "choices": ["relu", "tanh"]},
        "bottleneck": 8,
    },
    "search": {"trials": 27, "epochs": 450, "cohort": 9, "seed": 0},
    "device": "cpu",
    "final": "none",
}
TEXT = yaml.safe_dump(DIGITS, sort_keys=False)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Running]:
    """One service for all of these tests."""
    with serving(fresh_folder(tmp_path_factory.mktemp("served"), mlflow_store)) as running:
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
    """A window that is logged in; a complaint of the page, whichever, fails the test."""
    with visit(browser, session, base_url=service.address, accept_downloads=True) as found:
        yield found.page
        assert not found.complaints


def test_a_study_is_launched_watched_stopped_continued_and_taken_away(page: Page, tmp_path: Path) -> None:
    """From pasted YAML to a model in Python; its table is that of two runs in a shell to the same totals, unstopped."""
    _paste(page, TEXT)
    page.get_by_role("button", name="Launch").click()
    expect(page).to_have_url(re.compile("/studies/digits$"))
    page.wait_for_selector("#ended")  # a trial was pruned: the study is under way
    page.get_by_role("button", name="Stop").click()
    expect(_state(page)).to_have_text("stopped")
    assert int(page.locator(".wide-tile .numbers").inner_text().split()[0]) < 27
    _continued_by_somebody_else(page)
    page.get_by_label("to", exact=True).fill(str(MORE))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".wide-tile .numbers")).to_have_text(f"{MORE} of {MORE}")
    expect(_state(page)).to_have_text("finished")
    _taken_away(page, tmp_path)


def _state(page: Page) -> Any:
    return page.locator("header .badge")


def _paste(page: Page, text: str) -> None:
    """A declaration with a mistake and then without: its line is marked while nothing is sent, then its price comes."""
    page.goto("/launch")
    page.get_by_label("Declaration (YAML)").fill(text.replace("relu", "rellu"))
    line = text[: text.index("relu")].count("\n") + 1
    expect(page.locator(".gutter .wrong")).to_have_text([str(line)])
    page.get_by_role("link", name=f"line {line}").click()
    expect(page.get_by_label("Declaration (YAML)")).to_be_focused()
    page.get_by_label("Declaration (YAML)").fill(text)
    expect(page.locator("#verdict")).to_contain_text("27 trials")
    expect(page.locator(".gutter .wrong")).to_have_count(0)


def _continued_by_somebody_else(page: Page) -> None:
    """The page follows it to its end; what is opened, focused and written stays meanwhile."""
    page.locator("#ended summary").click()
    field = page.get_by_label("to", exact=True)
    field.fill("777")
    origin = page.evaluate("location.origin")
    page.request.post("/api/v1/studies/digits/continue", headers={"Origin": origin})
    expect(page.locator(".wide-tile .numbers")).to_have_text("27 of 27")
    expect(_state(page)).to_have_text("finished")
    assert page.evaluate("document.querySelector('#ended details').open")
    expect(field).to_be_focused()
    expect(field).to_have_value("777")


def _taken_away(page: Page, folder: Path) -> None:
    """The configuration is the best trial's, the model reconstructs rows, the table is the shell's, byte for byte."""
    config = _downloaded(page, "Best configuration (YAML)", folder / "best.yaml")
    export = _downloaded(page, "Model and configuration (zip)", folder / "export.zip")
    csv = _downloaded(page, "Trials (CSV)", folder / "trials.csv")
    zipfile.ZipFile(export).extractall(folder / "export")
    found = next((folder / "export").rglob("config.yaml")).parent
    model = tuner.load_model(found)
    assert model.reconstruct(np.zeros((3, 64))).shape == (3, 64)
    with working_in(folder):
        tuner.run(DIGITS, workers=0)
        study = tuner.run(DIGITS, overrides=[f"search.trials={MORE}"], workers=0)
        assert csv.read_bytes().decode() == study.csv()
        assert study.best.params.items() <= declared(config, (), folder)[0].space.fixed().items()


def _downloaded(page: Page, words: str, path: Path) -> Path:
    with page.expect_download(timeout=180_000) as waiting:  # an export loads torch first
        page.get_by_role("link", name=words).click()
    waiting.value.save_as(path)
    return path


def test_a_stream_is_closed_while_nobody_looks(page: Page) -> None:
    """A hidden tab lets its connection go, and takes another one up when it is shown again."""
    ended: list[str] = []
    page.on("requestfailed", lambda request: ended.append(request.url))
    page.on("requestfinished", lambda request: ended.append(request.url))
    with page.expect_response("**/live"):
        page.goto("/")
    hide = "is => { Object.defineProperty(document, 'hidden', {value: is, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    _until(page, lambda: [url for url in ended if url.endswith("/live")])
    with page.expect_response("**/live"):
        page.evaluate(hide, False)


def _until(page: Page, is_so: Any) -> None:
    for _ in range(200):
        if is_so():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to be")


PAGES = ("/", "/studies/digits", "/launch", "/datasets", "/tokens", "/?archived=1")


@pytest.mark.parametrize("url", PAGES)
def test_a_page_fits_a_telephone_and_is_walked_by_keyboard(page: Page, url: str) -> None:
    """At 360 px nothing is cut off sideways; the first stop is the way past the navigation; every stop is visible."""
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(url)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    for _ in range(page.locator("a, button, input, select, textarea, summary").count()):
        page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement.closest('.editor') || document.activeElement).outlineStyle"
        assert page.evaluate(f"document.activeElement === document.body || {outline} !== 'none'")


def test_without_scripts_the_forms_still_work(service: Running, browser: Browser) -> None:
    """Log in with a token, be told of a mistake, launch, stop: plain posts."""
    with closing(Ledger.open(f"sqlite:///{service.folder / 'tuner.db'}")) as ledger:
        secret, _ = ledger.tokens.new("script-less", "launch", 600, "test")
    with visit(browser, None, base_url=service.address, java_script_enabled=False) as found:
        page = found.page
        page.goto("/launch")
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Declaration (YAML)").fill("name: [")
        page.get_by_role("button", name="Launch").click()
        expect(page.locator("#verdict")).to_contain_text("mistake")
        page.get_by_label("Declaration (YAML)").fill(yaml.safe_dump(tiny_of_sklearn(name="plain")))
        page.get_by_role("button", name="Launch").click()
        expect(page).to_have_url(re.compile("/studies/plain$"))
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(re.compile("/login$"))
