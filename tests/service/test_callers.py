"""Claims about whose secret a request carries: asked once for many requests, and never taken for longer than said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Service, serving
from studies import working_in
from supervised import until

from tuner.ledger.ledger import Ledger
from tuner.ledger.tokens import TokenRecord, Tokens
from tuner.service import callers
from tuner.service.callers import Callers


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in a folder of its own."""
    folder = tmp_path_factory.mktemp("callers")
    with working_in(folder), serving(folder) as made:
        yield made


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Secrets that the ledger was asked for."""
    found: list[str] = []
    real = Tokens.check

    def counted(self: Tokens, secret: str) -> TokenRecord | None:
        found.append(secret)
        return real(self, secret)

    monkeypatch.setattr(Tokens, "check", counted)
    return found


def made(service: Service, name: str) -> tuple[str, int]:
    """A new token's secret and number, whose first use is written down."""
    secret, record = service.ledger.tokens.new(name, "read", 3600, "test")
    service.ledger.tokens.check(secret)
    return secret, record.id


def test_many_requests_of_one_caller_ask_the_ledger_once(
    service: Service, checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two callers are asked for twice, whoever comes first; a secret that is none is asked for every time."""
    monkeypatch.setattr(callers, "FRESH", 60.0)
    (one, _), (other, _) = made(service, "one"), made(service, "other")
    known = Callers(service.ledger)
    checks.clear()

    async def asked() -> list[str | None]:
        found = [await known.of(secret) for secret in (one, other, "none", one, other, "none", one)]
        return [None if token is None else token.name for token in found]

    assert asyncio.run(asked()) == ["one", "other", None, "one", "other", None, "one"]
    assert checks == [one, other, "none", "none"]


def test_a_token_that_is_revoked_here_counts_no_longer_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the ledger's word is taken otherwise."""
    monkeypatch.setattr(callers, "FRESH", 60.0)
    secret, number = made(service, "short")
    headers = {"Authorization": f"Bearer {secret}"}
    assert [service.ask("GET", "studies", None, headers=headers).status_code for _ in range(2)] == [200, 200]
    assert service.ask("DELETE", f"tokens/{number}", "admin").status_code == 204
    assert service.ask("GET", "studies", None, headers=headers).status_code == 401


def test_a_token_that_another_process_revokes_counts_no_longer_soon(service: Service) -> None:
    """Half a second later at the latest; a shell revokes so."""
    secret, number = made(service, "elsewhere")
    headers = {"Authorization": f"Bearer {secret}"}
    assert service.ask("GET", "studies", None, headers=headers).status_code == 200
    folder: Path = service.app.state.options.workspace.folder
    other = Ledger.open("sqlite:///tuner.db", folder=folder)
    assert other.tokens.revoke(number, "test")
    other.close()
    until(
        lambda: service.ask("GET", "studies", None, headers=headers).status_code == 401, "a refusal", 10 * callers.FRESH
    )
