"""The pages as pure functions of answers: safe whatever they hold, usable without scripts and without a mouse."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import page_samples as samples
import pytest
from page_samples import EVIL
from pages import Page

import tuner.service
from tuner.answers.service import Checked, Mistake
from tuner.service.pages import assets, charts
from tuner.service.pages.datasets import datasets_page
from tuner.service.pages.frame import Notice, Viewer
from tuner.service.pages.launch import Choices, Draft, Verdict, launch_page
from tuner.service.pages.listing import deletion_page, listing_page
from tuner.service.pages.login import login_page
from tuner.service.pages.study import study_page
from tuner.service.pages.tokens import tokens_page

STATIC = Path(tuner.service.__file__).parent / "static"
ADMIN, READER = Viewer("anna", "admin"), Viewer("ben", "read")
CHOICES = Choices([samples.dataset_item()], ["sklearn:digits"], ["other"], ["processes", "ray"])
CHECKED = Checked(
    name="a", trials=12, epochs="3 epochs", rows=1257, features=64, largest_parameters=26504, seconds=9.0, notes=("n",)
)
MISTAKES = [Mistake(line=2, key="data", message="must be a mapping"), Mistake(line=None, key="", message="is empty")]
PAGES = {
    "login": login_page(),
    "link": login_page("tuner_secret"),
    "failed login": login_page(notice=Notice("No.", is_bad=True)),
    "listing": listing_page([samples.study_item(), samples.study_item("other", state="failed", message="x")], ADMIN),
    "empty listing": listing_page([], ADMIN),
    "archive": listing_page([samples.study_item(state="archived")], ADMIN, archived=True),
    "deletion": deletion_page(["digits", "other"], ADMIN),
    "form that was refused": study_page(samples.view(), ADMIN, written={"name": "other"}),
    "study": study_page(samples.view(), ADMIN),
    "running study": study_page(samples.view("running"), ADMIN),
    "launch": launch_page(Draft("name: a\n", "dataset:pumps", "other"), CHOICES, ADMIN, Verdict(CHECKED)),
    "mistakes": launch_page(Draft("name: a\n"), CHOICES, ADMIN, Verdict(mistakes=MISTAKES)),
    "launch without data": launch_page(Draft(), Choices(), ADMIN),
    "data sets": datasets_page([samples.dataset_item()], ADMIN, 10**9),
    "no data sets": datasets_page([], ADMIN, None),
    "tokens": tokens_page([samples.token_item(), samples.token_item(2, revoked_at=1.0)], ADMIN, "tuner_secret"),
}
HOSTILE = {
    "study": study_page(samples.hostile_view(), Viewer(EVIL, "admin"), Notice(EVIL)),
    "listing": listing_page(
        [samples.study_item(EVIL, tags=(EVIL,), message=EVIL, state="failed")], Viewer(EVIL, "read")
    ),
    "deletion": deletion_page([EVIL], ADMIN),
    "form that was refused": study_page(samples.view(), ADMIN, written=dict.fromkeys(("name", "note", "tags"), EVIL)),
    "launch": launch_page(
        Draft(EVIL, EVIL, EVIL, EVIL),
        Choices([samples.dataset_item(EVIL)], [EVIL], [EVIL], ["processes", "ray"]),
        ADMIN,
        Verdict(mistakes=[Mistake(line=1, key=EVIL, message=EVIL)]),
    ),
    "textarea": launch_page(Draft("</textarea>" + EVIL), Choices(), ADMIN),
    "data sets": datasets_page([samples.dataset_item(EVIL, by=EVIL)], ADMIN, 1),
    "tokens": tokens_page([samples.token_item(name=EVIL)], ADMIN, EVIL, Notice(EVIL, is_bad=True)),
    "login": login_page(EVIL, notice=Notice(EVIL)),
    "login, next": login_page(None, EVIL),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_shown_and_makes_no_element_and_no_attribute(name: str) -> None:
    """Parsed, the page has the elements and attributes of the same page with harmless texts, and EVIL only as text."""
    page = Page(HOSTILE[name])
    assert all(attributes.get("src", "").startswith("/static/") for attributes in page.of("script"))
    assert not page.of("img")
    names = {key for _, attributes in page.elements for key in attributes}
    assert not {key for key in names if key.startswith(("on", "hx-on"))}
    assert names <= {key for other in PAGES.values() for _, found in Page(other).elements for key in found}
    links = [attributes.get(key) or "" for _, attributes in page.elements for key in ("href", "action", "src")]
    assert not [link for link in links if link.lower().startswith(("javascript:", "data:text"))]
    assert "alert(1)" in page.words + json.dumps([attributes for _, attributes in page.elements])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nothing_that_its_policy_refuses(name: str) -> None:
    """No inline script, style or handler; htmx is told no code; every file is the service's own."""
    page = Page(PAGES[name])
    assert all(set(page.data[key]) <= {"\n"} for key in page.data)
    assert not page.of("style")
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith(("on", "hx-on", "hx-vals", "hx-headers"))]
        assert not [value for value in attributes.values() if value and re.match(r"\s*(js|javascript):", value)]
        if "hx-trigger" in attributes:
            assert "[" not in (attributes["hx-trigger"] or "")  # a filter would be evaluated
    files = [a["src"] for a in page.of("script")] + [a["href"] for a in page.of("link") if a.get("rel") == "stylesheet"]
    assert all((url or "").startswith("/static/") for url in files)


