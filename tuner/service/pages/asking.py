"""Who asks for a page, what a form says, and how errors are pages as well."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, Response

from tuner.errors import InputError, TunerError
from tuner.report.markup import element, join
from tuner.service.pages.frame import Viewer, heading, page
from tuner.service.problems import of_error


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except TunerError as error:
                return error_page(request, error)

        return answer


def error_page(request: Request, error: TunerError) -> Response:
    """An error as a page, with the status that REST would answer."""
    back = element("p", element("a", "All studies", href="/"))
    body = join([heading("That did not work"), element("p", str(error), role="alert", class_="notice bad"), back])
    return HTMLResponse(page("That did not work", body, viewer_of(request)), of_error(error).status_code)


def viewer_of(request: Request) -> Viewer:
    """Who asks, by their token."""
    token = request.state.token
    return Viewer(token.name, token.role)


def numbers(given: Mapping[str, str], name: str) -> int | None:
    """A whole number in a form; None where the field is empty.

    Raises:
        InputError: it is none.
    """
    text = given.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"{name}: must be a whole number, got {text[:40]}.")
    return int(text)
