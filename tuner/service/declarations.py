"""Space files that come from clients: read by the one strict reader, their data by registered names alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuner.answers.service import Mistake
from tuner.errors import Problem, SpecError
from tuner.ledger.datasets import PREFIX, Datasets
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import read_spec_text
from tuner.spec.strict_yaml import parse
from tuner.spec.study import StudySpec

SOURCE: Final = "space.yaml"  # what mistakes are named by
SKLEARN: Final = "sklearn:"
LONGEST: Final = 1_000_000  # characters of a space file


@dataclass(frozen=True, slots=True)
class Declarations:
    """Reads what clients hand in.

    Attributes:
        datasets: the names that data may have.
        with_sklearn: whether `sklearn:NAME` may be named as well; the operator says so.
    """

    datasets: Datasets
    with_sklearn: bool = False

    def read(self, text: str) -> StudySpec:
        """The declaration in a text; its data is as the client named it.

        Raises:
            SpecError: every mistake, each with its line; data that is not registered is one.
        """
        if len(text) > LONGEST:
            raise SpecError([Problem("", f"must have at most {LONGEST:,} characters, got {len(text):,}", None, SOURCE)])
        spec = read_spec_text(text, SOURCE)
        refused = self._refused(spec.data.source)
        if refused:
            line = parse(text, SOURCE).lines.get(("data", "source"))
            raise SpecError([Problem("data.source", refused, line, SOURCE)])
        return spec

    def overrides(self, spec: StudySpec) -> list[str]:
        """What a driver is told in the place of a registered name: where the data is.

        Raises:
            SpecError: the name is registered no longer.
        """
        if not spec.data.source.startswith(PREFIX):
            return []
        found = self.datasets.get(spec.data.source.removeprefix(PREFIX))
        if found is None:
            raise SpecError([Problem("data.source", self._refused(spec.data.source) or "", None, SOURCE)])
        return [f"data.source={_quoted(found.path)}"]

    def text_of(self, spec: StudySpec) -> str:
        """A recorded declaration as a space file; registered data has its name again."""
        by_path = {each.path: f"{PREFIX}{each.name}" for each in self.datasets.all()}
        source = by_path.get(str(Path(spec.data.source)), spec.data.source)
        return to_yaml(spec.model_copy(update={"data": spec.data.model_copy(update={"source": source})}))

    def _refused(self, source: str) -> str | None:
        if self.with_sklearn and source.startswith(SKLEARN):
            return None
        if not source.startswith(PREFIX):
            also = f" or {SKLEARN}NAME" if self.with_sklearn else ""
            return f"must be {PREFIX}NAME{also}, the name of registered data, got {source}"
        if self.datasets.get(source.removeprefix(PREFIX)) is None:
            known = [each.name for each in self.datasets.all()]
            return f"must name registered data ({', '.join(known) or 'there is none yet'}), got {source}"
        return None


def mistakes(problems: Iterable[Problem]) -> list[Mistake]:
    """The reader's problems as the service answers them."""
    return [Mistake(line=each.line, key=each.key, message=each.message) for each in problems]


def _quoted(path: str) -> str:
    """A path as YAML's text in single quotes."""
    return "'" + path.replace("'", "''") + "'"
