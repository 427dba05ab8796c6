"""The pages of studies. Forms are answered by a redirect, mistakes by the same page with what was wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tuner.answers.service import StudyItem
from tuner.errors import InputError, UnknownStudyError
from tuner.service.login import Fields, FieldValues
from tuner.service.pages import live
from tuner.service.pages.about import described
from tuner.service.pages.asking import PageRoute, numbers, viewer_of
from tuner.service.pages.frame import Notice
from tuner.service.pages.listing import OF_ARCHIVE, deletion_page, listing, listing_page
from tuner.service.pages.reading import Views
from tuner.service.pages.study import study_page, study_parts
from tuner.service.rest.answering import Caller, Studies
from tuner.service.rest.changes import ACTIONS, done_to_many
from tuner.service.studies import ServiceStudies

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
def studies_page(request: Request, studies: Studies, archived: str = "") -> HTMLResponse:
    """All studies."""
    return HTMLResponse(listing_page(studies.all(), viewer_of(request), bool(archived)))


@router.get("/live", response_class=EventSourceResponse)
async def studies_live(request: Request, studies: Studies, archived: str = "") -> AsyncIterator[ServerSentEvent]:
    """The list as it changes."""
    viewer = viewer_of(request)
    changes = request.app.state.feed.changes()
    async for each in live.streamed(changes, lambda: listing(studies.all(), viewer, bool(archived))):
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


@router.post("/studies/{name}/about")
def about(request: Request, name: str, given: Fields) -> Response:
    """Give a study another name, another note and other tags; what is refused leaves all of them."""
    return _changed(request, name, lambda studies, actor: described(studies, name, given, actor), given)


@router.post("/bulk")
def bulk(request: Request, studies: Studies, caller: Caller, given: FieldValues) -> Response:
    """Do the same to all studies that were chosen; before they are deleted it is asked once more."""
    action, names = given.get("action", [""])[-1], given.get("name", [])
    archived = action in {each for each, _, _ in OF_ARCHIVE}
    if action == "delete" and names and "sure" not in given:
        return HTMLResponse(deletion_page(names, viewer_of(request)))
    if action not in ACTIONS or not names:
        wrong = "Choose at least one study first." if action in ACTIONS else f"There is no action {action[:40]}."
    else:
        answer = done_to_many(studies, action, names, caller.name)
        wrong = " ".join(each.message for each in answer.refused)
    if not wrong:
        return RedirectResponse("/?archived=1" if archived else "/", 303)
    notice = Notice(wrong, is_bad=True)
    return HTMLResponse(listing_page(studies.all(), viewer_of(request), archived, notice), 422)


def _changed(
    request: Request,
    name: str,
    act: Callable[[ServiceStudies, str], StudyItem],
    given: Mapping[str, str] | None = None,
) -> Response:
    """Do it and show the study; where it is refused, with the reason, and with what was written into its form."""
    try:
        item = act(request.app.state.studies, request.state.token.name)
    except UnknownStudyError:
        raise
    except InputError as error:
        notice = Notice(str(error), is_bad=True)
        return HTMLResponse(study_page(_views(request).view(name), viewer_of(request), notice, given), 422)
    return RedirectResponse(f"/studies/{quote(item.name, safe='')}", 303)


def _views(request: Request) -> Views:
    found: Views = request.app.state.views
    return found
