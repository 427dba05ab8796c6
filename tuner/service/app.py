"""The ASGI application: one gate, then REST, pages and operations; stateless but for its stream of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

import tuner
from tuner.ledger.ledger import Ledger
from tuner.service import login, operations, problems
from tuner.service.bounded import Bounded
from tuner.service.checking import Checker
from tuner.service.declarations import Declarations
from tuner.service.exports import Exports
from tuner.service.feed import Feed
from tuner.service.options import ServiceOptions
from tuner.service.pages import routes as pages
from tuner.service.pages.reading import Views
from tuner.service.quota import DiskQuota
from tuner.service.rest import changes, datasets, files, studies, tokens, trials
from tuner.service.security import Gate
from tuner.service.shared import Shared
from tuner.service.studies import ServiceStudies
from tuner.service.uploads import Uploads, uploads_below

LOST_SECONDS: Final = 3.0  # a client would rather hear at once that the ledger is away


def make_app(options: ServiceOptions) -> FastAPI:
    """The service of a workspace. Its ledger is opened here and closed with the server.

    Raises:
        InputError: the options are not safe.
        LedgerError: the ledger cannot be opened or made.
    """
    places = options.checked().workspace
    ledger = Ledger.open(places.database, folder=places.folder, lost_seconds=LOST_SECONDS)
    app = FastAPI(
        title="autoencoder-tuner",
        version=tuner.__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    _equip(app, options, ledger)
    problems.add_to(app)
    for module in (login, operations, studies, trials, changes, files, datasets, tokens, pages):
        app.include_router(module.router)
    app.add_middleware(Shared, ledger=ledger)
    app.add_middleware(Gate, options=options, ledger=ledger)
    app.add_middleware(operations.Observed, requests=app.state.requests)  # the last one added is the first one asked
    return app


def _equip(app: FastAPI, options: ServiceOptions, ledger: Ledger) -> None:
    """What the routes use, as the application's state."""
    limits, state = options.limits, app.state
    declarations = Declarations(ledger.datasets, options.with_sklearn, limits)
    bounded = Bounded(limits.helper_seconds, limits.helper_bytes)
    writing = Bounded(limits.export_seconds, limits.helper_bytes)
    state.options, state.requests = options, operations.Requests()
    quota = DiskQuota([options.workspace.work, *uploads_below(options.workspace)], limits.disk_bytes)
    state.studies = ServiceStudies(options.workspace, ledger, declarations, options.mlflow_url, limits.studies, quota)
    state.feed = Feed(state.studies)
    state.views = Views(state.studies, options)
    state.checker = Checker(declarations, bounded, options.workspace.data_root)
    state.uploads = Uploads(state.studies, bounded)
    state.exports = Exports(state.studies, bounded, writing, limits.score_rows)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        app.state.feed.close()
        app.state.exports.close()
        app.state.studies.ledger.close()
