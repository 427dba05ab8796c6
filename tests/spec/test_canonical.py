"""Claims about declarations written down, compared, and described to editors."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.spec import schema
from tuner.spec.canonical import changed_keys, to_yaml
from tuner.spec.reader import read_spec, read_spec_text, spec_from_mapping

ROOT = Path(__file__).parents[2]
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
FLOATS = st.floats(1e-300, 100, exclude_min=True)


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, object]:
    """Declarations with awkward names and numbers."""
    low, high = sorted((draw(FLOATS), draw(FLOATS)))
    return {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        "data": {
            "source": draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)),
            "columns": draw(st.none() | st.lists(st.text(max_size=5), min_size=1, max_size=3)),
        },
        "space": {
            "learning_rate": {"type": "float", "low": low, "high": high, "log": draw(st.booleans())},
            "weight_decay": draw(FLOATS),
            "bottleneck": draw(st.integers(1, 128)),
        },
        "search": {"trials": draw(st.integers(1, 10**6)), "epochs": 3, "seed": draw(st.integers(0, 2**63 - 1))},
    }


@settings(max_examples=200, deadline=None)
@given(declarations())
def test_what_is_written_is_read_as_the_same(mapping: dict[str, object]) -> None:
    """Every float, name and odd text survives the file bit for bit."""
    spec = spec_from_mapping(mapping)
    assert read_spec_text(to_yaml(spec), "x") == spec


def test_changes_are_named_by_key() -> None:
    """Only what differs, a hyperparameter as a whole."""
    old = read_spec(SPACES[0])
    new = read_spec(SPACES[0], ["search.trials=7", "space.depth=1", "loss=bce", "data.scaling=none"])
    assert [change.key for change in changed_keys(old, new)] == ["data.scaling", "space.depth", "loss", "search.trials"]
    assert changed_keys(old, old) == []


def test_the_committed_schema_is_the_models() -> None:
    """`tuner schema > tuner/spec/study.schema.json` brings it up to date."""
    assert (ROOT / "tuner/spec/study.schema.json").read_text() == schema.schema_text()


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_the_schema_takes_what_the_reader_takes(path: Path) -> None:
    """An editor accepts the shipped spaces, written out, and marks a misspelt key and a wrong type."""
    validator = jsonschema.Draft202012Validator(json.loads(schema.schema_text()))
    jsonschema.Draft202012Validator.check_schema(validator.schema)
    value = read_spec(path).model_dump(mode="json", exclude_none=True)
    validator.validate(value)
    for wrong in ({**value, "losss": "mse"}, {**value, "search": {**value["search"], "trials": "many"}}):
        assert not validator.is_valid(wrong)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_a_written_file_is_plain_yaml(path: Path) -> None:
    """Any YAML reader takes it: no tags of ours."""
    assert yaml.safe_load(to_yaml(read_spec(path)))["name"] == path.stem
