"""The pages of studies. Forms are answered by a redirect, mistakes by the same page with what was wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tuner.answers.service import StudyItem
from tuner.errors import InputError, UnknownStudyError
from tuner.service.login import Fields
from tuner.service.pages import live
from tuner.service.pages.asking import PageRoute, numbers, viewer_of
from tuner.service.pages.frame import Notice
from tuner.service.pages.listing import listing, listing_page
from tuner.service.pages.reading import Views
from tuner.service.pages.study import study_page, study_parts
from tuner.service.rest.answering import Studies
from tuner.service.studies import ServiceStudies

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
def studies_page(request: Request, studies: Studies, archived: str = "") -> HTMLResponse:
    """All studies."""
    return HTMLResponse(listing_page(studies.all(), viewer_of(request), bool(archived)))


@router.get("/live", response_class=EventSourceResponse)
async def studies_live(request: Request, studies: Studies, archived: str = "") -> AsyncIterator[ServerSentEvent]:
    """The list as it changes."""
    changes = request.app.state.feed.changes()
    async for each in live.streamed(changes, lambda: listing(studies.all(), bool(archived))):
        yield each


@router.get("/studies/{name}")
def study(request: Request, name: str) -> HTMLResponse:
    """One study."""
    return HTMLResponse(study_page(_views(request).view(name), viewer_of(request)))


@router.get("/studies/{name}/live", response_class=EventSourceResponse)
async def study_live(request: Request, name: str) -> AsyncIterator[ServerSentEvent]:
    """One study as it changes."""
    views, viewer = _views(request), viewer_of(request)
    changes = request.app.state.feed.changes(name)
    async for each in live.streamed(changes, lambda: study_parts(views.view(name, is_live=True), viewer)):
        yield each


@router.post("/studies/{name}/continue")
def go_on(request: Request, name: str, given: Fields) -> Response:
    """Let a study go on, to a larger number of trials where another one is given than it has."""

    def act(studies: ServiceStudies, actor: str) -> StudyItem:
        trials = numbers(given, "trials")
        return studies.want(name, "run", actor, None if trials == studies.item(name).total else trials)

    return _changed(request, name, act)


@router.post("/studies/{name}/stop")
def stop(request: Request, name: str) -> Response:
    """Stop a study; what is recorded stays."""
    return _changed(request, name, lambda studies, actor: studies.want(name, "stop", actor))


@router.post("/studies/{name}/archive")
def archive(request: Request, name: str) -> Response:
    """Put a study out of the way."""
    return _changed(request, name, lambda studies, actor: studies.want(name, "archived", actor))


@router.post("/studies/{name}/restore")
def restore(request: Request, name: str) -> Response:
    """Bring an archived study back."""
    return _changed(request, name, lambda studies, actor: studies.unarchive(name, actor))


def _changed(request: Request, name: str, act: Callable[[ServiceStudies, str], StudyItem]) -> Response:
    """Do it and show the study; where it is refused, with the reason."""
    try:
        act(request.app.state.studies, request.state.token.name)
    except UnknownStudyError:
        raise
    except InputError as error:
        notice = Notice(str(error), is_bad=True)
        return HTMLResponse(study_page(_views(request).view(name), viewer_of(request), notice), 422)
    return RedirectResponse(f"/studies/{quote(name, safe='')}", 303)


def _views(request: Request) -> Views:
    found: Views = request.app.state.views
    return found