@pytest.mark.parametrize("name", PAGES)
def test_what_htmx_follows_comes_with_the_nonce_of_its_page(name: str) -> None:
    """Every element with an attribute of htmx has the nonce that the page's scripts have."""
    page = Page(PAGES[name])
    nonces = {attributes["nonce"] for attributes in page.of("script")}
    assert len(nonces) == 1
    for _, attributes in page.elements:
        if [key for key in attributes if key.startswith("hx-")]:
            assert {attributes.get("hx-nonce")} == nonces


@pytest.mark.parametrize("name", PAGES)
def test_every_control_has_a_name_that_is_read_out(name: str) -> None:
    """Fields have labels, buttons and links have words, ids are given once."""
    page = Page(PAGES[name])
    labels = {attributes["for"] for attributes in page.of("label")}
    for tag in ("input", "select", "textarea"):
        for attributes in page.of(tag):
            assert attributes.get("type") == "hidden" or attributes.get("id") in labels, attributes
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page.of("h1")) == 1
    assert page.of("html")[0]["lang"] == "en"


def test_empty_pages_say_what_to_do() -> None:
    """The first study, data set and declaration: each page names the step before it."""
    assert "Register data, launch a study" in Page(PAGES["empty listing"]).words
    assert "Upload a file below" in Page(PAGES["no data sets"]).words
    assert "register data first" in Page(PAGES["launch without data"]).words


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("queued", {"stop", "continue"}),
        ("running", {"stop", "continue"}),
        ("stopping", set()),
        ("stopped", {"continue", "archive"}),
        ("finished", {"continue", "archive"}),
        ("failed", {"continue", "archive"}),
        ("archived", {"restore"}),
    ],
)
def test_a_study_offers_what_its_state_allows(state: str, buttons: set[str]) -> None:
    """And to those who may only read, nothing that changes anything."""
    for viewer, wanted in ((ADMIN, {*buttons, "about"}), (READER, set())):
        forms = [each["action"] or "" for each in Page(study_page(samples.view(state), viewer)).of("form")]
        assert {url.rpartition("/")[2] for url in forms if url.startswith("/studies/")} == wanted


@pytest.mark.parametrize(
    ("there", "words"), [({"slots": 5, "nodes": 2}, "5 slots on 2 nodes"), ({"slots": 1}, "1 worker")]
)
def test_a_study_that_trains_says_by_how_many(there: dict[str, int], words: str) -> None:
    """Slots and nodes of a cluster, or workers of the service's machine."""
    view = samples.view("running", phase="training", **there)
    assert words in Page(study_page(view, READER)).words
    assert words not in Page(study_page(samples.view("running", phase="training"), READER)).words


