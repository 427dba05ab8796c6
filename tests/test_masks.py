"""Claims about what is taken out of texts before they are shown: every form of a secret, and nothing else."""

from __future__ import annotations

import base64
import itertools
import re
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tuner.masks import without_secrets

SECRETS = ["hunter2-Zebra", "p@ss/w:rd %41+x", "geheim-ü-Schlüssel", "a?b&c=d#e"]


def forms(user: str, secret: str) -> list[str]:
    """As servers, proxies and libraries repeat a password."""
    pair = f"{user}:{secret}".encode()
    packed = [encode(each).decode() for each in (pair, secret.encode()) for encode in ENCODERS]
    quoted = [
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")),
    ]
    return [secret, *quoted, *packed, *(each.rstrip("=") for each in packed)]


ENCODERS = (base64.b64encode, base64.urlsafe_b64encode)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("user", ["", "a", "al", "ali", "alice@example.org"])
def test_no_form_of_a_known_secret_is_left(secret: str, user: str) -> None:
    """Plain, percent-encoded by any of the usual functions, in base64 with any user before it: nothing of it stays."""
    url = f"http://{quote(user, safe='')}:{quote(secret, safe='')}@host:5000/path"
    for form in forms(user, secret):
        masked = without_secrets(f"before {form}, after", url)
        assert masked == "before ***, after", form


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_secrets_of_the_environment_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of MLflow, of storages, and those within addresses, such as a proxy's."""
    monkeypatch.setenv(name, SECRETS[0])
    monkeypatch.setenv("https_proxy", "http://me:sesame@proxy:3128")
    text = f"{SECRETS[0]} and {base64.b64encode(f'user:{SECRETS[0]}'.encode()).decode()} by http://me:sesame@proxy"
    assert without_secrets(text) == "*** and *** by http://***@proxy"


def test_the_password_in_mlflows_own_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/.mlflow/credentials`, which MLflow reads by itself."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = 100%hunter2\n"
    )
    assert without_secrets("sent me:100%hunter2") == "sent me:***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("got Authorization: Basic dXNlcjp4, refused", "got Authorization: ***, refused"),
        ("{'Authorization': 'Bearer abc.def', 'a': 1}", "{'Authorization': '***', 'a': 1}"),
        ("header Basic dXNlcjpodW50ZXIy was refused", "header Basic *** was refused"),
        ("Bearer eyJhbGciOi.J9-x_y= expired", "Bearer *** expired"),
        ("Basic authentication is needed", "Basic authentication is needed"),
        ("the bearer carries everything", "the bearer carries everything"),
    ],
)
def test_credentials_that_nobody_told_us_of_are_found_by_their_header(text: str, masked: str) -> None:
    """A server may echo what a proxy or a plugin of MLflow sent; plain words after the same names stay."""
    assert without_secrets(text) == masked


def test_what_is_no_secret_stays() -> None:
    """A database's user and socket, a file's options, the tuner's own words."""
    text = "tuner sync: /tmp/socket refuses the user tuner, timeout 30"
    assert without_secrets(text, "postgresql+psycopg://tuner@/name?host=/tmp/socket", "sqlite:///x.db?uri=true") == text
    assert without_secrets("no secret", "http://[bad", "not a url") == "no secret"


def test_long_texts_take_no_long_time() -> None:
    """A megabyte without a space, such as a page in base64, is looked through in a moment."""
    text = "".join(itertools.islice(itertools.cycle("abcdefgh01234"), 1_000_000))
    start = time.monotonic()
    assert without_secrets(text, "http://user:hunter2-Zebra@host") == text
    assert time.monotonic() - start < 2.0
