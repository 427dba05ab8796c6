"""Passwords and tokens, taken out of texts in every form in which a server or a library may repeat them."""

from __future__ import annotations

import base64
import configparser
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

MASK: Final = "***"
_OF_MLFLOW: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SECRET_NAME: Final = re.compile(r"(PASSWORD|PASSWD|_PWD|TOKEN|SECRET\w*|ACCESS_KEY|CONNECTION_STRING)$", re.IGNORECASE)
_SECRET_FILE: Final = re.compile(r"(PASSWORD|TOKEN|SECRET\w*|DATABASE_URL)_FILE$", re.IGNORECASE)
_LARGEST_FILE: Final = 10_000  # bytes; a secret is a line
_LEAST_GUESSED: Final = 6  # a shorter value of a variable that only sounds secret may be a plain word
_LEAST_CORE: Final = 4  # characters of base64: fewer would be found in any text
_PLAIN_OF_QUERY: Final = {"host", "port", "dbname", "user", "uri", "mode", "timeout", "connect_timeout", "sslmode"}
# `Authorization: anything`, and a scheme's name before what is no plain word: a digit, a `=`, a capital within.
_HEADERS: Final = (
    re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?)(?:\w+\s+)?[^\s'\",;]+"),
    re.compile(r"((?i:basic|bearer|negotiate)(?:\s+|%20|[+]))(?=\S*(?:[0-9=]|[a-z][A-Z]))[\w+/~.%=-]{6,}"),
)
_BASE64: Final = "[A-Za-z0-9+/_-]"


def without_secrets(text: str, *urls: str) -> str:
    """A text without anything that the urls, the environment or MLflow's file of credentials keep secret.

    A secret is found as it is, percent-encoded in whole or in part, and within base64; what is in an
    `Authorization` header of the usual kinds is taken out whether it is known or not.

    Args:
        text: what is to be shown or stored.
        urls: whose user, password and query are secret as well.
    """
    for secret in sorted(_secrets(urls), key=len, reverse=True):  # the longest first, so that none is left in part
        for core in _cores(secret.encode(errors="surrogateescape")):
            if core in text:  # looked for first: the pattern alone would take long in a long text
                text = re.sub(f"{_BASE64}*{re.escape(core)}{_BASE64}*={{0,2}}", MASK, text)
        text = re.sub("".join(map(_one_character, secret)), MASK, text)
    for header in _HEADERS:
        text = header.sub(rf"\1{MASK}", text)
    return text


def _one_character(character: str) -> str:
    """The character as it is, or percent-encoded."""
    encoded = "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))
    return f"(?:{re.escape(character)}|(?i:{encoded}){'|[+]' * (character == ' ')})"


def _cores(secret: bytes) -> Iterator[str]:
    """What base64 of any text with the secret in it contains, whatever comes before and after the secret.

    Base64 turns 3 bytes into 4 characters, so it depends on where among three the secret begins; characters that other
    bytes have a part in are left out.
    """
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret + b"\0\0").decode()
        core = whole[-(-8 * before // 6) : 8 * (before + len(secret)) // 6]
        if len(core) >= _LEAST_CORE:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))


def _secrets(urls: tuple[str, ...]) -> frozenset[str]:
    """What the urls, the environment and the files say is secret; looked up again where any of them has changed."""
    # As bytes where there are: decoding all of them would take longer than the rest, for each line of a server's log.
    environment = tuple(os.environb.items() if os.supports_bytes_environ else os.environ.items())
    return _found(urls, environment, tuple(map(_state, (*_secret_files(environment), *_credentials()))))


@lru_cache(maxsize=16)
def _secret_files(_: object) -> tuple[str, ...]:
    """Those that variables such as TUNER_DATABASE_URL_FILE name, in this environment."""
    return tuple(path for name, path in os.environ.items() if _SECRET_FILE.search(name))


def _credentials() -> list[str]:
    """MLflow's file in the user's home, where there is one."""
    home = os.path.expanduser("~")  # noqa: PTH111 - pathlib's raises where there is no home, and takes ten times as long
    return [] if home == "~" else [os.path.join(home, ".mlflow", "credentials")]  # noqa: PTH118


def _state(path: str) -> tuple[int, int, int]:
    """What differs where a file's content does."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - for each line of a server's log
    except (OSError, ValueError):
        return (0, 0, 0)
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=16)
def _found(urls: tuple[str, ...], _environment: object, _states: object) -> frozenset[str]:
    found = {os.environ.get(name, "") for name in _OF_MLFLOW}
    for name, value in [*os.environ.items(), *_of_files()]:
        if _SECRET_NAME.search(name) and len(value) >= _LEAST_GUESSED:
            found.add(value)
        elif "://" in value and "@" in value:
            found |= _of_url(value)
    for url in urls:
        found |= _of_url(url) | _of_query(url)
    return frozenset(found | _of_credentials()) - {""}


def _of_files() -> Iterator[tuple[str, str]]:
    """What is in files that variables such as TUNER_DATABASE_URL_FILE name, by the name without its end."""
    for name, path in os.environ.items():
        if _SECRET_FILE.search(name):
            try:
                with Path(path).open(encoding="utf-8") as file:
                    yield name[: -len("_FILE")], file.read(_LARGEST_FILE).strip()
            except (OSError, ValueError):
                continue


def _of_url(url: str) -> set[str]:
    """The password, with and without its user; a user of a server who has none is a token."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no url after all
        return set()
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    words = {f"{user}:{password}", password} if colon else {user} if parts.scheme in {"http", "https"} else set()
    return words | {unquote(word) for word in words}


def _of_query(url: str) -> set[str]:
    query = url.partition("?")[2].partition("#")[0]
    pairs = [pair.partition("=")[::2] for pair in query.split("&")]
    values = {value for name, value in pairs if len(value) >= _LEAST_GUESSED and name not in _PLAIN_OF_QUERY}
    return values | {unquote(value) for value in values}


def _of_credentials() -> set[str]:
    """The password that MLflow reads from the user's own file."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(_credentials(), encoding="utf-8")
        return {parser.get("mlflow", "mlflow_tracking_password", fallback="")}
    except (OSError, UnicodeError, configparser.Error):
        return set()
