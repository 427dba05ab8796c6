"""What changes studies: they are written down as wanted, and the supervisor sees to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from tuner.answers.service import BulkAnswer, Refusal, StudyItem
from tuner.errors import InputError
from tuner.ledger.notes import Note
from tuner.service.rest.answering import PREFIX, PROBLEMS, Caller, Name, Studies, answered
from tuner.service.rest.bodies import Budget, Bulk, Clone, NewName, NoteText
from tuner.service.studies import ServiceStudies

router = APIRouter(prefix=PREFIX, tags=["changes"], responses=PROBLEMS)
_Action = Callable[[ServiceStudies, str, str], Any]
ACTIONS: Final[dict[str, _Action]] = {
    "run": lambda studies, name, actor: studies.want(name, "run", actor),
    "stop": lambda studies, name, actor: studies.want(name, "stop", actor),
    "archive": lambda studies, name, actor: studies.want(name, "archived", actor),
    "unarchive": lambda studies, name, actor: studies.unarchive(name, actor),
    "retry": lambda studies, name, actor: studies.retry(name, actor),
    "delete": lambda studies, name, actor: studies.delete(name, actor),
}


@router.post("/studies/{name}/stop", response_model=StudyItem, status_code=202)
def stop(name: Name, studies: Studies, caller: Caller) -> Response:
    """Stop a study; what is recorded stays, and it can be continued."""
    return answered(studies.want(name, "stop", caller.name), 202)


@router.post("/studies/{name}/continue", response_model=StudyItem, status_code=202)
def go_on(name: Name, studies: Studies, caller: Caller, budget: Budget | None = None) -> Response:
    """Continue a study, with a larger budget where one is given."""
    more = budget or Budget()
    return answered(studies.want(name, "run", caller.name, more.trials, more.timeout), 202)


@router.post("/studies/{name}/retry", response_model=StudyItem, status_code=202)
def retry(name: Name, studies: Studies, caller: Caller) -> Response:
    """Let a study that failed run again."""
    return answered(studies.retry(name, caller.name), 202)


@router.post("/studies/{name}/archive", response_model=StudyItem, status_code=202)
def archive(name: Name, studies: Studies, caller: Caller) -> Response:
    """Put a study out of the way; where it runs it is stopped."""
    return answered(studies.want(name, "archived", caller.name), 202)


@router.post("/studies/{name}/unarchive", response_model=StudyItem)
def unarchive(name: Name, studies: Studies, caller: Caller) -> Response:
    """Bring an archived study back; it does not run."""
    return answered(studies.unarchive(name, caller.name))


@router.post("/studies/{name}/clone", response_model=StudyItem, status_code=201)
def clone(name: Name, asked: Clone, studies: Studies, caller: Caller) -> Response:
    """Hand a study's declaration in under another name, with changes."""
    item = studies.clone(name, asked.name, asked.changes, caller.name)
    return answered(item, 201, Location=f"{PREFIX}/studies/{item.name}")


@router.post("/studies/{name}/rename", response_model=StudyItem)
def rename(name: Name, asked: NewName, studies: Studies, caller: Caller) -> Response:
    """Give a study that does not run another name."""
    return answered(studies.rename(name, asked.name, caller.name))


@router.put("/studies/{name}/note", response_model=StudyItem)
def annotate(name: Name, asked: NoteText, studies: Studies, caller: Caller) -> Response:
    """Replace a study's note and tags."""
    tags = tuple(dict.fromkeys(asked.tags))
    return answered(studies.annotate(name, Note(asked.text, tags), caller.name))


@router.delete("/studies/{name}", status_code=204, response_class=Response)
def delete(name: Name, studies: Studies, caller: Caller) -> Response:
    """Remove an archived study, with all that is recorded of it and its files."""
    studies.delete(name, caller.name)
    return Response(status_code=204)


@router.post("/bulk", response_model=BulkAnswer)
def bulk(asked: Bulk, studies: Studies, caller: Caller) -> Response:
    """Do the same to many studies; one that refuses holds up no other."""
    return answered(done_to_many(studies, asked.action, asked.names, caller.name))


def done_to_many(studies: ServiceStudies, action: str, names: Sequence[str], actor: str) -> BulkAnswer:
    """Do one of `ACTIONS` to each study, and say which refused."""
    done: list[str] = []
    refused: list[Refusal] = []
    for name in dict.fromkeys(names):
        try:
            ACTIONS[action](studies, name, actor)
            done.append(name)
        except InputError as error:
            refused.append(Refusal(name=name, message=str(error)))
    return BulkAnswer(done=tuple(done), refused=tuple(refused))
