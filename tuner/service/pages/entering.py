"""What is open to everybody: logging in, style and scripts."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from tuner.service.pages import assets
from tuner.service.pages.frame import Notice
from tuner.service.pages.login import login_page

router = APIRouter(include_in_schema=False)
FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get("/static/{digest}/{name}")
def static(digest: str, name: str) -> Response:
    """Style and scripts; another digest is another file."""
    found = assets.assets().get(name)
    if found is None or found.digest != digest:
        return Response("There is no such file.", 404)
    return Response(found.content, media_type=found.media_type, headers=FOR_GOOD)


@router.get("/login")
def login(once: str | None = None, failed: str = "", next: str = "/") -> HTMLResponse:  # noqa: A002 - its name in the address
    """The form that logs in."""
    words = "That did not work: the token is unknown, expired or revoked, or the link was used already."
    notice = Notice(words, is_bad=True) if failed else None
    return HTMLResponse(login_page(once, next, notice), 401 if failed else 200)
