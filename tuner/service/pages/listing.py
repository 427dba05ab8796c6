"""The list of studies."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from tuner.answers.service import StudyItem
from tuner.report.markup import Html, element, join
from tuner.service.pages.frame import Notice, Viewer, button, heading, live, page, post
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
# What can be done to many. Enter on a check box presses the first button, which changes least.
BULK = (("retry", "Try again", ""), ("stop", "Stop", "stop"), ("archive", "Archive", ""))
OF_ARCHIVE = (("unarchive", "Take out of the archive", ""), ("delete", "Delete", "stop"))


def listing_page(
    items: Sequence[StudyItem], viewer: Viewer, archived: bool = False, notice: Notice | None = None
) -> str:
    """The page of all studies, or of those that were archived."""
    link = element("a", "Launch a study", href="/launch", class_="button main") if viewer.may("launch") else ""
    url = "/live?archived=1" if archived else "/live"
    title = heading("Archived studies" if archived else "Studies", link)
    return page("Studies", join([title, live(viewer, url, listing(items, viewer, archived))]), viewer, "/", notice)


def deletion_page(names: Sequence[str], viewer: Viewer) -> str:
    """Asks once more before studies are deleted."""
    words = "All that is recorded goes, with all files; runs in MLflow stay. Nothing brings it back."
    hidden = [element("input", type="hidden", name="name", value=name) for name in names]
    sure = element("input", type="hidden", name="sure", value="yes")
    keep = element("a", "Keep them" if len(names) > 1 else "Keep it", href="/?archived=1", class_="button")
    buttons = element("div", button("Delete", "stop", name="action", value="delete"), keep, class_="actions")
    named = element("ul", *(element("li", name) for name in names))
    title = f"Delete {len(names)} studies?" if len(names) > 1 else "Delete this study?"
    inside = post("/bulk", named, element("p", words), *hidden, sure, buttons, class_="card")
    return page("Delete", join([heading(title), inside]), viewer, "/")


def listing(items: Sequence[StudyItem], viewer: Viewer, archived: bool = False) -> Html:
    """The part of the page that changes."""
    shown = [item for item in items if (item.state == "archived") is archived]
    others = sum(item.state == "archived" for item in items)
    aside = "" if archived or not others else _link("/?archived=1", f"{others} archived")
    back = _link("/", "All studies") if archived else ""
    if not shown:
        return join([_empty(archived), element("p", aside, back, class_="note")])
    table, note = _table(shown, viewer), element("p", aside, back, class_="note")
    if viewer.may("launch"):
        table = post("/bulk", table, _bulk(OF_ARCHIVE if archived else BULK))
    return join([_counts(shown), table, note])


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


def _bulk(actions: Sequence[tuple[str, str, str]]) -> Html:
    buttons = (button(words, kind, name="action", value=action) for action, words, kind in actions)
    label = element("span", "With those chosen:", class_="note")
    return element("div", label, *buttons, class_="actions bulk", role="group", aria_label="With those chosen")


def _table(items: Sequence[StudyItem], viewer: Viewer) -> Html:
    chosen = [element("th", element("span", "Chosen", class_="unseen"), scope="col")] * viewer.may("launch")
    titles = (element("th", words, scope="col", class_=kind or None) for words, kind in _HEAD)
    head = element("thead", element("tr", *chosen, *titles))
    body = element("tbody", *(_row(item, viewer) for item in items))
    inside = element("table", head, body, class_="studies")
    return element("section", element("div", inside, class_="wide", tabindex=0, role="region", aria_label="Studies"))


def _choice(item: StudyItem) -> Html:
    id_ = f"choose-{item.name}"
    label = element("label", f"Choose {item.name}", for_=id_, class_="unseen")
    return element(
        "td", label, element("input", type="checkbox", name="name", value=item.name, id=id_), class_="choice"
    )


def _row(item: StudyItem, viewer: Viewer) -> Html:
    tags = [element("span", tag, class_="tag") for tag in item.tags]
    name = element("a", item.name, href=f"/studies/{quote(item.name, safe='')}")
    return element(
        "tr",
        *([_choice(item)] if viewer.may("launch") else []),
        element("th", name, *tags, scope="row"),
        element("td", badge(item.state)),
        element("td", item.best, class_="number"),
        element("td", budget(item), class_="budget"),
        element("td", doing(item), class_="extra"),
        element("td", moment(item.created_at), class_="extra short"),
        id=f"study-{item.name}",
    )
