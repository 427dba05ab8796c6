"""Claims about the gate: nothing is opened by a stranger, and another site's page changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from serving import ADDRESS, Service, said, serving
from starlette.routing import BaseRoute, Mount, Route

import tuner
from tuner.errors import InputError
from tuner.service.options import Limits, ServiceOptions
from tuner.service.security import OPEN, Rates

FILLED = {"name": "tiny", "number": "1", "path": "x.css", "digest": "0"}


@pytest.fixture(scope="module")
def guarded(service_of: Callable[..., Service]) -> Service:
    """A service with a waiting study."""
    service = service_of()
    service.submit()
    return service


def routes(service: Service) -> Iterator[tuple[str, str]]:
    """Every route's method and a path that fits it, of the routers within as well."""
    yield from _routes(service.app.routes)


def _routes(found: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in found:
        if isinstance(route, Route | APIRoute):
            path = route.path.replace(":path}", "}").format_map({**FILLED})
            yield from ((method, path) for method in route.methods or ())
        elif isinstance(route, Mount):
            yield "GET", f"{route.path}/x.css"
        else:
            yield from _routes(route.original_router.routes)  # type: ignore[attr-defined]  # FastAPI's own class


def test_every_route_is_closed_to_a_stranger(guarded: Service) -> None:
    """401, or a page's redirect to the login; the open ones are listed, and there are more than a few routes."""
    seen = list(routes(guarded))
    assert len(seen) > 30
    for method, path in seen:
        is_open = (method, path) in OPEN or (method in {"GET", "HEAD"} and path.startswith("/static/"))
        answer = guarded.ask(method, path, None)
        if not is_open:
            assert answer.status_code == 401, (method, path)
    for path in ("/api/v1/nothing", "/nothing", "/api/v1/openapi.json", "/docs", "/metrics"):
        assert guarded.ask("GET", path, None).status_code == 401, path


def test_a_reader_s_token_changes_nothing(guarded: Service) -> None:
    """Every method that is no reading is refused, and so is what only administrators see."""
    before = guarded.ledger.audit.newest(1000)
    for method, path in routes(guarded):
        if method not in {"GET", "HEAD"} and path not in {"/login", "/logout"}:
            assert guarded.ask(method, path, "read").status_code == 403, (method, path)
    for path in ("tokens", "audit"):
        assert guarded.ask("GET", path, "read").status_code == 403
        assert guarded.ask("GET", path, "launch").status_code == 403
    assert guarded.ask("POST", "tokens", "launch", json={"name": "x", "role": "admin"}).status_code == 403
    assert guarded.ledger.audit.newest(1000) == before


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:8771", "localhost:8770.evil", "", "LOCALHOST:8770@x"]
)
def test_a_foreign_host_is_refused(guarded: Service, host: str) -> None:
    """A name that resolves to this machine by another's wish (DNS rebinding) reaches nothing, the login neither."""
    for path in ("/login", "/api/v1/studies", "/healthz"):
        assert guarded.ask("GET", path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8770"},
        {"Origin": "http://127.0.0.1:8771"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ADDRESS},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_another_site_s_page_changes_nothing(guarded: Service, headers: dict[str, str]) -> None:
    """Not with a session, not with a token, not even by logging somebody in; on this machine too."""
    for method, path, role in (
        ("POST", "studies/tiny/stop", "launch"),
        ("POST", "/login", None),
        ("POST", "/logout", "read"),
    ):
        assert guarded.ask(method, path, role, headers=headers).status_code == 403
    assert guarded.ask("GET", "studies/tiny").json()["item"]["wanted"] == "run"


def test_a_session_changes_things_from_the_service_s_own_pages_alone(service: Service) -> None:
    """The cookie is hidden from scripts and sent by the site alone; a change without an origin is refused."""
    service.submit()
    login = service.client.post(
        "/login", data={"token": service.secrets["launch"], "next": "//evil"}, follow_redirects=False
    )
    assert (login.status_code, login.headers["location"]) == (303, "/")
    cookie = login.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    stop = "studies/tiny/stop"
    assert service.ask("POST", stop, None).status_code == 403
    own = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}
    assert service.ask("POST", stop, None, headers=own).status_code == 202
    assert service.ask("POST", "/logout", None, headers=own).status_code == 303
    service.client.cookies.set("tuner_session", cookie.partition("=")[2].partition(";")[0])
    assert service.ask("GET", "studies", None).status_code == 401


