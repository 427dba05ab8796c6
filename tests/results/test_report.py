"""Claims about a study's report: it says what the ledger says, whoever named the columns, and asks no network."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from pages import Page
from PIL import Image
from sklearn.datasets import load_digits, load_iris
from studies import fresh_folder, tiny, tiny_of_sklearn

import tuner
from tuner.answers.parts import Configuration, FinalStage
from tuner.api.study import Study
from tuner.data.split import split_rows
from tuner.errors import ExportError
from tuner.ledger.ledger import Ledger
from tuner.report.figures import FIGURES, all_figures
from tuner.report.markup import shown
from tuner.report.page import page
from tuner.report.svg import standalone
from tuner.spec.work import TrialState

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a'b & c",
    "</title><svg/onload=alert(3)>",
    "\x07",
]
SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Told:
    """A finished study, its page, and an export of its winner."""

    study: Study
    page: Page
    content: str
    folder: Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Path]:
    """The current folder of all studies here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "TUNER_DATABASE_URL"):
            patch.delenv(name, raising=False)
        folder = fresh_folder(tmp_path_factory.mktemp("report"), mlflow_store)
        patch.chdir(folder)
        yield folder


def tell(study: Study, home: Path) -> Told:
    path = study.report(home / f"{study.name}.html")
    content = path.read_text(encoding="utf-8")
    return Told(study, Page(content), content, home)


@pytest.fixture(scope="module")
def iris(home: Path) -> Told:
    return tell(tuner.run(tiny_of_sklearn(), workers=0), home)


@pytest.fixture(scope="module")
def digits(home: Path) -> Told:
    spec = tiny(name="digits", data={"source": "sklearn:digits"}, search={"trials": 3, "epochs": 3, "cohort": 3})
    return tell(tuner.run(spec, workers=0), home)


@pytest.fixture(scope="module")
def evil(home: Path) -> Told:
    """Columns with names that would be markup, and one of a hundred characters."""
    rows = np.random.default_rng(0).normal(size=(60, len(EVIL) + 1))
    pd.DataFrame(rows, columns=[*EVIL, "x" * 100]).to_parquet(home / "evil.parquet")
    spec = tiny(name="evil", data={"source": str(home / "evil.parquet")}, search={"trials": 4, "epochs": 2})
    return tell(tuner.run(spec, workers=0), home)


def test_the_page_says_what_the_ledger_holds(iris: Told) -> None:
    """Verdict, leaderboard and rungs, counted again from the trials table."""
    answer, trials = iris.study.summary, iris.study.trials
    for loss in (answer.best.value, answer.best.test_loss, answer.baselines.mean, answer.baselines.pca):
        assert f"{loss:.4g}" in iris.page.words
    complete = trials[trials.state == "complete"].sort_values("value")
    top = [row for row in iris.page.cells if len(row) > 5 and row[1] in ("complete", "pruned")]
    assert [row[0] for row in top[: len(complete)]] == [str(number) for number in complete.number]
    assert [row[2] for row in top[: len(complete)]] == [shown(value) for value in complete.value]
    for epoch, group in trials[trials.state == "pruned"].groupby("epochs"):
        assert f"{(trials.epochs >= epoch).sum()} reached, {len(group)} pruned" in iris.page.words
    assert f"{trials.epochs.sum()} epochs were trained" in iris.page.words


def test_every_trial_with_a_loss_is_a_dot_of_the_history(iris: Told, tmp_path: Path) -> None:
    """Once each, and told in words; the figures are files as well, each a whole XML document."""
    hints = json.loads(iris.page.data["trials"])
    trials = iris.study.trials
    assert {int(number) for number in hints} == set(trials.number)
    assert all(f"loss {shown(t.value)} " in hints[str(t.number)].replace("\n", " ") for t in trials.itertuples())
    figures = all_figures(iris.study.facts)
    assert set(figures) == set(FIGURES) - {"front"} | {f"slice_{name}" for name in iris.study.spec.space.searched()}
    history = ElementTree.fromstring(standalone(figures["history"]).encode())
    dots = [mark.get("data-n") for mark in history.iter(f"{SVG}circle") if mark.get("class") != "best"]
    assert sorted(map(int, filter(None, dots))) == sorted(trials.number[trials.value.notna()])


