"""From a file, a text or a mapping to a frozen `StudySpec`, or to the list of every mistake in it."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tuner.errors import Problem, SpecError
from tuner.spec.data import ColumnSpec, DataSpec, ReadSpec, SplitSpec
from tuner.spec.distributions import Condition, types_of
from tuner.spec.hyperparameters import BY_NAME
from tuner.spec.space import SearchSpace
from tuner.spec.strict_yaml import Document, Path_, dotted, parse, read_text, refused
from tuner.spec.study import FinalSpec, SearchSpec, StudySpec

LONGEST_SHOWN = 60
_BLOCKS: dict[Path_, type[BaseModel]] = {
    (): StudySpec, ("data",): DataSpec, ("data", "read"): ReadSpec, ("data", "split"): SplitSpec,
    ("space",): SearchSpace, ("search",): SearchSpec, ("final",): FinalSpec,
}  # fmt: skip


def read_spec(path: str | Path, overrides: Sequence[str] = ()) -> StudySpec:
    """The declaration in a file.

    Args:
        path: the file.
        overrides: `search.trials=20` each; they replace what the file says, and are checked like it.

    Raises:
        SpecError: every mistake, each with file, line and key.
    """
    return read_spec_text(read_text(Path(path)), str(path), overrides)


def declared(
    source: str | Path | StudySpec | Mapping[str, Any], overrides: Sequence[str], folder: Path | None = None
) -> tuple[StudySpec, Path]:
    """A declaration, however it is given, and the file that its paths are beside.

    Args:
        source: a space file, or what it says.
        overrides: `search.trials=20` each.
        folder: what a declaration without a file is beside; by default the current folder.

    Raises:
        SpecError: as for `read_spec`.
    """
    if isinstance(source, str | Path):
        return read_spec(source, overrides), Path(source).absolute()
    mapping = source.model_dump(mode="json", exclude_unset=True) if isinstance(source, StudySpec) else source
    return spec_from_mapping(mapping, overrides), (folder or Path.cwd()) / "spec.yaml"


def with_memory(overrides: Sequence[str], data: object) -> Sequence[str]:
    """The overrides of a declaration whose rows are given in memory, where they are."""
    return overrides if data is None else [*overrides, "data.source=memory"]


def read_spec_text(text: str, source: str, overrides: Sequence[str] = ()) -> StudySpec:
    """The declaration in a text; `source` names it in messages."""
    document = parse(text, source)
    if not isinstance(document.value, dict):
        raise refused(source, f"must be a mapping with name, data, space and search, got {_shown(document.value)}")
    return _checked(document, source, overrides)


def spec_from_mapping(mapping: Mapping[str, Any], overrides: Sequence[str] = ()) -> StudySpec:
    """The declaration that a mapping holds, as its file would."""
    try:
        plain = json.loads(json.dumps(mapping, default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise refused("spec", f"must be a mapping of plain values, got: {error}") from None
    return _checked(Document(plain), "spec", overrides)


def _plain(value: object) -> object:
    """What a program rather has than a file: paths, NumPy's numbers and arrays, sets and other sequences.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if hasattr(value, "columns"):
        raise TypeError("a table; give it as tuner.run(..., data=table), and leave data.source out")
    for made in (getattr(value, "tolist", None), getattr(value, "item", None)):
        if made is not None:
            plain: object = made()
            return plain
    return list(value)  # type: ignore[call-overload]  # TypeError is what the caller expects


def _checked(document: Document, source: str, overrides: Sequence[str]) -> StudySpec:
    origins: dict[Path_, str] = {}
    problems = [problem for text in overrides for problem in _override(document.value, text, origins)]
    try:
        spec = StudySpec.model_validate(document.value)
    except ValidationError as error:
        locate = _Locator(document, source, origins)
        problems += [locate.problem(details) for details in error.errors(include_url=False) if not _follows(details)]
        raise SpecError(sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)) from None
    if problems:
        raise SpecError(problems)
    return spec


def _override(value: dict[str, Any], text: str, origins: dict[Path_, str]) -> list[Problem]:
    """Put one override into the raw value; its mistakes are named by the override itself."""
    key, equals, written = text.partition("=")
    path: Path_ = tuple(key.strip().split("."))
    origin = f"--set {_cut(text)}"
    if not equals or not all(path):
        return [Problem("", "must be KEY=VALUE, such as search.trials=20", None, origin)]
    try:
        new = parse(written, origin).value
    except SpecError as error:
        return [Problem(key, problem.message, None, origin) for problem in error.problems]
    inside = value
    for step in path[:-1]:
        if not isinstance(inside.get(str(step)), dict):
            if step in inside:
                return [Problem(key, f"cannot be set, for {step} is a plain value", None, origin)]
            inside[str(step)] = {}
        inside = inside[str(step)]
    inside[str(path[-1])] = new
    origins[path] = origin
    return []


