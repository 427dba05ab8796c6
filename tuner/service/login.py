"""Log in, which exchanges a token or a one-time link for a session's cookie, and log out."""

from __future__ import annotations

import json
from typing import Annotated, Final
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from tuner.ledger.tokens import SESSION_SECONDS, TokenRecord
from tuner.service.problems import problem
from tuner.service.security import COOKIE

router = APIRouter(include_in_schema=False)
MOST_FIELDS: Final = 1000


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form, or of a JSON object; of those that are given twice the last."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            found = json.loads((await request.body()).decode("utf-8", "replace"))
        except ValueError:
            return {}
        return {key: each for key, each in found.items() if isinstance(each, str)} if isinstance(found, dict) else {}
    return {key: values[-1] for key, values in (await values_of(request)).items()}


async def values_of(request: Request) -> dict[str, list[str]]:
    """All values of each field of a form, in its order."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(422, f"A form must have at most {MOST_FIELDS:,} fields.") from None


Fields = Annotated[dict[str, str], Depends(fields)]
FieldValues = Annotated[dict[str, list[str]], Depends(values_of)]


@router.post("/login")
def log_in(request: Request, given: Fields) -> Response:
    """A session for a token's or a one-time link's secret, and the page that was asked for before."""
    made = request.app.state.studies.ledger.tokens.log_in(given.get("token", "").strip())
    after = _local(given.get("next", "/"))
    is_form = not request.headers.get("content-type", "").startswith("application/json")
    if made is None and is_form:
        return RedirectResponse(f"/login?{urlencode({'failed': '1', 'next': after})}", 303)
    if made is None:
        return problem(401, "The token is not valid: unknown, expired, revoked, or a link that was used.")
    secret, record = made
    answer = RedirectResponse(after, 303) if is_form else Response(status_code=204)
    _set_cookie(request, answer, secret, record)
    return answer


@router.post("/logout")
def log_out(request: Request) -> Response:
    """End the session."""
    token: TokenRecord = request.state.token
    if token.kind == "session":
        request.app.state.studies.ledger.tokens.revoke(token.id, token.name)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def _set_cookie(request: Request, answer: Response, secret: str, record: TokenRecord) -> None:
    seconds = int(min(SESSION_SECONDS, record.expires_at - record.created_at))
    is_secure = request.app.state.options.is_secure
    answer.set_cookie(COOKIE, secret, seconds, path="/", secure=is_secure, httponly=True, samesite="strict")


def _local(path: str) -> str:
    """A path of this service, whatever was asked for."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_path else "/"
