"""Which MLflow it is, and the making of its SQLite store."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock, Timeout

from tuner.errors import HelperError, TrackingError
from tuner.helper import Helper

DEFAULT_URI = "sqlite:///mlflow.db"
_LOCK_SECONDS = 120.0
_REASON_LENGTH = 300

# MLflow's own variables, set in the helper processes that import it, and there where the user set none: a call to a
# dead server must fail within seconds (by default it blocks for minutes; trying again is the publisher's work), and
# nothing is sent to anybody but the server that the user named.
SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # It logs errors with their tracebacks, and raises them as well.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else MLflow's own default, a SQLite store in the current folder."""
    return absolute(os.environ.get("MLFLOW_TRACKING_URI", "").strip() or DEFAULT_URI)


def absolute(uri: str) -> str:
    """A SQLite store's uri with its whole path: MLflow keeps stores by uri, wherever the process is by then."""
    path = sqlite_path(uri)
    return uri if path is None else f"{uri.partition(':///')[0]}:///{path}"


def is_server(uri: str) -> bool:
    """Whether a tracking server answers there; otherwise MLflow's store is opened directly."""
    return urlsplit(uri).scheme in {"http", "https"}


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a SQLite store's file; None for anything else."""
    scheme, _, rest = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not rest:
        return None
    return Path(unquote(rest.partition("?")[0])).absolute()


def artifact_root(uri: str) -> str | None:
    """Where the artifacts of a store without a server go: `mlartifacts` beside a SQLite file, else in this folder."""
    if is_server(uri):
        return None
    path = sqlite_path(uri)
    folder = Path.cwd() if path is None else path.parent
    return (folder / "mlartifacts").as_uri()


def shown(uri: str) -> str:
    """The uri without what may be secret: user, password and query."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri.partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def identity(uri: str) -> str:
    """What tells one MLflow from another in the ledger; holds no secret."""
    path = sqlite_path(uri)
    return shown(uri) if path is None else path.as_uri()


def in_the_bin(name: str, experiment_id: str, stage: str) -> str:
    """What to do about an experiment that was deleted."""
    return (
        f"MLflow's experiment {name!r} must be active, but it is {stage};"
        f" restore it with `mlflow experiments restore -x {experiment_id}`"
    )


def sentence(uri: str, error: BaseException) -> str:
    """A failure of MLflow as one sentence without secrets."""
    return f"{shown(uri)}: MLflow must take what is recorded, but it cannot be reached or refuses: {reason(uri, error)}"


def reason(uri: str, error: BaseException) -> str:
    """The first line of what MLflow said, without secrets."""
    line = (str(error).splitlines() or [""])[0] or type(error).__name__
    return without_secrets(line, uri)[:_REASON_LENGTH]


def without_secrets(text: str, uri: str) -> str:
    """A text without anything in it that the uri or the environment keeps secret."""
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    return text


def ensure_store(uri: str) -> None:
    """Make a fresh SQLite store, in one process, whole or not at all; do nothing for any other.

    Processes that start together wait for the one that makes it: MLflow's own migrations race and can leave a file
    that is broken for good. So they run on a file of another name, which gets its name when it is ready.

    Raises:
        TrackingError: the store cannot be made.
    """
    path = sqlite_path(uri)
    if path is None or _has_tables(path):
        return
    lock = path.parent / ".tuner" / f"{path.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=_LOCK_SECONDS):
            if not _has_tables(path):
                _make(path, artifact_root(uri) or "")
    except Timeout:
        raise TrackingError(f"{path}: another process must finish making MLflow's store, but holds {lock}") from None
    except OSError as error:
        raise TrackingError(f"{path}: MLflow's store cannot be made: {error.strerror}") from None


def analyze(uri: str) -> None:
    """Let SQLite learn the sizes of the store's tables: sorting 10,000 runs then takes 0.1 s instead of 6 s."""
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        return
    try:
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            connection.execute("ANALYZE")
            connection.commit()
    except sqlite3.Error:
        return  # Only speed is lost.


def _has_tables(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return True  # MLflow itself will say what is wrong with it.


def _make(path: Path, artifacts: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with Helper(SETTINGS) as helper:
            helper.call(_migrate, str(fresh), artifacts)
    except HelperError as error:
        raise TrackingError(f"{path}: MLflow's store cannot be made: {error}") from None
    with closing(sqlite3.connect(fresh)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # A page may be read while the publisher writes.
    fresh.replace(path)


def _migrate(path: str, artifacts: str) -> None:
    """In a helper process: make the tables."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  (1.7 s)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    try:
        SqlAlchemyStore(f"sqlite:///{path}", artifacts).engine.dispose()
    except MlflowException as error:
        raise TrackingError(f"{path}: MLflow's store cannot be made: {error}") from None


def _secrets(uri: str) -> list[str]:
    """The longest first, so that none is left in part."""
    parts = urlsplit(uri)
    user_info = parts.netloc.rpartition("@")[0]
    found = {
        user_info,
        parts.password or "",
        unquote(parts.password or ""),
        parts.query,
        *(os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")),
    }
    return sorted(found - {""}, key=len, reverse=True)
