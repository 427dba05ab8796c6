"""A declaration written down again, and compared with another one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from tuner.spec.reader import read_spec_text
from tuner.spec.strict_yaml import parse, scalar
from tuner.spec.study import StudySpec

BY_RULES: Final = ("skip",)  # hyperparameters that are not declared have another default by newer rules


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value differs; None where it is not given."""

    key: str
    old: Any
    new: Any


def to_yaml(spec: StudySpec) -> str:
    """A file that, read again, gives an equal declaration.

    Defaults are written out, but for keys without a value and hyperparameters that the study has no use for.
    """
    declared = _given(spec.model_dump(mode="json"))
    kept = {*spec.space.columns, *(set(BY_RULES) & spec.space.model_fields_set)}  # what is left open stays open
    declared["space"] = {name: value for name, value in declared["space"].items() if name in kept}
    return yaml.dump(declared, Dumper=_Dumper, sort_keys=False, width=110)


def renamed_text(text: str, name: str) -> str:
    """A space file with another name; the rest stays as it is written, comments as well, where that can be.

    Raises:
        SpecError: it has mistakes, or the name cannot be one.
    """
    source, word = "space.yaml", yaml.dump(name, Dumper=_Dumper, default_style="'").strip()
    line = parse(text, source).lines.get(("name",), 0)
    lines = text.splitlines(keepends=True)
    before = lines[line - 1] if 0 < line <= len(lines) else ""
    if re.fullmatch(r"name\s*:[^#\n\r\"'|>]*(#.*)?[\n\r]*", before):
        comment = before[before.index("#") :] if "#" in before else ""
        lines[line - 1] = f"name: {word}  {comment}" if comment else f"name: {word}\n"
        return _named("".join(lines), name)
    spec = read_spec_text(text, source)
    return _named(to_yaml(spec.model_copy(update={"name": name})), name)


def _named(text: str, name: str) -> str:
    spec = read_spec_text(text, "space.yaml")
    assert spec.name == name
    return text


def to_keys(spec: StudySpec) -> dict[str, Any]:
    """A declaration's values by dotted key; a hyperparameter counts as one key."""
    return dict(_leaves(spec.model_dump(mode="json")))


def changed_keys(old: StudySpec, new: StudySpec) -> list[Change]:
    """The dotted keys in which two declarations differ."""
    before, after = to_keys(old), to_keys(new)
    keys = dict.fromkeys([*before, *after])
    return [Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items() if item is not None}
    return value


def _leaves(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, dict) and prefix != "space.":
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(_given(value)) if isinstance(value, dict | list) else value


class _Dumper(yaml.SafeDumper):
    """Numbers and words plain, text in quotes where our reader would take it for a number or a word."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's name; else it would tag what it reads differently


def _plain(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TEXT, json.dumps(value))


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TEXT, value, style=None if isinstance(scalar(value), str) else "'")


_TEXT = "tag:yaml.org,2002:str"
for kind in (float, int, bool):
    _Dumper.add_representer(kind, _plain)
_Dumper.add_representer(str, _text)
