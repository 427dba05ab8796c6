"""The page of tokens, for those who keep the service."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tuner.answers.service import TokenItem
from tuner.report.markup import Html, element, join
from tuner.service.pages.frame import Notice, Viewer, button, heading, labelled, page, panel, post
from tuner.service.pages.words import moment

_ROLES = (
    ("launch", "launch: start, stop and continue studies"),
    ("read", "read: look at everything"),
    ("admin", "admin: tokens and data sets as well"),
)


def tokens_page(
    items: Sequence[TokenItem], viewer: Viewer, secret: str | None = None, notice: Notice | None = None
) -> str:
    """The whole page; a new token's secret is on it this once."""
    parts = [heading("Tokens"), *([_new_secret(secret)] if secret else []), _known(items), _form()]
    return page("Tokens", join(parts), viewer, "/tokens", notice)


def _new_secret(secret: str) -> Html:
    shown = element(
        "input", id="secret", value=secret, readonly="readonly", autocomplete="off", spellcheck="false", class_="secret"
    )
    hint = "Copy it now: it is shown this once, and nobody can read it again."
    return panel("made", "The new token", labelled("Secret", shown, "secret", hint), class_="made")


def _known(items: Sequence[TokenItem]) -> Html:
    shown = [each for each in items if each.kind == "token"]
    if not shown:
        return element("section", element("p", "No token yet."), class_="empty")
    words = (("Whose", None), ("Role", None), ("Made", "extra"), ("Expires", None), ("Last used", "extra"), ("", None))
    head = element("tr", *(element("th", each, scope="col", class_=kind) for each, kind in words))
    inside = element("table", element("thead", head), element("tbody", *map(_row, shown)))
    return element("section", element("div", inside, class_="wide", tabindex=0, role="region", aria_label="Tokens"))


def _row(each: TokenItem) -> Html:
    return element(
        "tr",
        element("th", each.name, scope="row"),
        element("td", each.role, class_="short"),
        element("td", moment(each.created_at), class_="short extra"),
        element("td", moment(each.expires_at)),
        element("td", moment(each.used_at), class_="short extra"),
        element("td", _standing(each), class_="row-actions"),
        id=f"token-{each.id}",
    )


def _standing(each: TokenItem) -> Html:
    if each.revoked_at is not None:
        return join(["revoked ", moment(each.revoked_at)])
    if each.expires_at <= time.time():
        return element("span", "expired", class_="soft")
    name = f"Revoke the token of {each.name}"
    return post(f"/tokens/{each.id}/revoke", button("Revoke", "plain", aria_label=name))


def _form() -> Html:
    name = element("input", id="name", name="name", required="required", maxlength=100, autocomplete="off")
    role = element(
        "select", *(element("option", words, value=value) for value, words in _ROLES), id="role", name="role"
    )
    days = element("input", id="days", name="days", type="number", min=1, max=3650, value=90, required="required")
    fields = [
        labelled("Whose", name, "name", "A person, or a script."),
        labelled("Role", role, "role"),
        labelled("Days until it expires", days, "days"),
        element("div", button("Make a token", "main"), class_="actions"),
    ]
    return panel("new", "New token", post("/tokens", *fields))
