"""One server: its address, a token, and every failure as the error that it is on the command line."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, final
from urllib.parse import quote, urlsplit

import httpx
from pydantic import ValidationError

from tuner.answers.base import Answer
from tuner.errors import (
    DataError,
    DeviceError,
    ExportError,
    HelperError,
    InputError,
    LedgerError,
    Problem,
    ServerError,
    SpecError,
    StorageError,
    StudyError,
    TrackingError,
    TunerError,
    UnknownStudyError,
    sentence,
)

SERVER: Final = "TUNER_SERVER"
TOKEN_FILE: Final = "TUNER_TOKEN_FILE"
API: Final = "/api/v1"
SECONDS: Final = 120.0  # for an answer to begin
EXPORT_SECONDS: Final = 660.0  # for one that the server makes first: a large model is written, checked and packed
CONNECT_SECONDS: Final = 10.0
TRIES: Final = 4  # of what can be asked twice, where the server is busy or is being restarted
LONGEST_WAIT: Final = 10.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_KINDS: Final[Mapping[str, type[TunerError]]] = {
    "unknown-study": UnknownStudyError,
    "study": StudyError,
    "data": DataError,
    "device": DeviceError,
    "input": InputError,
    "token": InputError,
    "forbidden": InputError,
    "too-large": InputError,
    "ledger": LedgerError,
    "storage": StorageError,
    "tracking": TrackingError,
    "export": ExportError,
    "helper": HelperError,
}
_LONG: Final = httpx.Timeout(EXPORT_SECONDS, connect=CONNECT_SECONDS)
A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, checked.

    Attributes:
        url: scheme, host and port.
        is_local: whether it is this machine.
    """

    url: str
    is_local: bool

    @classmethod
    def parse(cls, text: str, insecure: bool) -> Address:
        """The address in a text.

        Raises:
            InputError: it is none, holds more than an address, or would send the token in the clear.
        """
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host or not text.isprintable() or " " in text:
            raise InputError("the server must be an address such as https://tuner.example.org.")
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
            raise InputError(f"{shown}: the server must be an address alone, without a user, a path or a query.")
        is_local = host in _LOOPBACK
        if parts.scheme == "http" and not is_local and not insecure:
            raise InputError(f"{shown}: must begin with https://, for a token would be sent in the clear.")
        return cls(shown, is_local)


