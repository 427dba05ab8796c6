"""Which MLflow it is, and the making of its SQLite store."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from filelock import FileLock, Timeout

from tuner import masks
from tuner.errors import HelperError, TrackingError
from tuner.helper import Helper

DEFAULT_URI = "sqlite:///mlflow.db"
NO_HOME = "/nonexistent"  # as Debian's users without a home have it: nothing is read from there, nor written
_LOCK_SECONDS = 120.0
_CONNECT_SECONDS = 5.0
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REASON_LENGTH = 300

# MLflow's own variables, set in the helper processes that import it, and there where the user set none: a call to a
# dead server must fail within seconds (by default it blocks for minutes; trying again is the publisher's work), and
# nothing is sent anywhere but to the server that the user named.
SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # It logs errors with their tracebacks, and raises them as well.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def tracking_uri(given: str | None = None, folder: Path | None = None) -> str:
    """MLflow's address: as given, or `MLFLOW_TRACKING_URI`, or MLflow's own default, a SQLite store in the folder."""
    return absolute(given or os.environ.get("MLFLOW_TRACKING_URI", "").strip() or DEFAULT_URI, folder)


def absolute(uri: str, folder: Path | None = None) -> str:
    """A SQLite store's uri with its whole path: MLflow keeps stores by uri, wherever the process is by then.

    Args:
        uri: MLflow's address.
        folder: what a relative path in it is below; the current folder by default.
    """
    path = sqlite_path(uri, folder)
    return uri if path is None else sqlite_uri(path)


def sqlite_uri(path: Path) -> str:
    """What MLflow takes for the store in that file, whatever characters its folder's name has.

    Where something is quoted, the uri names the driver: of the short form MLflow makes a folder of the quoted name.
    """
    name = str(path)
    if not {"%", "?"} & set(name):
        return f"sqlite:///{name}"
    if _is_unquoted():
        return "sqlite+pysqlite:///" + name.replace("%", "%25").replace("?", "%3F")
    return f"sqlite+pysqlite:///file:{quote(name)}?uri=true" if "?" in name else f"sqlite:///{name}"


def settings() -> dict[str, str]:
    """The environment of a helper process that imports MLflow, where the user has set nothing of that name."""
    found = {**SETTINGS}
    try:
        Path.home()
    except RuntimeError:  # a container's user without HOME and without a name: importing MLflow asks for a home folder
        found["HOME"] = NO_HOME
    return found


def past_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """What lets every library ask this machine itself; nothing where the environment names no proxy.

    A proxy that is asked for 127.0.0.1 answers about its own machine, or not at all.
    """
    if not any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES):
        return {}
    named = [host.strip() for host in (environment.get("no_proxy") or environment.get("NO_PROXY") or "").split(",")]
    if "*" in named:  # every host is reached without the proxy
        return {}
    hosts = ",".join(dict.fromkeys([*filter(None, named), *_LOOPBACK]))
    return {"no_proxy": hosts, "NO_PROXY": hosts}  # the small letters count where both are there


def is_server(uri: str) -> bool:
    """Whether a tracking server answers there; otherwise MLflow's store is opened directly."""
    return urlsplit(uri).scheme in {"http", "https"}


def check_reachable(uri: str) -> None:
    """Connect to a database's host and port, once and not for long; nothing is done for a server, a file or a socket.

    Raises:
        OSError: nothing answers there.
    """
    parts = urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if not is_server(uri) and parts.hostname and port:
        socket.create_connection((parts.hostname, port), _CONNECT_SECONDS).close()


def sqlite_path(uri: str, folder: Path | None = None) -> Path | None:
    """The absolute path of a SQLite store's file, relative ones below the folder; None for anything else."""
    scheme, _, rest = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not rest:
        return None
    name = rest.partition("?")[0]
    if "%" in name and _is_unquoted():
        name = unquote(name)
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:"))
    return (folder or Path.cwd()) / name


@cache
def _is_unquoted() -> bool:
    """Whether SQLAlchemy takes `%20` in a database's name for a space, as it does from 2.1 on."""
    return tuple(map(int, re.findall(r"\d+", version("sqlalchemy"))[:2])) >= (2, 1)


def artifact_root(uri: str) -> str | None:
    """The artifacts' place without a server: `mlartifacts` in the folder of the SQLite file, else in this one."""
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
    """Identifies an MLflow in the ledger; holds no secret."""
    path = sqlite_path(uri)
    return shown(uri) if path is None else path.as_uri()


def deleted_experiment_message(name: str, experiment_id: str, stage: str) -> str:
    """What to do about an experiment that was deleted."""
    return (
        f"MLflow's experiment {name!r} must be active, but it is {stage};"
        f" restore it with `mlflow experiments restore -x {experiment_id}`"
    )


def sentence(uri: str, error: BaseException) -> str:
    """A failure of MLflow as one sentence without secrets."""
    return f"{shown(uri)}: MLflow must take what is recorded, but it cannot be reached or refuses: {reason(uri, error)}"


def unanswered(uri: str, seconds: float) -> str:
    """The sentence about an MLflow that was waited for in vain."""
    return f"{shown(uri)}: MLflow must take what is recorded, but it did not do so within {seconds:g} s"


def reason(uri: str, error: BaseException) -> str:
    """The first line of what MLflow said, without secrets."""
    line = (str(error).splitlines() or [""])[0] or type(error).__name__
    return without_secrets(line, uri)[:_REASON_LENGTH]


def without_secrets(text: str, uri: str) -> str:
    """A text without anything in it that the uri or the environment keeps secret."""
    return masks.without_secrets(text, uri)


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
    """In a process of its own: what MLflow and its libraries set, warn of and import is not the caller's.

    Where warnings are errors, as in many test suites, a deprecated call in MLflow's tables would be the end of it.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with Helper(settings(), past_proxy(os.environ)) as helper:
            helper.call(_migrate, sqlite_uri(fresh), artifacts)
    except HelperError as error:
        raise TrackingError(f"{path}: MLflow's store cannot be made: {error}") from None
    except TrackingError as error:
        raise TrackingError(f"{path}: MLflow's store cannot be made: {reason('', error)}") from None
    with closing(sqlite3.connect(fresh)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # A page may be read while the publisher writes.
    fresh.replace(path)


def _migrate(uri: str, artifacts: str) -> None:
    """In a helper process: make the tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415  (1.7 s)

    try:
        SqlAlchemyStore(uri, artifacts).engine.dispose()
    except Exception as error:  # what MLflow and SQLAlchemy raise, whose classes the caller's process does not import
        raise TrackingError(str(error) or type(error).__name__) from None
