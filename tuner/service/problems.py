"""Errors as RFC 9457 problems: the sentence that the command line prints, and a status."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tuner.errors import (
    DataError,
    DeviceError,
    ExportError,
    HelperError,
    InputError,
    LedgerError,
    QuotaError,
    SpecError,
    StorageError,
    StudyError,
    TrackingError,
    TunerError,
    UnknownDataError,
    UnknownStudyError,
    sentence,
)
from tuner.masks import without_secrets
from tuner.service.declarations import mistakes

MEDIA_TYPE: Final = "application/problem+json"
log = logging.getLogger(__name__)

# The first that an error is an instance of; the type's last part is what clients tell errors by.
_KINDS: Final[Sequence[tuple[type[TunerError], int, str, str]]] = (
    (SpecError, 422, "spec", "The space file has mistakes"),
    (UnknownStudyError, 404, "unknown-study", "There is no such study"),
    (UnknownDataError, 404, "unknown-data", "There is no such data"),
    (QuotaError, 409, "quota", "The disk quota is used up"),
    (StudyError, 409, "study", "The study does not allow it"),
    (DataError, 422, "data", "The data cannot be used"),
    (DeviceError, 422, "device", "The device is not there"),
    (InputError, 422, "input", "The request has a mistake"),
    (LedgerError, 503, "ledger", "The ledger cannot be used now"),
    (StorageError, 503, "storage", "The service's folder cannot be written"),
    (TrackingError, 503, "tracking", "MLflow cannot be reached"),
    (ExportError, 409, "export", "The study cannot be exported"),
    (HelperError, 503, "helper", "A process of the service ended early"),
    (TunerError, 500, "failed", "It failed"),
)
_TITLES: Final = {
    400: ("request", "The request cannot be read"),
    401: ("token", "A valid token is needed"),
    403: ("forbidden", "That is not allowed"),
    404: ("not-found", "There is nothing here"),
    405: ("method", "The method is not known here"),
    413: ("too-large", "The body is too large"),
    415: ("media-type", "The media type is not read here"),
    421: ("host", "The host is not this service"),
    422: ("input", "The request has a mistake"),
    429: ("too-many", "Too many requests"),
}


def problem(
    status: int,
    detail: str,
    kind: str | None = None,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem as a response; `more` are members of its own."""
    known = _TITLES.get(status, ("failed", "It failed"))
    body = {
        "type": f"urn:tuner:{kind or known[0]}",
        "title": title or known[1],
        "status": status,
        "detail": without_secrets(detail),
        **more,
    }
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def of_error(error: TunerError) -> Response:
    """What a client gets for an error that a user can meet."""
    _, status, kind, title = next(each for each in _KINDS if isinstance(error, each[0]))
    more: dict[str, Any] = {}
    if isinstance(error, SpecError):
        more["errors"] = [each.model_dump() for each in mistakes(error.problems)]
    return problem(status, str(error), kind, title, {"Retry-After": "2"} if status == 503 else None, **more)


def add_to(app: FastAPI) -> None:
    """Let every error of the application be a problem."""
    app.add_exception_handler(TunerError, _tuner_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unexpected)


def _tuner_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, TunerError)
    return of_error(error)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: f"{request.url.path}: there is nothing here.", 405: f"{request.method}: not known here."}
    return problem(error.status_code, said.get(error.status_code, str(error.detail)), headers=error.headers)


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}" for each in error.errors()]
    return problem(422, sentence("; ".join(said)))


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "The service met a mistake of its own; its log says more.")
