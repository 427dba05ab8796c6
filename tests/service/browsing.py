"""A service as a user starts it, and a browser before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs.

    Attributes:
        address: of its pages.
        link: that logs in once.
        folder: where it keeps its studies.
    """

    address: str
    link: str
    folder: Path


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Running]:
    """`tuner serve` in a folder, on a free port; its end is as Ctrl-C's."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    left_out = ("TUNER_DATABASE_URL", "MLFLOW_TRACKING_URI")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    command = [sys.executable, "-m", "tuner", "serve", "--port", "0", "--workers", "1", *arguments]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, "TUNER_DATA_ROOT": str(data)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield _started(process, folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _started(process: subprocess.Popen[str], folder: Path) -> Running:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"(http\S+)/login\?once=\S+", line):
            return Running(found[1], found[0], folder)
    raise AssertionError((folder / "serve.log").read_text())


@dataclass(slots=True)
class Visit:
    """A page of a browser, and what it complained about.

    Attributes:
        page: Playwright's.
        complaints: errors of scripts, refusals of the page's policy, dialogs.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser, without a window."""
    with sync_playwright() as playwright:
        # The tests run as root in containers, where Chromium's sandbox cannot start.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, state: Any = None, **options: Any) -> Iterator[Visit]:
    """A fresh window, logged in where `state` has a session."""
    context: BrowserContext = browser.new_context(storage_state=state, **options)
    context.set_default_timeout(60_000)
    found = Visit(context.new_page())
    watch(found)
    yield found
    context.close()


def watch(found: Visit) -> None:
    """Note down what a page complains about."""
    found.page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("dialog", lambda dialog: (found.complaints.append(dialog.message), dialog.dismiss()))


def logged_in(browser: Browser, service: Running) -> Any:
    """The session of the link that a service printed: a visit shows a button, and that logs in."""
    with visit(browser) as found:
        found.page.goto(service.link)
        found.page.get_by_role("button", name="Log in").click()
        expect(found.page).to_have_url(f"{service.address}/")
        assert not found.complaints
        return found.page.context.storage_state()
