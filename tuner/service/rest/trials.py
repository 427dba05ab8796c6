"""A study's trials, their curves, and what happens to it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import Response, StreamingResponse

from tuner.answers.service import CurveItem, CurveList, TrialItem, TrialPage
from tuner.errors import InputError
from tuner.ledger.records import TrialRecord
from tuner.service.feed import Feed
from tuner.service.rest.answering import (
    PREFIX,
    PROBLEMS,
    Exporting,
    Most,
    Name,
    Offset,
    Studies,
    answered,
    download,
)
from tuner.service.studies import ServiceStudies

router = APIRouter(prefix=PREFIX, tags=["trials"], responses=PROBLEMS)
MOST_CURVES: Final = 200
STREAM_SECONDS: Final = 600.0  # then a client comes again, and its token is looked at again
STREAM_TYPE: Final = "text/event-stream"
STREAM: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "A stream.", "content": {STREAM_TYPE: {}}}}
Format = Literal["json", "csv", "parquet"]
State = Literal["running", "complete", "pruned", "failed", "infeasible"]
_FORMATS: Final[dict[str, Format]] = {"text/csv": "csv", "application/vnd.apache.parquet": "parquet"}
_KEYS: Final[dict[str, Callable[[TrialItem], Any]]] = {
    "number": lambda trial: trial.number,
    "value": lambda trial: (trial.value is None, trial.value or 0.0, trial.number),
    "epochs": lambda trial: (trial.epochs, trial.number),
}


@router.get("/studies/{name}/trials", response_model=TrialPage,
            responses={200: {"content": {"text/csv": {}, "application/vnd.apache.parquet": {}}}})  # fmt: skip
def trials(  # noqa: PLR0913, PLR0917 - the query
    name: Name,
    studies: Studies,
    exports: Exporting,
    accept: Annotated[str, Header()] = "",
    form: Annotated[Format | None, Query(alias="format", description="Else what `Accept` says.")] = None,
    times: Annotated[bool, Query(description="Add the times to a whole table.")] = False,
    state: Annotated[list[State] | None, Query(description="Only these states; may be repeated.")] = None,
    sort: Literal["number", "-number", "value", "-value", "epochs", "-epochs"] = "number",
    offset: Offset = 0,
    limit: Most = 100,
) -> Response:
    """A page of trials as JSON, or the whole table as CSV or Parquet."""
    form = form or _FORMATS.get(accept.partition(";")[0].strip(), "json")
    if form == "csv":
        study = studies.recorded(name)
        return download("" if study is None else study.csv(times), "text/csv; charset=utf-8", f"{name}.csv")
    if form == "parquet":
        return download(exports.parquet(name, times), "application/vnd.apache.parquet", f"{name}.parquet")
    found = [trial for trial in trial_items(studies, name) if state is None or trial.state in state]
    found.sort(key=_KEYS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return answered(TrialPage(trials=tuple(found[offset : offset + limit]), total=len(found)))


def trial_items(studies: ServiceStudies, name: str) -> list[TrialItem]:
    """A study's trials by number; none before it is recorded.

    Raises:
        UnknownStudyError: there is none of that name.
    """
    record = studies.record(name)
    return [] if record is None else [_item(trial) for trial in studies.ledger.trials(record.id)]


def _item(trial: TrialRecord) -> TrialItem:
    started, ended = trial.started_at, trial.ended_at
    return TrialItem(
        number=trial.number,
        state=str(trial.state),
        value=trial.value,
        best_epoch=trial.best_epoch,
        epochs=trial.epochs,
        params=trial.shown,
        reason=trial.reason,
        measures=dict(trial.measures),
        seconds=None if started is None or ended is None else ended - started,
    )


@router.get("/studies/{name}/curves", response_model=CurveList)
def curves(
    name: Name,
    studies: Studies,
    trials: Annotated[str, Query(max_length=4000, description="Numbers, separated by commas. Default: the best.")] = "",
) -> Response:
    """Losses by epoch of some trials, by default of the twenty best."""
    return answered(CurveList(curves=tuple(curve_items(studies, name, _numbers(trials)))))


def curve_items(studies: ServiceStudies, name: str, numbers: list[int] | None) -> list[CurveItem]:
    """Curves by the trial's number; without numbers those of the twenty best trials.

    Raises:
        UnknownStudyError: there is none of that name.
    """
    record = studies.record(name)
    if record is None:
        return []
    if numbers is None:
        best = sorted(trial_items(studies, name), key=_KEYS["value"])
        numbers = [trial.number for trial in best[:20]]
    found = studies.ledger.curves(record.id, numbers)
    return [
        CurveItem(
            number=number,
            epochs=tuple(range(curve.first + 1, curve.last + 1)),
            before=curve.before,
            train=tuple(curve.train_loss),
            validation=tuple(curve.val_loss),
        )
        for number, curve in sorted(found.items())
    ]


def _numbers(text: str) -> list[int] | None:
    """Numbers separated by commas; None where there are none.

    Raises:
        InputError: one is none, or they are too many.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if any(not (word.isascii() and word.isdigit() and len(word) < 10) for word in words):
        raise InputError(f"trials: must be numbers separated by commas, got {text[:100]}.")
    if len(words) > MOST_CURVES:
        raise InputError(f"trials: must be at most {MOST_CURVES}, got {len(words)}.")
    return [int(word) for word in words] or None


def _there(name: Name, studies: Studies) -> str:
    """The study's name, once it is known that there is one: a stream that has begun can refuse nothing."""
    studies.record(name)
    return name


@router.get("/studies/{name}/events", response_class=StreamingResponse, responses=STREAM)
def events(
    name: Annotated[str, Depends(_there)], request: Request, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """What happens to a study, as it happens: `event` with the ledger's, `study` with how far it has come, `gone`.

    Events carry their number as id; a client that comes again with `Last-Event-ID` misses none.
    """
    return _streamed(request.app.state.feed, name, last_event_id)


@router.get("/events", response_class=StreamingResponse, responses=STREAM)
def all_events(request: Request, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
    """The same of every study."""
    return _streamed(request.app.state.feed, None, last_event_id)


def _streamed(feed: Feed, name: str | None, last_event_id: str | None) -> StreamingResponse:
    # By the framework's own stream each event would pass three tasks for each listener; here all that is new is one
    # write. Proxies must not gather it.
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(sent(feed, name, last_event_id), headers=headers, media_type=STREAM_TYPE)


async def sent(feed: Feed, name: str | None, last_event_id: str | None) -> AsyncGenerator[bytes]:
    """The feed's changes as server-sent events, and a comment where there are none, so that no proxy hangs up."""
    given = last_event_id or ""
    last = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
    until = time.monotonic() + STREAM_SECONDS
    async with aclosing(feed.batches(name, last)) as batches:
        async for batch in batches:
            yield b"".join(change.sent for change in batch) or KEEPALIVE_COMMENT
            if time.monotonic() > until:
                return
