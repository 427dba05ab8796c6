"""Space files that come from clients: read by the one strict reader, their data by registered names alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tuner.answers.service import Mistake
from tuner.errors import Problem, SpecError
from tuner.ledger.datasets import PREFIX, Datasets
from tuner.service.options import Limits
from tuner.spec.canonical import renamed_text, to_yaml
from tuner.spec.reader import read_spec_text
from tuner.spec.strict_yaml import parse
from tuner.spec.study import StudySpec

SOURCE: Final = "space.yaml"  # what mistakes are named by
SKLEARN: Final = "sklearn:"
THE_SOURCE: Final = "data.source"
LONGEST: Final = 1_000_000  # characters of a space file


@dataclass(frozen=True, slots=True)
class Declarations:
    """Reads what clients hand in.

    Attributes:
        datasets: the names that data may have.
        with_sklearn: whether `sklearn:NAME` may be named as well; the operator says so.
        limits: what a study may ask for.
    """

    datasets: Datasets
    with_sklearn: bool = False
    limits: Limits = field(default_factory=Limits)

    @staticmethod
    def plain(text: str) -> StudySpec:
        """The declaration in a text, whatever it asks for.

        Raises:
            SpecError: every mistake, each with its line.
        """
        if len(text) > LONGEST:
            raise _mistake("", f"must have at most {LONGEST:,} characters, got {len(text):,}")
        return read_spec_text(text, SOURCE)

    def read(self, text: str) -> StudySpec:
        """The declaration in a text; its data is as the client named it.

        Raises:
            SpecError: every mistake, each with its line; data that is not registered is one, and so is more than a
                study may ask for, or where it trains.
        """
        spec = self.plain(text)
        refused = [*self._refused_data(spec), *self._refused_length(spec)]
        if spec.execution is not None:  # an address would be one that the driver opens, with the operator's token
            refused.append(("execution", "must be left out here: the operator says where trials train"))
        if refused:
            lines = parse(text, SOURCE).lines
            raise SpecError([Problem(key, why, lines.get(tuple(key.split("."))), SOURCE) for key, why in refused])
        return spec

    def changed(self, text: str, name: str, changes: Sequence[str]) -> str:
        """A space file under another name, with changes as `--set` takes them.

        Raises:
            SpecError: it has mistakes then.
        """
        other = renamed_text(text, name)
        return to_yaml(read_spec_text(other, SOURCE, changes)) if changes else other

    def overrides(self, spec: StudySpec) -> list[str]:
        """A driver's overrides in the place of registered names: where the data is.

        Raises:
            SpecError: the name is registered no longer.
        """
        places = self.places(spec)
        return [f"{key}={quoted(places[key])}" for key, name in data_named(spec).items() if name.startswith(PREFIX)]

    def places(self, spec: StudySpec) -> dict[str, str]:
        """Where the data lies that a client names, by key; `sklearn:NAME` stays.

        Raises:
            SpecError: there is none of such a name.
        """
        refused = [Problem(key, why, None, SOURCE) for key, why in self._refused_data(spec)]
        if refused:
            raise SpecError(refused)
        found = {key: self.datasets.get(name.removeprefix(PREFIX)) for key, name in data_named(spec).items()}
        return {key: name if (each := found[key]) is None else each.path for key, name in data_named(spec).items()}

    def text_of(self, spec: StudySpec) -> str:
        """A recorded declaration as a space file; registered data has its name again."""
        by_path = {each.path: f"{PREFIX}{each.name}" for each in self.datasets.all()}
        given = {key: by_path.get(str(Path(path)), path) for key, path in data_named(spec).items()}
        return to_yaml(with_data(spec, given))

    def check_limits(self, trials: int | None, timeout: float | None) -> None:
        """Refuse a larger budget than a study may have.

        Raises:
            SpecError: it is larger.
        """
        if self.limits.trials is not None and trials is not None and trials > self.limits.trials:
            raise _mistake("trials", f"must be at most {self.limits.trials} here, got {trials}")
        seconds = None if self.limits.minutes is None else 60 * self.limits.minutes
        if seconds is not None and timeout is not None and timeout > seconds:
            raise _mistake("timeout", f"must be at most {seconds:g} here, got {timeout:g}")

    def _refused_length(self, spec: StudySpec) -> Iterator[tuple[str, str]]:
        search, limits = spec.search, self.limits
        if limits.trials is not None and search.is_planned and search.trials > limits.trials:
            yield "search.trials", f"must be at most {limits.trials} here, got {search.trials}"
        if limits.minutes is None:
            return
        if search.minutes is not None and search.minutes > limits.minutes:
            yield "search.minutes", f"must be at most {limits.minutes:g} here, got {search.minutes:g}"
        if search.minutes is None and (search.timeout is None or search.timeout > 60 * limits.minutes):
            came = "none" if search.timeout is None else f"{search.timeout:g}"
            yield "search.timeout", f"must be given here, and at most {60 * limits.minutes:g} seconds, got {came}"

    def _refused_data(self, spec: StudySpec) -> Iterator[tuple[str, str]]:
        """Why data may not be named so; no path of a client is ever opened."""
        for key, name in data_named(spec).items():
            with_sklearn = self.with_sklearn and key == THE_SOURCE
            if with_sklearn and name.startswith(SKLEARN):
                continue
            if not name.startswith(PREFIX):
                also = f" or {SKLEARN}NAME" if with_sklearn else ""
                yield key, f"must be {PREFIX}NAME{also}, the name of registered data, got {name}"
            elif self.datasets.get(name.removeprefix(PREFIX)) is None:
                known = ", ".join(each.name for each in self.datasets.all())
                yield key, f"must name registered data ({known or 'there is none yet'}), got {name}"


def data_named(spec: StudySpec) -> dict[str, str]:
    """All that a declaration names as its data, by key: its source, and the files of a split by files."""
    split = spec.data.split
    files = {} if split is None else {"data.split.validation": split.validation, "data.split.test": split.test}
    return {THE_SOURCE: spec.data.source, **{key: name for key, name in files.items() if name is not None}}


def with_data(spec: StudySpec, names: Mapping[str, str]) -> StudySpec:
    """A declaration with other names of its data, by key as `data_named` has them."""
    data = spec.data.model_copy(update={"source": names[THE_SOURCE]})
    if data.split is not None:
        last = {key.rpartition(".")[2]: name for key, name in names.items() if key != THE_SOURCE}
        data = data.model_copy(update={"split": data.split.model_copy(update=last)})
    return spec.model_copy(update={"data": data})


def mistakes(problems: Iterable[Problem]) -> list[Mistake]:
    """The reader's problems as the service answers them."""
    return [Mistake(line=each.line, key=each.key, message=each.message) for each in problems]


def _mistake(key: str, message: str) -> SpecError:
    return SpecError([Problem(key, message, None, SOURCE)])


def quoted(path: str) -> str:
    """A path as YAML's text in single quotes."""
    return "'" + path.replace("'", "''") + "'"
