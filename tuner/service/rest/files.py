"""What is taken away of a study: its export, best configuration and report, and scores of new rows."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, HTMLResponse, Response

from tuner.answers.service import Scored
from tuner.service.rest.answering import PREFIX, PROBLEMS, Body, Exporting, Name, answered, download

router = APIRouter(prefix=PREFIX, tags=["files"], responses=PROBLEMS)
# A report has its own script and pictures. Sandboxed, it is of no site: it reaches no cookie and no network.
REPORT_POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
_ROWS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "array", "items": {"type": ["object", "array"]}}},
        },
    }
}


@router.get("/studies/{name}/export.zip", response_class=Response,
            responses={200: {"content": {"application/zip": {}}}})  # fmt: skip
def export(name: Name, exports: Exporting) -> Response:
    """The study's export as `tuner export` writes it, zipped; `Repr-Digest` has its SHA-256."""
    room = exports.new_room()
    try:
        made = exports.zipped(name, room)
        headers = {"Repr-Digest": f"sha-256=:{_digest(made)}:"}
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        raise
    done = BackgroundTask(shutil.rmtree, room, ignore_errors=True)
    return FileResponse(made, headers=headers, media_type="application/zip", filename=made.name, background=done)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return base64.b64encode(hashlib.file_digest(content, "sha256").digest()).decode()


@router.get("/studies/{name}/config.yaml", response_class=Response,
            responses={200: {"content": {"application/yaml": {}}}})  # fmt: skip
def configuration(name: Name, exports: Exporting) -> Response:
    """The best configuration, as `tuner run` and `tuner train` take it."""
    return download(exports.configuration(name), "application/yaml", f"{name}-best.yaml")


@router.get("/studies/{name}/report", response_class=HTMLResponse)
def report(name: Name, exports: Exporting) -> Response:
    """The study's report, one page that needs no network."""
    return HTMLResponse(exports.report(name), headers={"Content-Security-Policy": REPORT_POLICY})


@router.post("/studies/{name}/score", response_model=Scored, openapi_extra=_ROWS)
def score(name: Name, request: Request, body: Body, exports: Exporting) -> Response:
    """Scores and codes of new rows, a CSV file or a JSON list, by the model of a finished study."""
    is_json = request.headers.get("content-type", "").lower().startswith("application/json")
    return answered(exports.score(name, body, "json" if is_json else "csv"))
