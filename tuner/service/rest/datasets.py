"""Registered data: listed, looked at, uploaded, forgotten."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tuner.answers.inspection import Inspection
from tuner.answers.service import DatasetItem, DatasetList
from tuner.service.rest.answering import PREFIX, PROBLEMS, Caller, Uploading, answered

router = APIRouter(prefix=f"{PREFIX}/datasets", tags=["data"], responses=PROBLEMS)
DataName = Annotated[str, Path(description="The data's name.", max_length=64)]
Label = Annotated[str | None, Query(max_length=1000, description="A column that the model is never to see.")]
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("", response_model=DatasetList)
def list_data(uploads: Uploading) -> Response:
    """Every registered name."""
    return answered(uploads.all())


@router.get("/{name}", response_model=Inspection)
def inspect(name: DataName, uploads: Uploading, label: Label = None) -> Response:
    """What is in registered data, as `tuner inspect` says it."""
    return answered(uploads.inspect(name, label))


@router.get("/{name}/proposal", response_class=Response, responses={200: {"content": {"application/yaml": {}}}})
def proposal(
    name: DataName,
    uploads: Uploading,
    label: Label = None,
    study: Annotated[str | None, Query(max_length=100, description="The study's name. Default: the data's.")] = None,
    minutes: Annotated[float | None, Query(ge=0.1, le=1e6, description="How long it may take.")] = None,
) -> Response:
    """A space file for registered data, as `tuner init` writes it; it can be submitted as it is."""
    text = uploads.proposal(name, {"label": label, "name": study, "minutes": minutes})
    return Response(text, media_type="application/yaml")


@router.put("/{name}", response_model=DatasetItem, status_code=201, openapi_extra=_FILE)
async def upload(
    name: DataName,
    request: Request,
    uploads: Uploading,
    caller: Caller,
    kind: Annotated[str | None, Query(alias="type", max_length=10, description="csv, parquet, ...")] = None,
) -> Response:
    """Store a file below the data root, read it once, and register it by a new name."""
    room = uploads.receiving(name, kind)
    path = await run_in_threadpool(room.__enter__)
    try:
        with path.open("wb") as file:
            async for part in request.stream():
                await run_in_threadpool(file.write, part)
        return answered(await run_in_threadpool(uploads.register, name, path, caller.name), 201)
    finally:
        await run_in_threadpool(room.__exit__, None, None, None)


@router.delete("/{name}", status_code=204, response_class=Response)
def forget(name: DataName, uploads: Uploading, caller: Caller) -> Response:
    """Forget data that no study uses; an uploaded file goes with its name."""
    uploads.remove(name, caller.name)
    return Response(status_code=204)
