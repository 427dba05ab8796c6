"""The page of one study, live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tuner.answers.service import CurveItem, StudyDetail, StudyItem, TrialItem
from tuner.report.facts import verdict
from tuner.report.markup import Html, element, join, text, whole
from tuner.service.pages.about import about_form
from tuner.service.pages.actions import actions, downloads
from tuner.service.pages.frame import Notice, Viewer, live, page
from tuner.service.pages.outcome import failure, final, recommended
from tuner.service.pages.trials import ended_early, history, leaderboard, learning_curves
from tuner.service.pages.words import EXECUTORS, badge, budget, doing, moment
from tuner.spec.length import Length

_AT_WORK = ("starting", "running", "stopping")


@dataclass(frozen=True, slots=True)
class StudyView:
    """What the page shows.

    Attributes:
        detail: the study, its declaration and its answer.
        trials: every trial, the best first.
        curves: of the best trials, in the same order.
        length: in which unit trials are measured; None where that is not recorded.
        mlflow: where MLflow shows it; None where it does not, or not by an address.
    """

    detail: StudyDetail
    trials: Sequence[TrialItem] = ()
    curves: Sequence[CurveItem] = ()
    length: Length | None = None
    mlflow: str | None = None


# The page's order; a part that has nothing to say yet is None.
PARTS: tuple[Callable[[StudyView], Html | None], ...] = (
    lambda view: failure(view.detail.item),
    lambda view: recommended(view.detail.answer),
    lambda view: history(view.trials, view.detail.answer),
    lambda view: leaderboard(view.trials, view.length),
    lambda view: final(view.detail.answer),
    lambda view: learning_curves(view.curves, view.detail.answer, view.length),
    lambda view: ended_early(view.trials, view.length),
)


def study_page(
    view: StudyView, viewer: Viewer, notice: Notice | None = None, written: Mapping[str, str] | None = None
) -> str:
    """The whole page.

    Args:
        view: the study.
        viewer: who looks.
        notice: what came of the last request.
        written: what was written into the form of name, note and tags, where that was refused.
    """
    item = view.detail.item
    url = f"/studies/{quote(item.name, safe='')}/live"
    # Below what changes: forms keep what is written, and the declaration stays as it was scrolled.
    below = [*([about_form(item, written)] if viewer.may("launch") else []), _declaration(view)]
    return page(item.name, join([live(viewer, url, study_parts(view, viewer)), *below]), viewer, notice=notice)


def study_parts(view: StudyView, viewer: Viewer) -> Html:
    """The part of the page that changes."""
    parts = [made for make in PARTS if (made := make(view)) is not None]
    return join([_top(view), *actions(view.detail, viewer), downloads(view.detail, view.mlflow), *parts])


def _top(view: StudyView) -> Html:
    item, answer = view.detail.item, view.detail.answer
    words = _before(item.state) if answer is None else verdict(answer)
    title = element("header", element("h1", item.name), badge(item.state), class_="title")
    by = f", handed in by {item.by}" if item.by else ", launched by hand"
    about = element("p", "Since ", moment(item.created_at), by, _where(item), *_tags(item.tags), class_="note")
    parts = [title, about, element("p", words, class_="verdict"), _tiles(view)]
    return join([*parts, *([element("p", item.note)] if item.note else [])])


def _where(item: StudyItem) -> str:
    """Where it trains, in its state's tense; empty where nothing was chosen yet, or a shell runs it."""
    if item.executor is None:
        return ""
    verb = "trains" if item.state in _AT_WORK else "trained" if item.ended and item.state != "queued" else "to train"
    return f"; {verb} on {EXECUTORS[item.executor]}"


def _before(state: str) -> str:
    words = {"queued": "It waits for a free place; its trials begin then.", "starting": "Its run begins."}
    return words.get(state, "It has not begun yet.")


def _tags(tags: Sequence[str]) -> list[Html]:
    return [element("span", tag, class_="tag") for tag in tags]


def _tiles(view: StudyView) -> Html:
    item, answer = view.detail.item, view.detail.answer
    best = answer.winner.value if answer is not None and answer.winner is not None else item.best
    tiles = [
        _tile(None if best is None else f"{best:#.4g}", "best validation loss"),
        element("li", budget(item), element("span", "trials ended"), class_="wide-tile"),
    ]
    now = doing(item)
    if now and item.state != "failed":
        tiles.append(element("li", element("b", now, class_="words"), element("span", "now")))
    return element("ul", *tiles, *_against_pca(view), class_="tiles")


def _against_pca(view: StudyView) -> list[Html]:
    answer = view.detail.answer
    found = None if answer is None else answer.winner
    if answer is None or found is None or found.test_loss is None or answer.baselines is None:
        return []
    loss, pca = found.test_loss, answer.baselines.pca
    change = f"{abs(100 * (1 - loss / pca)):.0f} % {'lower' if loss < pca else 'higher'}" if pca else "higher"
    kind = "good" if loss < pca else "bad"
    return [_tile(f"{loss:#.4g}", "test loss"), _tile(change, "than PCA, on the test rows", kind)]


def _tile(value: object, words: str, kind: str | None = None) -> Html:
    return element("li", element("b", text(value)), element("span", words), class_=kind)


def _declaration(view: StudyView) -> Html:
    inside = element("pre", element("code", whole(view.detail.spec_text)), tabindex=0)
    return element("details", element("summary", "Declaration"), inside, class_="card")
