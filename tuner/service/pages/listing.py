"""The list of studies."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from tuner.answers.service import StudyItem
from tuner.report.markup import Html, element, join
from tuner.service.pages.frame import Viewer, heading, live, page
from tuner.service.pages.words import badge, budget, doing, moment

_HEAD = (
    ("Study", ""),
    ("State", ""),
    ("Best loss", "number"),
    ("Trials ended", ""),
    ("Now", "extra"),
    ("Since", "extra"),
)
_COUNTED = ("running", "queued", "failed")


def listing_page(items: Sequence[StudyItem], viewer: Viewer, archived: bool = False) -> str:
    """The page of all studies, or of those that were archived."""
    link = element("a", "Launch a study", href="/launch", class_="button main") if viewer.may("launch") else ""
    url = "/live?archived=1" if archived else "/live"
    title = heading("Archived studies" if archived else "Studies", link)
    return page("Studies", join([title, live(viewer, url, listing(items, archived))]), viewer, "/")


def listing(items: Sequence[StudyItem], archived: bool = False) -> Html:
    """The part of the page that changes."""
    shown = [item for item in items if (item.state == "archived") is archived]
    others = sum(item.state == "archived" for item in items)
    aside = "" if archived or not others else _link("/?archived=1", f"{others} archived")
    back = _link("/", "All studies") if archived else ""
    if not shown:
        return join([_empty(archived), element("p", aside, back, class_="note")])
    return join([_counts(shown), _table(shown), element("p", aside, back, class_="note")])


def _link(url: str, words: str) -> Html:
    return element("a", words, href=url)


def _empty(archived: bool) -> Html:
    if archived:
        return element("section", element("p", "No study is archived."), class_="empty")
    words = "No study yet. Register data, launch a study on it, and it is shown here while it trains."
    links = [_link("/datasets", "Data sets"), " · ", _link("/launch", "Launch a study")]
    return element("section", element("p", words), element("p", *links), class_="empty")


def _counts(items: Sequence[StudyItem]) -> Html:
    counts = [(sum(item.state == state for item in items), state) for state in _COUNTED]
    words = ", ".join(f"{count} {state}" for count, state in counts if count)
    return element("p", f"{len(items)} in all{f': {words}' if words else ''}", class_="note")


def _table(items: Sequence[StudyItem]) -> Html:
    titles = (element("th", words, scope="col", class_=kind or None) for words, kind in _HEAD)
    head = element("thead", element("tr", *titles))
    body = element("tbody", *map(_row, items))
    inside = element("table", head, body, class_="studies")
    return element("section", element("div", inside, class_="wide", tabindex=0, role="region", aria_label="Studies"))


def _row(item: StudyItem) -> Html:
    tags = [element("span", tag, class_="tag") for tag in item.tags]
    name = element("a", item.name, href=f"/studies/{quote(item.name, safe='')}")
    return element(
        "tr",
        element("th", name, *tags, scope="row"),
        element("td", badge(item.state)),
        element("td", item.best, class_="number"),
        element("td", budget(item), class_="budget"),
        element("td", doing(item), class_="extra"),
        element("td", moment(item.created_at), class_="extra short"),
        id=f"study-{item.name}",
    )
