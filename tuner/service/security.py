"""The one gate before every route: host, token, role, origin, rate and size; what is not allowed here is refused."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.errors import TunerError
from tuner.ledger.ledger import Ledger
from tuner.ledger.tokens import Role, TokenRecord
from tuner.service.callers import Callers
from tuner.service.options import ServiceOptions
from tuner.service.problems import of_error, problem

COOKIE: Final = "tuner_session"
API: Final = "/api/"
STATIC: Final = "/static/"
READING: Final = frozenset({"GET", "HEAD"})
OPEN: Final = frozenset({("GET", "/healthz"), ("GET", "/login"), ("POST", "/login")})
# Beside "reading needs read, changing needs launch".
ROLES: Final[dict[str, Role]] = {"/api/v1/tokens": "admin", "/api/v1/audit": "admin", "/tokens": "admin"}
ANYONE: Final = frozenset({"/logout"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@final
class Gate:
    """ASGI middleware. After it `request.state.token` is the token's record; None only on the open routes."""

    def __init__(self, app: ASGIApp, options: ServiceOptions, ledger: Ledger) -> None:
        self._app, self._options, self._callers = app, options, Callers(ledger)
        self._rates = Rates(options.limits.requests_per_second, options.limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks WebSocket
        request, answer = Request(scope), _with_headers(send, self._options)
        try:
            refusal = await self._refusal(request)
        except TunerError as error:
            refusal = of_error(error)
        if refusal is not None:
            await refusal(scope, receive, answer)
        else:
            await self._app(scope, _limited(receive, self._most(request)), answer)

    async def _refusal(self, request: Request) -> Response | None:
        """Why a request is not passed on; None where it is."""
        request.state.token = None
        if request.headers.get("host", "") not in self._options.hosts:
            return problem(421, f"Host: must be {self._options.address.partition('://')[2]}.")
        foreign = self._foreign(request)
        if foreign is not None:
            return foreign
        path = request.scope["path"]
        is_open = (request.method, path) in OPEN or (request.method in READING and path.startswith(STATIC))
        if not is_open:
            token = await self._token(request)
            if token is None:
                return _log_in(request)
            if not token.may(role_for(request.method, path)):
                return problem(403, f"The role {token.role} must not do this; {role_for(request.method, path)} may.")
            request.state.token = token
        return self._too_many(request) or self._too_large(request)

    def _foreign(self, request: Request) -> Response | None:
        """Refuses changes that another site's page asks for: browsers say so, and cannot be told not to."""
        if request.method in READING:
            return None
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        by_cookie = COOKIE in request.cookies and "authorization" not in request.headers
        if origin is not None and origin not in self._options.origins:
            return problem(403, "Origin: must be this service's own address.", "origin")
        if site is not None and site != "same-origin":
            return problem(403, "Sec-Fetch-Site: must be same-origin.", "origin")
        if by_cookie and origin is None and site is None:
            return problem(403, "Origin: must be given where a session's cookie is.", "origin")
        return None

    async def _token(self, request: Request) -> TokenRecord | None:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if not kind:
            secret = request.cookies.get(COOKIE, "")
        elif kind.lower() != "bearer":
            secret = ""
        return await self._callers.of(secret.strip()) if secret else None

    def _too_many(self, request: Request) -> Response | None:
        token = request.state.token
        who = f"token {token.id}" if token is not None else (request.client.host if request.client else "")
        wait = self._rates.wait(who)
        if wait <= 0:
            return None
        return problem(
            429, f"At most {self._rates.per_second:g} requests a second.", headers={"Retry-After": f"{1 + int(wait)}"}
        )

    def _most(self, request: Request) -> int:
        limits = self._options.limits
        is_upload = request.method == "PUT" and request.scope["path"].startswith("/api/v1/datasets/")
        return limits.upload_bytes if is_upload else limits.body_bytes

    def _too_large(self, request: Request) -> Response | None:
        length, most = request.headers.get("content-length", "0"), self._most(request)
        if length.isascii() and length.isdigit() and int(length) <= most:
            return None
        return too_large(most)


def role_for(method: str, path: str) -> Role:
    """The role that a request needs."""
    if path in ANYONE:
        return "read"
    for prefix, role in ROLES.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return role
    return "read" if method in READING else "launch"


@final
@dataclass(slots=True)
class Rates:
    """Requests that each caller has left; they come back with time (a token bucket)."""

    per_second: float
    burst: int
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait(self, who: str) -> float:
        """Seconds until this caller may ask again; 0 where it may now, which counts."""
        now = time.monotonic()
        if len(self._left) > 10_000:
            self._left.clear()
        left, then = self._left.get(who, (float(self.burst), now))
        left = min(self.burst, left + (now - then) * self.per_second)
        self._left[who] = (max(left - 1, 0.0), now) if left >= 1 else (left, now)
        return 0.0 if left >= 1 else (1 - left) / self.per_second


def too_large(most: int) -> Response:
    """The answer to a body that is larger than so many bytes."""
    return problem(413, f"The body must have at most {most:,} bytes.")


def _log_in(request: Request) -> Response:
    path = request.scope["path"]
    if request.headers.get("sec-fetch-site") == "cross-site" and request.headers.get("sec-fetch-mode") == "navigate":
        return _come_again(path)
    if path.startswith(API) or request.method not in READING or "text/html" not in request.headers.get("accept", ""):
        wanted = {"WWW-Authenticate": "Bearer"}
        return problem(401, "Give a valid token, as `Authorization: Bearer TOKEN`, or log in.", headers=wanted)
    return RedirectResponse(f"/login?next={quote(path)}", 303)


def _come_again(path: str) -> Response:
    """A link on another site was followed, and the session's cookie stayed behind; from here the browser sends it."""
    return HTMLResponse(f'<!doctype html><meta http-equiv="refresh" content="0;url={quote(path)}"><title>tuner</title>')


def _limited(receive: Receive, most: int) -> Receive:
    """The same body, which ends in an error where it grows larger than its length said."""
    seen = 0

    async def next_part() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413, f"The body must have at most {most:,} bytes.")
        return message

    return next_part


def _with_headers(send: Send, options: ServiceOptions) -> Send:
    """Adds the headers that tell browsers what a page may do; a route's own values stay."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if options.is_secure:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        await send(message)

    return answer