def test_no_request_can_leave_the_page(iris: Told, digits: Told, evil: Told) -> None:
    """Every address is inside the page, and its own policy forbids all others."""
    for told in (iris, digits, evil):
        addresses = [
            a[key] or "" for _, a in told.page.elements for key in ("src", "href", "xlink:href", "action") if key in a
        ]
        assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
        assert not re.search(r"url\(|@import|https?://|//[a-z]", told.page.data["style"] + told.page.data["script"])
        policy = next(a["content"] or "" for a in told.page.of("meta") if "http-equiv" in a)
        assert policy.startswith("default-src 'none';")
        assert "script-src 'sha256-" in policy


def test_names_are_text_whatever_stands_in_them(evil: Told, tmp_path: Path) -> None:
    """Names that are markup are shown as they are; no element and no handler comes of them."""
    for name in EVIL[:4]:
        assert name in evil.page.words
    assert "\x07" not in evil.content
    assert len(evil.page.of("script")) == 2
    assert not evil.page.of("img")
    assert not [key for _, attributes in evil.page.elements for key in attributes if key.startswith("on")]
    facts = evil.study.facts
    failed = replace(facts.trials[0], state=TrialState.FAILED, reason=EVIL[3])
    facts = replace(facts, study=EVIL[0], source=EVIL[1], trials=[failed, *facts.trials[1:]])
    parsed = Page(page(facts))
    assert (len(parsed.of("script")), len(parsed.of("img"))) == (2, 0)
    assert EVIL[3] in parsed.words
    for figure in all_figures(facts).values():
        ElementTree.fromstring(standalone(figure).encode())


def test_pictures_are_the_rows_and_the_winner_s_reconstructions(digits: Told, tmp_path: Path) -> None:
    """Pixel by pixel against the data set and an export of the winner; only validation rows are shown."""
    images = load_digits().images
    model = tuner.load_model(digits.study.export(tmp_path / "best"))
    spec = digits.study.spec
    allowed = split_rows(len(images), spec.data.validation, spec.data.test, spec.search.seed).validation
    pictures = digits.page.of("img")
    assert len(pictures) == 30
    for picture in pictures:
        row = int((picture["alt"] or "").rpartition(" ")[2]) - 1
        assert row in allowed
        wanted = images[row] if "original" in (picture["alt"] or "") else model.reconstruct(images[row : row + 1])[0]
        content = base64.b64decode((picture["src"] or "").partition(",")[2])
        drawn = np.asarray(Image.open(io.BytesIO(content)), dtype=float)
        assert np.abs(drawn - np.clip(wanted / 16, 0, 1) * 255).max() <= 0.6


def test_errors_by_feature_are_the_winner_s_on_validation_rows(iris: Told, tmp_path: Path) -> None:
    """Against an export of the winner: raw rows in, raw reconstructions out, scaled by hand."""
    model, spec = tuner.load_model(iris.study.export(tmp_path / "best")), iris.study.spec
    rows = load_iris().data
    split = split_rows(len(rows), spec.data.validation, spec.data.test, spec.search.seed)
    span = np.ptp(rows[split.train], axis=0)
    errors = (((model.reconstruct(rows) - rows) / span) ** 2)[split.validation].mean(axis=0)
    shown_errors = {row[0]: float(row[1]) for row in iris.page.cells if row and row[0] in load_iris().feature_names}
    assert shown_errors == pytest.approx(dict(zip(load_iris().feature_names, errors, strict=True)), rel=1e-3)


def _single() -> Study:
    return tuner.run(tiny(name="single", search={"trials": 1}), workers=0)


def _diverged() -> Study:
    wild = {"learning_rate": {"type": "float", "low": 90.0, "high": 100.0}, "depth": 3, "width": 512}
    space = {"batch_size": 16, "activation": "relu", "bottleneck": 2, **wild}
    data = {"source": "sklearn:iris", "scaling": "none"}
    return tuner.run(tiny(name="diverged", rules=3, space=space, data=data), workers=0)


def _stopped() -> Study:
    stop = threading.Event()
    spec = tiny(name="stopped", search={"trials": 400, "epochs": 200})
    return tuner.run(spec, workers=0, stop=stop, progress=lambda now: stop.set() if now.counts else None)


