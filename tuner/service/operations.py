"""For those who operate the service: is it well, what does it do, and a line in the log for each request."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, final, get_args

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.answers.service import ServiceState, StudyItem
from tuner.errors import LedgerError
from tuner.service.rest.answering import Studies
from tuner.spec.work import TrialState

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
NO_ROUTE: Final = "none"  # refused before a route was looked for, or there is none
QUIET: Final = frozenset({"/healthz", "/metrics"})  # asked for every few seconds, by machines
router = APIRouter(include_in_schema=False)
log = logging.getLogger("tuner.service.requests")


@dataclass(frozen=True, slots=True)
class _Metric:
    """One metric of Prometheus's text format; each sample has labels and a value."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]

    def lines(self) -> Iterator[str]:
        """As Prometheus reads it."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{self.name}{f'{{{inside}}}' if inside else ''} {value:.15g}"


@final
@dataclass(slots=True)
class Requests:
    """Counts of the requests that this process has answered, by method, route and status."""

    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: Lock = field(default_factory=Lock)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one; the seconds are those to the beginning of its answer."""
        with self._lock:
            self.counts[method, route, status] += 1
            self.seconds[route] += seconds

    def metrics(self) -> Iterator[_Metric]:
        """In the text format of Prometheus."""
        with self._lock:
            counts, seconds = dict(self.counts), dict(self.seconds)
        named = [
            ({"method": method, "route": route, "status": str(status)}, float(count))
            for (method, route, status), count in sorted(counts.items())
        ]
        yield _Metric("tuner_http_requests_total", "counter", "Requests answered.", named)
        times = [({"route": route}, spent) for route, spent in sorted(seconds.items())]
        yield _Metric("tuner_http_seconds_total", "counter", "Seconds until answers began, in sum.", times)


@final
class Observed:
    """ASGI middleware, the outermost: counts every request, also those that are refused, and logs it.

    A route is named as it is declared, never as it was asked for: what clients write is no label, and no log line.
    """

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, int(message["status"]), time.monotonic() - began)
            await send(message)

        await self._app(scope, receive, observed)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        method = scope["method"] if scope["method"].isalpha() else "?"
        self._requests.add(method, route, status, seconds)
        if route in QUIET and status < 400:
            return
        token = scope.get("state", {}).get("token")
        about = {
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "actor": None if token is None else token.name,
            "study": scope.get("path_params", {}).get("name") if "/studies/" in route else None,
        }
        log.log(logging.WARNING if status >= 500 else logging.INFO, "answered", extra=about)


@router.get("/healthz")
def healthz(studies: Studies) -> Response:
    """Whether the ledger answers; 503 where it does not. Says as well whether a supervisor is there."""
    try:
        supervisor = studies.ledger.supervision.holder()
    except LedgerError:
        return _json({"status": "the ledger does not answer"}, 503)
    return _json({"status": "ok", "supervisor": supervisor is not None}, 200)


@router.get("/metrics")
def metrics(request: Request, studies: Studies) -> Response:
    """What Prometheus reads; it needs a token of the role `read`."""
    asked: Requests = request.app.state.requests
    found = [*_of_studies(studies.all()), *asked.metrics()]
    found.append(
        _Metric(
            "tuner_outbox_waiting",
            "gauge",
            "Records that MLflow does not show yet.",
            [({}, float(studies.ledger.outbox.waiting_count()))],
        )
    )
    supervised = float(studies.ledger.supervision.holder() is not None)
    found.append(_Metric("tuner_supervisor_up", "gauge", "Whether a supervisor is there.", [({}, supervised)]))
    return Response("".join(f"{line}\n" for each in found for line in each.lines()), media_type=METRICS_TYPE)


def _of_studies(items: list[StudyItem]) -> Iterator[_Metric]:
    by_state = Counter(item.state for item in items)
    states = [({"state": state}, float(by_state[state])) for state in get_args(ServiceState)]
    yield _Metric("tuner_studies", "gauge", "Studies by state.", states)
    waiting = float(sum(item.place is not None for item in items))
    yield _Metric("tuner_queue_length", "gauge", "Studies that wait for a slot.", [({}, waiting)])
    trials: Counter[str] = Counter()
    for item in items:
        trials.update(item.counts)
    named = [({"state": state.value}, float(trials[state.value])) for state in TrialState]
    yield _Metric("tuner_trials", "gauge", "Trials of all studies by state.", named)
    failing = float(sum(item.attempts > 0 for item in items))
    yield _Metric("tuner_studies_retried", "gauge", "Studies whose last driver failed.", [({}, failing)])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _json(body: Mapping[str, object], status: int) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")