def test_the_page_of_a_finished_study_has_its_answer() -> None:
    """Interval, baselines, reasons, the link to MLflow and what can be downloaded."""
    page = Page(PAGES["study"])
    assert "Mean of 2 seeds: 0.26, 95 % interval 0.24 to 0.28." in page.words
    assert ["PCA, code of 8", "0.5", "0.5"] in page.cells
    assert ["4", "failed", "3", "–", "failed at epoch 3"] in page.cells
    links = {each["href"] for each in page.of("a")}
    assert "https://mlflow.example.org/#/experiments/1" in links
    assert {"/api/v1/studies/digits/export.zip", "/api/v1/studies/digits/config.yaml"} <= links


def test_a_failed_study_shows_what_its_driver_said_last() -> None:
    """The last line as a sentence, all lines below it."""
    page = Page(study_page(samples.view("failed", message="one\ndata.csv: must exist.\n\n"), READER))
    assert "data.csv: must exist." in page.words and "one\ndata.csv: must exist.\n\n" in page.words


def test_the_history_is_the_running_minimum_of_complete_trials() -> None:
    """The chart's lines against a loop over the trials; a trial without a loss is not drawn."""
    drawn = charts.history(samples.trials(), 0.5)
    given = _given(drawn)
    assert given["x"] == [0, 1, 2, 3, 5]
    lines = {each["label"]: each["values"] for each in given["series"]}
    assert lines["best so far"] == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert lines["complete"] == [0.5, 0.75, None, 0.25, None]
    assert lines["ended early or running"] == [None, None, 0.9, None, 0.8]
    assert lines["PCA 0.5"] == [0.5] * 5


def test_curves_leave_out_what_is_no_number() -> None:
    """A loss that is not finite is a gap, and the best trial stands out."""
    given = _given(charts.curves(samples.curves(), 3))
    assert [(each["kind"], each["values"]) for each in given["series"]] == [
        ("winner", [0.75, 0.5, 0.25]),
        ("curve", [1.0, None, 0.5]),
    ]


def test_nothing_is_drawn_of_nothing() -> None:
    """No trial, and trials whose losses are no numbers."""
    assert charts.history([], None) is None
    assert charts.history([samples.trial(0, float("nan")), samples.trial(1, None)], 0.5) is None
    assert charts.curves([], None) is None


def _given(drawn: str | None) -> dict[str, object]:
    assert drawn is not None
    found = json.loads(Page(drawn).of("div")[0]["data-plot"] or "")
    assert isinstance(found, dict)
    return found


def test_the_scripts_of_others_are_as_they_were_published() -> None:
    """By their digests, with licences beside them, and no file more."""
    vendor = STATIC / "vendor"
    known = dict(line.split()[::-1] for line in (vendor / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    assert known.keys() == {path.name for path in vendor.iterdir()} - {"SHA256SUMS", "README.md"}
    for name, digest in known.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
    assert {"htmx.LICENSE", "uPlot.LICENSE"} <= known.keys()


def test_a_page_loads_at_most_120_kilobytes_of_script() -> None:
    """All scripts together, uncompressed."""
    assert sum(len(each.content) for each in assets.assets().values() if each.name.endswith(".js")) < 120_000


def test_our_own_script_evaluates_nothing() -> None:
    """No text becomes code or markup in it."""
    own = (STATIC / "pages.js").read_text(encoding="utf-8")
    assert not re.search(r"\beval\b|\bFunction\b|innerHTML|outerHTML|insertAdjacent|document\.write|\bhx-on", own)


def test_an_asset_s_address_changes_with_its_content() -> None:
    """It holds the first digits of the content's SHA-256."""
    for each in assets.assets().values():
        assert each.url == f"/static/{hashlib.sha256(each.content).hexdigest()[:16]}/{each.name}"


def test_htmx_does_not_begin_before_its_extensions_are_there() -> None:
    """No script of a page is deferred: a late one would be passed over, the gate of nonces as well."""
    scripts = Page(PAGES["listing"]).of("script")
    assert [set(each) for each in scripts] == [{"src", "nonce"}] * len(scripts)