def test_a_link_logs_in_once(service: Service) -> None:
    """The second time it is not valid, and it is no token."""
    secret, _ = service.ledger.tokens.new("operator", "admin", 60, "test", "login")
    assert service.ask("GET", "me", None, headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    assert service.ask("POST", "/login", None, json={"token": secret}).status_code == 204
    assert service.ask("POST", "/login", None, json={"token": secret}, headers={"Origin": ADDRESS}).status_code == 401
    failed = service.client.post("/login", data={"token": "x"}, headers={"Origin": ADDRESS}, follow_redirects=False)
    assert failed.headers["location"].startswith("/login?failed=1")


def test_every_answer_tells_the_browser_to_do_nothing_else(guarded: Service) -> None:
    """No scripts but ours, no frames, no guessing of types, nothing kept; also of refusals."""
    for answer in (guarded.ask("GET", "studies"), guarded.ask("GET", "studies", None), guarded.ask("GET", "/nothing")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_a_large_body_is_refused_before_it_is_read(guarded: Service) -> None:
    """By its declared length, and while it comes where it declares none; 10 MB open nothing."""
    assert guarded.submit("x" * 10_000_000).status_code == 413
    assert guarded.submit(b"x" * 100_000 for _ in range(100)).status_code == 413  # type: ignore[arg-type]
    assert guarded.ask("POST", "studies", headers={"Content-Length": "nonsense"}).status_code == 413


def test_a_form_of_too_many_fields_is_refused(guarded: Service) -> None:
    """Also by the open route: one sentence, and no mistake of ours."""
    form = "&".join(f"x{index}=1" for index in range(2000))
    sent = {"content": form, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    refused = guarded.ask("POST", "/login", None, **sent)
    assert refused.status_code == 422
    assert "at most 1,000 fields" in refused.text


def test_a_token_has_its_share_of_requests(tmp_path: Path) -> None:
    """Those beyond a burst wait, and are told how long; another token's are its own."""
    with serving(tmp_path, limits=Limits(requests_per_second=0.5, burst=3)) as service:
        codes = [service.ask("GET", "me").status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        late = service.ask("GET", "me")
        assert int(late.headers["retry-after"]) >= 1
        assert service.ask("GET", "me", "read").status_code == 200


def test_requests_come_back_with_time() -> None:
    """As many a second as are allowed, up to the burst."""
    rates = Rates(1000.0, 2)
    assert [rates.wait("a") <= 0 for _ in range(3)] == [True, True, False]
    until = time.monotonic() + 5
    while rates.wait("a") > 0:
        assert time.monotonic() < until


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"host": "0.0.0.0"}, "must have TLS"),
        ({"host": "192.168.1.2"}, "must have TLS"),
        ({"host": "0.0.0.0", "behind_proxy": True}, "must be given with --public-url"),
        ({"host": "0.0.0.0", "behind_proxy": True, "public_url": "http://a.example"}, "must begin with https://"),
        ({"public_url": "ftp://a"}, "must be an address"),
        ({"public_url": "https://a.example/x"}, "must have no path"),
        ({"mlflow_url": "javascript:alert(1)"}, "must be an address"),
    ],
)
def test_unsafe_options_are_refused(tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    """Each by a sentence that says what to do."""
    places = tuner.workspace(tmp_path, database="sqlite:///tuner.db", mlflow="sqlite:///m.db")
    with pytest.raises(InputError, match=sentence):
        ServiceOptions(places, **options).checked()  # type: ignore[arg-type]


def test_behind_a_proxy_the_public_name_is_the_host(tmp_path: Path) -> None:
    """Its pages change things, cookies are for TLS alone, and headers that name another client are not believed."""
    public = {"host": "0.0.0.0", "behind_proxy": True, "public_url": "https://tuner.example"}
    with serving(tmp_path, **public) as service:
        named = {"Host": "tuner.example", "Origin": "https://tuner.example"}
        answer = service.client.post(
            "/login", data={"token": service.secrets["read"]}, headers=named, follow_redirects=False
        )
        assert "Secure" in answer.headers["set-cookie"]
        assert "max-age" in answer.headers["strict-transport-security"]
        forged = {**named, "X-Forwarded-Host": "evil.example", "X-Forwarded-User": "admin", "Remote-User": "admin"}
        assert service.ask("GET", "tokens", "read", headers=forged).status_code == 403


HOSTILE = [
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "a\u202eb",
    "<script>",
    "a'b\"c",
    "~root",
    "C:\\x",
    "x" * 150,
    "tiny;rm",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_open_nothing(guarded: Service, name: str) -> None:
    """In every route with a name: an error of the client's, in a sentence without markup's power."""
    for method, path in set(routes(guarded)):
        if "/tiny" in path and path.startswith("/api/"):
            given = {} if method in {"GET", "DELETE"} else {"json": {"name": name}}
            answer = guarded.ask(method, path.replace("/tiny", f"/{name}"), "admin", **given)
            assert 400 <= answer.status_code < 500, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
    assert 400 <= guarded.ask("POST", "studies/tiny/rename", json={"name": name}).status_code < 500
    assert guarded.ask("GET", "studies").json()["total"] == 1


def test_a_mistake_of_ours_is_told_without_its_details(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has them."""
    with serving(tmp_path) as service:
        router = APIRouter()

        @router.get("/api/v1/broken")
        def broken() -> None:
            raise RuntimeError("the password is hunter2")

        service.app.include_router(router)
        answer = service.ask("GET", "broken")
        assert answer.status_code == 500
        assert "hunter2" not in said(answer)


def test_a_link_on_another_site_finds_the_session(service: Service) -> None:
    """Browsers keep a strict cookie from what began elsewhere; the page is asked for once more, from here."""
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
    answer = service.ask("GET", "/studies/a%22b<", None, headers=followed)
    assert 'content="0;url=/studies/a%22b%3C"' in answer.text
    assert (
        service.ask("GET", "/studies", None, headers={"Accept": "text/html"}).headers["location"]
        == "/login?next=/studies"
    )