class _Locator:
    """Turns pydantic's errors into problems with a place."""

    def __init__(self, document: Document, source: str, origins: Mapping[Path_, str]) -> None:
        self._document, self._source, self._origins = document, source, origins

    def problem(self, details: ErrorDetails) -> Problem:
        """One error as one problem."""
        path = _path(details)
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return Problem(dotted(path), _message(details, path), None, self._origins[path[:length]])
        return Problem(dotted(path), _message(details, path), self._line(path), self._source)

    def _line(self, path: Path_) -> int | None:
        """The line of the key, or of the nearest one around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._document.lines:
                return self._document.lines[path[:length]]
        return 1 if self._document.lines else None


def _follows(details: ErrorDetails) -> bool:
    """A list that is too short for pydantic only because its items, which are named themselves, were left out."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _path(details: ErrorDetails) -> Path_:
    """The key that an error is about, without what pydantic puts behind the name of one of several kinds of thing.

    These are the kind of parameter, whether a condition lists one value or many, whether columns are named or
    described, and whether there is a final stage.
    """
    path = details["loc"]
    if path[:2] == ("data", "columns"):
        path = path[:2] + path[3:]
    if path[:1] == ("space",):
        path = path[:2] + path[3:]
        if path[2:3] == ("when",):
            path = path[:4] + path[5:]
    if path[:1] == ("final",):
        path = path[:1] + path[2:]
    return path + tuple(details.get("ctx", {}).get("key", ()))


def _message(details: ErrorDetails, path: Path_) -> str:
    kind, context, came = details["type"], details.get("ctx", {}), _shown(details["input"])
    if kind == "tuner":
        return str(context["message"])
    if kind == "tuner_distribution":
        return _distribution(path, details["input"])
    if kind == "missing":
        return "must be given, but is missing"
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "literal_error":
        return _literal(context["expected"], details["input"])
    rule = _RULES.get(kind)
    return f"{rule(context) if rule else details['msg']}, got {came}"


_Rule = Callable[[Mapping[str, Any]], str]


def _says(text: str) -> _Rule:
    return lambda context: text.format(**context)


_RULES: dict[str, _Rule] = {
    "string_type": _says("must be text"),
    "string_unicode": _says("must be text without halves of characters"),
    "int_type": _says("must be a whole number"),
    "int_from_float": _says("must be a whole number"),
    "float_type": _says("must be a number"),
    "bool_type": _says("must be true or false"),
    "tuple_type": _says("must be a list"),
    "model_type": _says("must be a mapping of keys to values"),
    "model_attributes_type": _says("must be a mapping of keys to values"),
    "dict_type": _says("must be a mapping of keys to values"),
    "finite_number": _says("must be a finite number"),
    "greater_than": _says("must be above {gt}"),
    "greater_than_equal": _says("must be at least {ge}"),
    "less_than": _says("must be below {lt}"),
    "less_than_equal": _says("must be at most {le}"),
    "too_short": _says("must have at least {min_length} item(s)"),
    "string_too_short": _says("must not be empty"),
    "string_too_long": _says("must have at most {max_length} character(s)"),
    "int_parsing_size": _says("must be a smaller number"),
    "string_pattern_mismatch": _says(
        "must be up to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit"
    ),
}


def _literal(expected: str, came: Any) -> str:
    """A value that is none of some words."""
    words = expected.replace(" or ", ", ").replace("'", "").split(", ")
    return f"must be {' | '.join(words)}, got {_shown(came)}{_near(str(came), words)}"


def _unknown(path: Path_) -> str:
    """A key that is not known at its place."""
    if path[:-1] == ("space",) and path[-1] in _NOT_SEARCHED:
        return f"cannot be searched: {_NOT_SEARCHED[str(path[-1])]}"
    model = Condition if path[-2:-1] == ("when",) else _BLOCKS.get(path[:-1])
    model = ColumnSpec if path[:2] == ("data", "columns") else model
    known = list(model.model_fields) if model else ["type", "low", "high", "log", "step", "choices", "value", "when"]
    hint = _near(str(path[-1]), known)
    return f"is not a known key{hint}" if hint else f"is not a known key; known here are {', '.join(known)}"


_OBJECTIVE = "it changes what a trial's value means, so that trials could not be compared; give it one value"
_NOT_SEARCHED = {
    **dict.fromkeys(("loss", "precision", "device", "step"), f"{_OBJECTIVE} beside space"),
    **dict.fromkeys(DataSpec.model_fields, f"{_OBJECTIVE} under data"),
    **dict.fromkeys(("epochs", "seed", "trial_seed"), f"{_OBJECTIVE} under search"),
}


def _distribution(path: Path_, value: Any) -> str:
    """A mapping whose `type` does not fit the hyperparameter."""
    fitting = _fitting(str(path[-1])) if path else []
    kinds = " | ".join(fitting)
    if isinstance(value, dict) and "type" not in value:
        return f"must have a type ({kinds})"
    kind = value.get("type") if isinstance(value, dict) else value
    return f"must be a plain value or have the type {kinds}, got {_shown(kind)}{_near(str(kind), fitting)}"


def _fitting(name: str) -> list[str]:
    """The types of distribution that fit a hyperparameter."""
    return types_of(BY_NAME[name]) if name in BY_NAME else []


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(value: Any) -> str:
    """A value as the user wrote it, cut where it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return _cut(repr(value) if isinstance(value, str) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
