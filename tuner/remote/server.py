"""The studies of a server, as `tuner.connect` gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from tuner.answers.service import Checked, DatasetItem, DatasetList, StudyItem, StudyPage
from tuner.errors import InputError, Problem, SpecError
from tuner.remote.connection import Address, Connection, quoted, token_of
from tuner.remote.study import RemoteStudy
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import read_spec_text
from tuner.spec.strict_yaml import parse

PAGE: Final = 100
REGISTERED: Final = ("dataset:", "sklearn:")
YAML: Final = "text/yaml; charset=utf-8"


def connect(
    url: str, token: str | None = None, token_file: str | Path | None = None, *, insecure: bool = False
) -> Server:
    """A server that `tuner serve` runs, here or elsewhere. Nothing is asked of it yet.

    Args:
        url: its address, such as https://tuner.example.org.
        token: as `tuner token new` printed it.
        token_file: a file that holds it; by default the one that TUNER_TOKEN_FILE names.
        insecure: also an address without TLS on another machine, to which the token goes in the clear.

    Raises:
        InputError: the address or the token is none.
    """
    return Server(Connection(Address.parse(url, insecure), token_of(token, token_file)))


@final
class Server:
    """What a token may do on a server. Every method raises ServerError where the server cannot be reached.

    Attributes:
        url: its address.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection, self.url = connection, connection.url

    def list(self) -> list[StudyItem]:
        """Every study, the newest first."""
        found: list[StudyItem] = []
        while True:
            page = self._connection.get("/studies", StudyPage, offset=len(found), limit=PAGE)
            found += page.studies
            if len(found) >= page.total or not page.studies:
                return found

    def study(self, name: str) -> RemoteStudy:
        """The study of that name.

        Raises:
            UnknownStudyError: there is none.
        """
        study = RemoteStudy(self._connection, name)
        study.item()
        return study

    def check(self, spec: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> Checked:
        """What a space file would search and cost; nothing is launched.

        Args:
            spec: a space file's path, or a mapping of its keys.
            overrides: `search.trials=20` each.

        Raises:
            SpecError: every mistake in it, each with its line.
        """
        source, text = _text(spec, overrides)
        with _named_as(source):
            return self._connection.send("POST", "/check", Checked, text, content_type=YAML)

    def submit(
        self,
        spec: str | Path | Mapping[str, Any],
        *,
        overrides: Sequence[str] = (),
        key: str | None = None,
        executor: str | None = None,
    ) -> RemoteStudy:
        """Hand a space file in; it waits for a slot. The same again is the same study.

        Args:
            spec: a space file's path, or a mapping of its keys.
            overrides: `search.trials=20` each; they replace what it says.
            key: a name for this request: sent twice with it, only one study is made.
            executor: where it trains, `processes` (the server's machine) or `ray` (its cluster), of those that the
                server offers; None leaves it to its operator.

        Raises:
            SpecError: every mistake in it, each with its line.
            StudyError: the name is another study's.
            InputError: the server does not offer that executor.
        """
        source, text = _text(spec, overrides)
        more = {} if key is None else {"idempotency_key": key}
        with _named_as(source):
            path = "/studies" if executor is None else f"/studies?executor={quoted(executor)}"
            item = self._connection.send("POST", path, StudyItem, text, content_type=YAML, **more)
        return RemoteStudy(self._connection, item.name)

    def add_dataset(self, name: str, file: str | Path) -> DatasetItem:
        """Upload data, which space files may then name as `dataset:NAME`.

        Raises:
            DataError: the server cannot read it.
            InputError: the file cannot be read here, or the name is taken.
        """
        return self._connection.upload(f"/datasets/{quoted(name)}", Path(file), DatasetItem)

    def datasets(self) -> Sequence[DatasetItem]:
        """All registered data."""
        return self._connection.get("/datasets", DatasetList).datasets

    def remove_dataset(self, name: str) -> None:
        """Forget a name; the data stays on the server, and so do studies of it."""
        self._connection.delete(f"/datasets/{quoted(name)}")


class _named_as:  # noqa: N801 - read as a verb
    """Mistakes that the server finds are of this file."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, SpecError):
            problems = [Problem(each.key, each.message, each.line, self._source) for each in error.problems]
            raise SpecError(problems) from None


def _text(spec: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> tuple[str, str]:
    """What mistakes are named by, and the space file's text; with overrides it is written anew, and checked here.

    Raises:
        SpecError: its data is a file of this machine, which a server does not see.
    """
    if isinstance(spec, Mapping):
        source, text = "spec", json.dumps(dict(spec), indent=1)
    else:
        source = str(spec)
        try:
            text = Path(spec).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise InputError(f"{source}: must be a space file that can be read, got: {why}.") from None
    if overrides:
        text = to_yaml(read_spec_text(text, source, overrides))
    _check_data(source, text)
    return source, text


def _check_data(source: str, text: str) -> None:
    try:
        document = parse(text, source)
    except SpecError:
        return  # the server says what is wrong, with all the rest
    data = document.value.get("data") if isinstance(document.value, dict) else None
    given = data.get("source") if isinstance(data, dict) else None
    if isinstance(given, str) and not given.startswith(REGISTERED):
        message = (
            f"must be dataset:NAME on a server, got {given}; `tuner --server URL data add NAME {given}` uploads it"
        )
        raise SpecError([Problem("data.source", message, document.lines.get(("data", "source")), source)])
