"""Logging in: by a token, or by a link that counts once."""

from __future__ import annotations

from tuner.report.markup import Html, element, join
from tuner.service.pages.frame import Notice, button, heading, labelled, page, post


def login_page(once: str | None = None, after: str = "/", notice: Notice | None = None) -> str:
    """The form for a token; for a link that counts once, its button: a preview of the link must not use it up."""
    body = _by_token(after) if once is None else _by_link(once)
    return page("Log in", element("div", heading("tuner"), body, class_="narrow"), None, notice=notice)


def _by_token(after: str) -> Html:
    field = element(
        "input",
        id="token",
        name="token",
        type="password",
        autocomplete="current-password",
        required="required",
        autofocus="autofocus",
        spellcheck="false",
        aria_describedby="token-hint",
    )
    hint = join([element("code", "tuner token new"), " makes one; whoever keeps the service gives it to you."])
    hidden = element("input", type="hidden", name="next", value=after)
    return post("/login", hidden, labelled("Token", field, "token", hint), button("Log in", "main"), class_="card")


def _by_link(once: str) -> Html:
    words = "This link logs you in once. It counts for ten minutes from its making."
    hidden = element("input", type="hidden", name="token", value=once)
    entered = post("/login", element("p", words), hidden, button("Log in", "main", autofocus="autofocus"))
    other = element("p", element("a", "Log in with a token instead", href="/login"), class_="note")
    return join([element("div", entered, other, class_="card")])
