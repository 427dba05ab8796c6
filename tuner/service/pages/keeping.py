"""The pages of those who keep the service: tokens and data sets."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tuner.answers.service import TokenItem
from tuner.errors import InputError
from tuner.service.login import Fields
from tuner.service.options import ServiceOptions
from tuner.service.pages.asking import PageRoute, numbers, viewer_of
from tuner.service.pages.datasets import datasets_page
from tuner.service.pages.frame import Notice
from tuner.service.pages.tokens import tokens_page
from tuner.service.rest.answering import Caller, Options, Studies, Uploading
from tuner.service.rest.tokens import token_item
from tuner.service.studies import ServiceStudies
from tuner.service.uploads import dataset_items

router = APIRouter(include_in_schema=False, route_class=PageRoute)
DAY = 86400.0


@router.get("/tokens")
def tokens(request: Request, studies: Studies) -> HTMLResponse:
    """All tokens."""
    return HTMLResponse(tokens_page(_tokens(studies), viewer_of(request)))


@router.post("/tokens")
def new_token(request: Request, studies: Studies, caller: Caller, given: Fields) -> HTMLResponse:
    """Make a token; its secret is in this answer and nowhere else, so that it is not answered by a redirect."""
    try:
        days = numbers(given, "days") or 0
        made = studies.ledger.tokens.new(given.get("name", "")[:100], given.get("role", ""), days * DAY, caller.name)  # type: ignore[arg-type]  # checked there
    except InputError as error:
        notice = Notice(str(error), is_bad=True)
        return HTMLResponse(tokens_page(_tokens(studies), viewer_of(request), notice=notice), 422)
    return HTMLResponse(tokens_page(_tokens(studies), viewer_of(request), made[0]), 201)


@router.post("/tokens/{number}/revoke")
def revoke(number: int, studies: Studies, caller: Caller) -> Response:
    """Let a token count no longer."""
    studies.ledger.tokens.revoke(number, caller.name)
    return RedirectResponse("/tokens", 303)


@router.get("/datasets")
def datasets(request: Request, studies: Studies, options: Options) -> HTMLResponse:
    """All registered data."""
    return HTMLResponse(datasets_page(dataset_items(studies), viewer_of(request), _most(options)))


@router.post("/datasets/{name}/remove")
def remove(name: str, uploads: Uploading, caller: Caller) -> Response:
    """Forget data that no study uses; an uploaded file goes with its name."""
    uploads.remove(name, caller.name)
    return RedirectResponse("/datasets", 303)


def _most(options: ServiceOptions) -> int | None:
    """Bytes of an upload; None where there is no place for one."""
    return None if options.workspace.data_root is None else options.limits.upload_bytes


def _tokens(studies: ServiceStudies) -> list[TokenItem]:
    return [token_item(each) for each in studies.ledger.tokens.all()]
