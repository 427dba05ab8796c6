"""The frame of every page: head, navigation, notice, and the attributes that htmx reads."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tuner.report.markup import Html, element, join
from tuner.service.pages.assets import assets

Role = Literal["read", "launch", "admin"]
# htmx: extensions that are let in, no style of its own, no history of its own; what people opened and what charts
# drew stays as it is when a page changes.
_HTMX: Final = {
    "extensions": "hx-csp,sse",
    "includeIndicatorCSS": False,
    "history": False,
    "morphIgnore": ["data-htmx-powered", "open"],
    "morphSkipChildren": ".plot",
    "noSwap": [204, 304, "4xx", "5xx"],
    "sse": {"reconnectMaxDelay": 10_000},
}
_PLACES: Final = (("/", "Studies", "read"), ("/launch", "Launch", "launch"), ("/datasets", "Data sets", "read"))
_ROLES: Final = ("read", "launch", "admin")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page.

    Attributes:
        name: of the token.
        role: read, launch or admin.
        nonce: of this page: htmx follows only attributes that come with it.
    """

    name: str
    role: Role
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def may(self, role: str) -> bool:
        """Whether this role is theirs, or a lesser one."""
        return _ROLES.index(self.role) >= _ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Notice:
    """What came of a request, at the top of the page that follows."""

    words: str
    is_bad: bool = False


def page(title: str, body: Html, viewer: Viewer | None, at: str = "", notice: Notice | None = None) -> str:
    """A whole page.

    Args:
        title: of the window.
        body: what is in `main`.
        viewer: None before somebody logged in.
        at: the place in the navigation that it belongs to.
        notice: what came of the last request.
    """
    top = [
        element("a", "Skip to the page", class_="skip", href="#main"),
        _navigation(viewer, at) if viewer is not None else Html(""),
    ]
    main = element("main", *([_notice(notice)] if notice else []), body, id="main", tabindex=-1)
    nonce = viewer.nonce if viewer is not None else secrets.token_urlsafe(16)
    head, body = _head(title, nonce), join([*top, main])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def live(viewer: Viewer, url: str, content: Html, id_: str = "live") -> Html:
    """A part of a page that the server sends again when it changes; what is focused, open or scrolled stays so."""
    stream = {"hx-sse:connect": url, "hx-swap": "innerMorph", "hx-nonce": viewer.nonce}
    words = "The connection is lost: this is how it was. The page tries to connect again."
    lost = element("p", words, class_="notice bad", id=f"{id_}-lost", role="status", hidden="hidden")
    return join([lost, element("div", content, id=id_, **stream)])


def post(url: str, *content: object, **attributes: object) -> Html:
    """A form that works without any script."""
    return element("form", *content, method="post", action=url, **attributes)


def button(words: str, kind: str = "", **attributes: object) -> Html:
    """A button that sends its form."""
    return element("button", words, type="submit", class_=f"button {kind}".rstrip(), **attributes)


def labelled(words: str, control: Html, id_: str, hint: str | Html = "") -> Html:
    """A control below its label."""
    more = [element("span", hint, class_="note", id=f"{id_}-hint")] if hint else []
    return element("div", element("label", words, for_=id_), control, *more, class_="field")


def heading(title: str, *aside: object) -> Html:
    """A page's own heading."""
    return element("header", element("h1", title), *aside, class_="title")


def panel(anchor: str, title: str, *content: object, **attributes: object) -> Html:
    """A section with its heading."""
    named = element("h2", title, id=f"{anchor}-title")
    return element("section", named, *content, id=anchor, aria_labelledby=f"{anchor}-title", **attributes)


def attribute(values: Mapping[str, object]) -> str:
    """Plain values as JSON in an attribute."""
    return json.dumps(values, separators=(",", ":"))


def _head(title: str, nonce: str) -> Html:
    files = assets().values()
    styles = [Html(f'<link rel="stylesheet" href="{each.url}">') for each in files if each.name.endswith(".css")]
    # Not deferred: htmx begins when the page is read, and its extensions must be there by then.
    scripts = [element("script", src=each.url, nonce=nonce) for each in files if each.name.endswith(".js")]
    return join(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="referrer" content="same-origin">'),
            Html('<link rel="icon" href="data:,">'),
            element("title", f"{title} · tuner"),
            _meta("htmx-config", json.dumps(_HTMX)),
            *styles,
            *scripts,
        ]
    )


def _meta(name: str, content: str) -> Html:
    return Html(element("meta", name=name, content=content).removesuffix("</meta>"))


def _navigation(viewer: Viewer, at: str) -> Html:
    places = [*_PLACES, ("/tokens", "Tokens", "admin")]
    links = [
        element("li", element("a", words, href=url, aria_current="page" if url == at else None))
        for url, words, role in places
        if viewer.may(role)
    ]
    out = post("/logout", element("span", viewer.name, class_="soft"), button("Log out", "plain"), class_="who")
    return element("nav", element("ul", *links, element("li", out, class_="last")), aria_label="Pages")


def _notice(notice: Notice) -> Html:
    role = "alert" if notice.is_bad else "status"
    return element("p", notice.words, role=role, class_="notice bad" if notice.is_bad else "notice")
