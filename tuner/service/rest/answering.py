"""What every route needs: the studies, who asks, the body, and how a typed answer is written."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Path, Query, Request
from starlette.responses import Response

from tuner.answers.base import Answer
from tuner.ledger.tokens import TokenRecord
from tuner.service.checking import Checker
from tuner.service.exports import Exports
from tuner.service.options import ServiceOptions
from tuner.service.studies import ServiceStudies
from tuner.service.uploads import Uploads

PREFIX: Final = "/api/v1"


def _studies(request: Request) -> ServiceStudies:
    found: ServiceStudies = request.app.state.studies
    return found


def _options(request: Request) -> ServiceOptions:
    found: ServiceOptions = request.app.state.options
    return found


def _checker(request: Request) -> Checker:
    found: Checker = request.app.state.checker
    return found


def _uploads(request: Request) -> Uploads:
    found: Uploads = request.app.state.uploads
    return found


def _exports(request: Request) -> Exports:
    found: Exports = request.app.state.exports
    return found


def _caller(request: Request) -> TokenRecord:
    found: TokenRecord = request.state.token
    return found


async def _body(request: Request) -> bytes:
    return await request.body()


Studies: TypeAlias = Annotated[ServiceStudies, Depends(_studies)]
Options: TypeAlias = Annotated[ServiceOptions, Depends(_options)]
Checking: TypeAlias = Annotated[Checker, Depends(_checker)]
Uploading: TypeAlias = Annotated[Uploads, Depends(_uploads)]
Exporting: TypeAlias = Annotated[Exports, Depends(_exports)]
Caller: TypeAlias = Annotated[TokenRecord, Depends(_caller)]
Body: TypeAlias = Annotated[bytes, Depends(_body)]
Name: TypeAlias = Annotated[str, Path(description="The study's name.", max_length=200)]
Offset: TypeAlias = Annotated[int, Query(ge=0, le=10_000_000, description="Leave so many out.")]
Most: TypeAlias = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]

_PROBLEM: Final[dict[str, Any]] = {
    "description": "A problem (RFC 9457): what was expected, and what came.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "object"}},
                },
            }
        }
    },
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {"4XX": _PROBLEM, "5XX": _PROBLEM}


def answered(answer: Answer, status: int = 200, **headers: str) -> Response:
    """A typed answer as JSON; numbers that JSON does not know are null."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(answer.model_dump_json(by_alias=True), status, named, "application/json")


def download(content: str | bytes, media_type: str, filename: str) -> Response:
    """Something to save under a name, which is letters, digits, dots, dashes and underscores."""
    return Response(content, 200, {"Content-Disposition": f'attachment; filename="{filename}"'}, media_type)
