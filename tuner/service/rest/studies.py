"""Studies: submit, check, list and look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from tuner.answers.service import Checked, ServiceState, StudyDetail, StudyItem, StudyPage
from tuner.ledger.submissions import ExecutorName
from tuner.service.rest.answering import (
    PREFIX,
    PROBLEMS,
    Body,
    Caller,
    Checking,
    Most,
    Name,
    Offset,
    Studies,
    answered,
)
from tuner.service.rest.bodies import SPACE_BODY, space_text

router = APIRouter(prefix=PREFIX, tags=["studies"], responses=PROBLEMS)
Sort = Literal["-created", "created", "name", "-name", "best", "-best", "state", "-state"]
_KEYS: Final[dict[str, Callable[[StudyItem], Any]]] = {
    "created": lambda item: item.created_at,
    "name": lambda item: item.name,
    "best": lambda item: (item.best is None, item.best or 0.0),
    "state": lambda item: (item.state, item.name),
}


@router.get("/studies", response_model=StudyPage)
def list_studies(
    studies: Studies,
    state: Annotated[list[ServiceState] | None, Query(description="Only these states; may be repeated.")] = None,
    q: Annotated[str, Query(max_length=200, description="Only with this in the name, the note or a tag.")] = "",
    sort: Annotated[Sort, Query(description="By what, and `-` for the largest first.")] = "-created",
    offset: Offset = 0,
    limit: Most = 100,
) -> Response:
    """Studies, by default the newest first; archived ones only where they are asked for."""
    found = [item for item in studies.all() if _fits(item, state, q.casefold())]
    found.sort(key=_KEYS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return answered(StudyPage(studies=tuple(found[offset : offset + limit]), total=len(found)))


def _fits(item: StudyItem, states: list[ServiceState] | None, text: str) -> bool:
    is_shown = item.state in states if states else item.state != "archived"
    return is_shown and any(text in each.casefold() for each in (item.name, item.note, *item.tags))


@router.post("/studies", response_model=StudyItem, status_code=201, openapi_extra=SPACE_BODY,
             responses={200: {"model": StudyItem, "description": "The same was handed in before."}})  # fmt: skip
def submit(  # noqa: PLR0913, PLR0917 - what FastAPI reads of a request
    request: Request,
    body: Body,
    studies: Studies,
    caller: Caller,
    idempotency_key: Annotated[str | None, Header(max_length=200, description="The sender's name for this.")] = None,
    warm_start: Annotated[str | None, Query(max_length=200, description="Begin with the best of this study.")] = None,
    executor: Annotated[
        ExecutorName | None,
        Query(description="Train on the service's machine or on its Ray cluster, where the operator offers both."),
    ] = None,
) -> Response:
    """Hand a space file in; it waits for a slot. The same declaration again is the same study."""
    item, is_new = studies.submit(space_text(request, body), caller.name, idempotency_key, warm_start, executor)
    return answered(item, 201 if is_new else 200, Location=f"{PREFIX}/studies/{item.name}")


@router.post("/check", response_model=Checked, openapi_extra=SPACE_BODY)
def check(
    request: Request,
    body: Body,
    checking: Checking,
    data: Annotated[bool, Query(description="Also read the data, and estimate the cost.")] = True,
) -> Response:
    """Check a space file, and estimate what it would cost; nothing is launched."""
    return answered(checking.check(space_text(request, body), with_data=data))


@router.get("/studies/{name}", response_model=StudyDetail)
def show(name: Name, studies: Studies) -> Response:
    """One study, with its declaration and answer."""
    return answered(studies.detail(name))


@router.get("/studies/{name}/progress", response_model=StudyItem)
def progress(name: Name, studies: Studies) -> Response:
    """How far a study has come."""
    return answered(studies.item(name))


@router.get("/studies/{name}/space.yaml", response_class=Response)
def space(name: Name, studies: Studies) -> Response:
    """A study's space file, as it was handed in or as it is recorded."""
    return Response(studies.text(name), media_type="application/yaml")