@final
class Connection:
    """Requests to one server. Redirects are not followed, and the token is in no message.

    Args:
        address: the server's.
        token: sent with every request.
    """

    def __init__(self, address: Address, token: str) -> None:
        self.url = address.url
        self._token = token
        self.client = httpx.Client(
            base_url=address.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=not address.is_local,  # a proxy that is asked for 127.0.0.1 asks its own machine
        )

    def get(self, path: str, kind: type[A], **query: object) -> A:
        """A typed answer to a question."""
        return self._typed(self._again(lambda: self._ask("GET", path, params=_query(query))), kind)

    def content(self, path: str, **query: object) -> bytes:
        """An answer that is no JSON, whole."""
        return self._again(lambda: self._ask("GET", path, params=_query(query), timeout=_LONG)).content

    def send(self, method: str, path: str, kind: type[A], body: object = None, **headers: str) -> A:
        """A typed answer to a change, which may be asked for twice.

        Args:
            method: POST, PUT or DELETE.
            path: below the interface's.
            kind: of the answer.
            body: written as JSON; text and bytes go as they are.
            **headers: with `_` in the place of `-`.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        if content is not None and not isinstance(body, str | bytes):
            named.setdefault("Content-Type", "application/json")
        answer = self._again(lambda: self._ask(method, path, content=content, headers=named))
        return self._typed(answer, kind)

    def upload(self, path: str, file: Path, kind: type[A]) -> A:
        """A typed answer to a file, which is sent piece by piece; the ending of its name says what it is."""
        try:
            with file.open("rb") as opened:
                size = {"Content-Length": str(file.stat().st_size), "Content-Type": "application/octet-stream"}
                ending = {"type": file.suffix.lower().removeprefix(".")}
                answer = self._ask("PUT", path, content=_pieces(opened.read), headers=size, params=ending)
                return self._typed(answer, kind)
        except OSError as error:
            raise InputError(f"{file}: must be a file that can be read, got: {error.strerror}.") from None

    def delete(self, path: str) -> None:
        """Ask for an end of something; a second time it may be gone already, which is an error."""
        self._ask("DELETE", path)

    def download(self, path: str, file: Path) -> None:
        """Write an answer into a file, piece by piece.

        Raises:
            ServerError: what came is not what the server says it sent.
        """
        came = hashlib.sha256()
        with self.stream(path, _LONG) as answer, file.open("wb") as opened:
            for piece in answer.iter_bytes():
                opened.write(piece)
                came.update(piece)
        if answer.headers.get("Repr-Digest") != f"sha-256=:{base64.b64encode(came.digest()).decode()}:":
            raise ServerError(f"{self.url}: what came differs from what the server sent; try again.")

    @contextmanager
    def stream(
        self, path: str, timeout: httpx.Timeout | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """An answer whose body is read within the context."""
        patience = timeout or self.client.timeout
        with self._sentences(), self.client.stream("GET", API + path, headers=headers, timeout=patience) as answer:
            if not answer.is_success:
                answer.read()
                raise self._error(answer)
            yield answer

    def _ask(self, method: str, path: str, **rest: Any) -> httpx.Response:
        with self._sentences():
            answer = self.client.request(method, API + path, **rest)
        if not answer.is_success:
            raise self._error(answer)
        return answer

    def _again(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """Ask once more where the server is busy, or is restarted; a refusal is a refusal."""
        for left in reversed(range(TRIES)):
            try:
                return ask()
            except BusyError as busy:
                if not left:
                    raise busy.error from None
                time.sleep(busy.seconds)
        raise AssertionError

    def _typed(self, answer: httpx.Response, kind: type[A]) -> A:
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError:
            raise ServerError(
                f"{self.url}: must answer as this version of the tuner does, but it is another server, or another"
                " version of it."
            ) from None

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise BusyError(ServerError(f"{self.url}: the server must answer, but it did not in time."), 1.0) from None
        except httpx.TransportError as error:
            why = sentence(str(error).replace(self._token, "***") or type(error).__name__)
            text = f"{self.url}: the server must be reachable, but it is not: {why}."
            raise BusyError(ServerError(text), 0.5) from None

    def _error(self, answer: httpx.Response) -> TunerError:
        """What a refusal is on the command line; one that may pass is a `BusyError`."""
        body = _problem(answer)
        detail = str(body.get("detail") or f"the server answered {answer.status_code}")
        kind = str(body.get("type", "")).rpartition(":")[2]
        error: TunerError
        if kind == "spec":
            error = SpecError(list(_mistakes(body.get("errors"))) or [Problem("", detail)])
        else:
            error = _KINDS.get(kind, ServerError)(sentence(f"{self.url}: {detail}"))
        if answer.status_code in (429, 502, 503, 504):
            return BusyError(error, _seconds(answer.headers.get("Retry-After")))
        return error


class BusyError(ServerError):
    """It may work in a moment."""

    def __init__(self, error: TunerError, seconds: float) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


def token_of(token: str | None, token_file: str | Path | None) -> str:
    """The token as given, or in the file, or in the file that TUNER_TOKEN_FILE names.

    Raises:
        InputError: there is none, or the file cannot be read.
    """
    file = token_file or os.environ.get(TOKEN_FILE, "").strip() or None
    if token is None and file is None:
        raise InputError(
            f"a server needs a token: give --token-file FILE or set {TOKEN_FILE}; `tuner token new` makes one."
        )
    if token is None:
        try:
            token = Path(str(file)).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise InputError(f"{file}: must be a file with a token, got: {why}.") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{file or 'token'}: must hold a token as `tuner token new` prints it.")
    return token


def quoted(name: str) -> str:
    """A name as one part of a path, whatever is in it.

    Raises:
        InputError: it cannot be a name.
    """
    if not name or name in (".", ".."):
        raise InputError(f"a name must be given, got {name!r}.")
    return quote(name, safe="")


def _query(query: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(1 << 20):
        yield piece


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _mistakes(errors: object) -> Iterator[Problem]:
    for each in errors if isinstance(errors, list) else []:
        if isinstance(each, dict):
            line = each.get("line")
            yield Problem(
                str(each.get("key", "")),
                str(each.get("message", "")),
                line if isinstance(line, int) else None,
                "space.yaml",
            )


def _seconds(text: str | None) -> float:
    try:
        return min(LONGEST_WAIT, max(0.1, float(text or 1)))
    except ValueError:
        return 1.0