def _fresh() -> Study:
    """Declared, with no trial asked for: as `tuner report` finds it in the first second of a run."""
    spec = Study.open("tiny").spec.model_copy(update={"name": "fresh"})
    ledger = Ledger.open("sqlite:///tuner.db")
    ledger.create_study(spec.model_dump_json(), "fresh.yaml", "ab", "fresh", {})
    ledger.close()
    return Study.open("fresh")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_single, "Too few trials have ended"),
        (_diverged, "No trial is complete yet, so there is no answer."),
        (_stopped, "stopped"),
        (_fresh, "none yet"),
    ],
)
def test_a_study_in_any_state_has_a_page(make: Callable[[], Study], words: str, iris: Told, home: Path) -> None:
    """One trial, none complete, stopped in the middle, nothing there yet: a whole page that says so."""
    told = tell(make(), home)
    assert words in told.page.words
    assert "Declaration and versions" in told.page.words
    assert told.content.endswith("</html>\n")
    assert "nan" not in told.content.lower().split("<script")[0]


def test_data_that_is_gone_is_said_in_place_of_the_reconstructions(home: Path, evil: Told) -> None:
    """Gone with its prepared rows: the record is there still, and so is its report."""
    moved = [(home / "evil.parquet", home / "kept.parquet"), (home / ".tuner/prepared", home / ".tuner/kept")]
    for place, other in moved:
        place.rename(other)
    try:
        told = tell(Study.open("evil"), home)
    finally:
        for place, other in moved:
            other.rename(place)
    assert "Not shown: " in told.page.words
    assert "Leaderboard" in told.page.words


def test_ten_thousand_trials_make_a_page_that_opens(iris: Told) -> None:
    """Of very many trials the best and an even spread are drawn: the page stays within 5 MB."""
    facts = iris.study.facts
    some = facts.trials
    many = [replace(some[i % len(some)], number=i) for i in range(10_000)]
    curves = {i: list(facts.curves[some[i % len(some)].number]) * 20 for i in range(10_000)}
    assert len(page(replace(facts, trials=many, curves=curves))) < 5e6


def test_a_final_stage_is_shown_and_is_the_answer(iris: Told) -> None:
    """The winner's mean over its seeds, and its test loss, stand in the verdict in place of the best trial's."""
    facts = iris.study.facts
    losses = (0.0121, None, 0.0125)
    tried = Configuration(
        trial=3, params={"bottleneck": 2}, mean=0.0123, low=0.0111, high=0.0135, losses=losses, lost=("run 1: lost",)
    )
    final = FinalStage(
        top=1, seeds=3, trials=9, method="Student's t", configurations=(tried,), winner=3, exported=0,
        sentence="Trial 3 wins.", test_loss=0.0117,
    )  # fmt: skip
    assert facts.answer.winner is not None
    changed = {"trial": 3, "mean": 0.0123, "validation_losses": losses, "test_loss": 0.0117,
               "validation_loss_is": "the lowest of 2 seeds", "mean_test_loss": 0.0121}  # fmt: skip
    winner = facts.answer.winner.model_copy(update=changed)
    answer = facts.answer.model_copy(update={"final": final, "winner": winner})
    shown_page = Page(page(replace(facts, answer=answer)))
    assert (
        "The best trial, 3, has a validation loss of 0.0123 (the mean over 2 seeds) and a test loss of 0.0117"
        " (of the exported run, the lowest of 2 seeds by validation loss; their mean is 0.0121)" in shown_page.words
    )
    assert "Trial 3 wins." in shown_page.words
    assert ["3", "0.0123", "0.0111", "0.0135", "0.0121, lost, 0.0125"] in shown_page.cells


def test_a_report_is_written_whole_or_not_at_all(iris: Told, tmp_path: Path) -> None:
    """A file that stands there is replaced; where that cannot be, it stays, and nothing is left beside it."""
    path = tmp_path / "report.html"
    path.write_text("before")
    iris.study.report(path)
    assert path.read_text().startswith("<!doctype html>")
    with pytest.raises(ExportError, match="must be writable"):
        iris.study.report(tmp_path / "nowhere" / "report.html")
    with pytest.raises(ExportError, match=r"must end in \.html"):
        iris.study.report(tmp_path / "report.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_chromium_draws_the_page_without_a_complaint(evil: Told, tmp_path: Path) -> None:
    """Its script ran, nothing was refused, no name became a script, and no request was tried."""
    target = tmp_path / "evil.html"
    target.write_text(evil.content, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--v=0", "--dump-dom", target.as_uri()]
    assert CHROMIUM is not None
    ran = subprocess.run([CHROMIUM, *flags], capture_output=True, text=True, timeout=60, check=True)
    assert "Leaderboard" in ran.stdout
    assert "CONSOLE" not in ran.stderr
    assert len(Page(ran.stdout).of("circle")) == len(evil.page.of("circle"))
