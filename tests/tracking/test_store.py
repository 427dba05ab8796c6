"""Which MLflow it is, what its address may reveal, and what MLflow is told by the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tuner.tracking import store
from tuner.tracking.apart import Mlflow
from tuner.tracking.links import study_url


def test_the_tracking_uri_is_the_user_s_or_mlflow_s_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI is honoured as always; a bare `mlflow ui` finds the default."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    default = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    assert store.tracking_uri() == default
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    assert store.tracking_uri() == default
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert store.tracking_uri() == "http://mlflow:5000"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:hunter2@host:5000/path?token=hunter2", "http://host:5000/path"),
        ("https://hunter2@host", "https://host"),
        ("postgresql+psycopg://user:hunter2@host/name?sslkey=hunter2", "postgresql+psycopg://host/name"),
        ("http://user:p%40hunter2@host", "http://host"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_secrets_in_a_tracking_uri_are_never_shown(uri: str, shown: str) -> None:
    """User, password and query stay out of what is shown, out of the ledger, and out of repeated messages."""
    assert store.shown(uri) == shown
    secret = "p@hunter2" if "%40" in uri else "hunter2"
    message = f"failed: {uri} and {secret if secret[-7:] in uri else ''}\nTraceback"
    for text in (store.sentence(uri, RuntimeError(message)), store.identity(uri)):
        assert "hunter2" not in text
        assert "\n" not in text
        assert "Traceback" not in text


def test_a_password_in_the_environment_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own variables for a password and a token count as secrets as well."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    assert "hunter2" not in store.sentence("http://host", RuntimeError("got hunter2"))


def test_a_sqlite_store_is_the_same_from_wherever_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative uri means the file in the current folder, and its artifacts stand beside the file."""
    monkeypatch.chdir(tmp_path)
    absolute = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert store.identity("sqlite:///mlflow.db") == store.identity(absolute)
    assert store.sqlite_path(absolute) == tmp_path / "mlflow.db"
    assert store.artifact_root("sqlite:///mlflow.db") == (tmp_path / "mlartifacts").as_uri()
    assert store.artifact_root("http://host:5000") is None
    assert store.sqlite_path("postgresql://host/name") is None


def test_what_the_user_told_mlflow_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is told to be quiet and quick only where the user said nothing."""
    for name in store.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    before = dict(os.environ)
    with Mlflow("http://host") as mlflow:
        there = {name: mlflow.call(os.getenv, name) for name in store.SETTINGS}
    assert there == {**store.SETTINGS, "MLFLOW_HTTP_REQUEST_TIMEOUT": "99"}
    assert dict(os.environ) == before


def test_tracking_is_imported_without_mlflow_and_sqlalchemy() -> None:
    """The doors may import all of tracking that they use; MLflow's 1.7 s are spent behind the training."""
    names = ("publisher", "store", "links", "dashboard")
    code = (
        f"import sys, {', '.join('tuner.tracking.' + name for name in names)}, tuner.ledger.records;"
        "print([name for name in ('mlflow', 'sqlalchemy', 'pandas') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_link_opens_a_study_s_trials_flat_sorted_and_charted() -> None:
    """The page's own query says which runs, in which order, and that they are drawn."""
    url = study_url("http://127.0.0.1:5000/", "7", "abc")
    page = urlsplit(urlsplit(url).fragment)
    assert url.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert parse_qs(page.query, strict_parsing=True) == {
        "searchFilter": ["tags.mlflow.parentRunId = 'abc'"],
        "orderByKey": ["metrics.`objective`"],
        "orderByAsc": ["true"],
        "compareRunsMode": ["CHART"],
    }
    assert " " not in url
