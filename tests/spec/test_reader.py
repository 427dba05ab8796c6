"""Claims about the strict reader: what is meant is read, and every mistake is named by file, line and key."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import SpecError
from tuner.spec.reader import read_spec, read_spec_text, spec_from_mapping
from tuner.spec.strict_yaml import parse
from tuner.spec.study import StudySpec

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
GOOD = """\
name: x
data:
  source: sklearn:iris
space:
  bottleneck: 2
  width: {type: int, low: 4, high: 32}
search:
  trials: 3
  epochs: 2
"""


def mistakes(text: str, *overrides: str) -> list[str]:
    """What the reader says to a text; empty where it takes it."""
    try:
        read_spec_text(text, "x.yaml", overrides)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_the_shipped_spaces_are_read(path: Path) -> None:
    """Each is a study whose name is the file's."""
    assert read_spec(path).name == path.stem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-3", -3),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("2026-11-24", "2026-11-24"),
        ("1:30", "1:30"),
        ("'1e-3'", "1e-3"),
        ("0x10", "0x10"),
        ("１２", "１２"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    """PyYAML alone reads 1e-3 as text, no as false, 1:30 as 90."""
    value = parse(f"a: {written}", "x").value["a"]
    assert value == meant
    assert type(value) is type(meant)


def test_every_mistake_is_named_at_once_by_line_and_key() -> None:
    """A file with one mistake of each kind gives one sentence for each, in the file's order."""
    text = """\
name: digits
data:
  source: 3
  scalling: minmax
space:
  learning_rate: {type: floa, low: 1e-4, high: 1e-1}
  batch_size: {type: categorical, choices: [32, 6.4]}
  width: {type: int, low: 64, high: 32}
  bottlenec: 8
  activation: {type: categorical, choices: [relu, gel]}
  depth: {low: 3, high: 4}
  weight_decay: {type: float, low: 0.0, high: 1.0, log: true}
search:
  sampler: tep
  trials: 1e3
  epochs: 0
  timeout: 10x
"""
    assert mistakes(text) == [
        "x.yaml:3: data.source: must be text, got 3",
        "x.yaml:4: data.scalling: is not a known key; did you mean scaling?",
        "x.yaml:5: space.bottleneck: must be given, but is missing",
        "x.yaml:6: space.learning_rate: must be a plain value or have the type float | categorical, got 'floa';"
        " did you mean float?",
        "x.yaml:7: space.batch_size.choices[1]: must be a whole number, got 6.4",
        "x.yaml:8: space.width.high: must be at least low (64), got 32",
        "x.yaml:9: space.bottlenec: is not a known key; did you mean bottleneck?",
        "x.yaml:10: space.activation.choices[1]: must be relu | leaky_relu | elu | selu | gelu | silu | tanh | sigmoid,"
        " got 'gel'; did you mean gelu?",
        "x.yaml:11: space.depth: must have a type (int | categorical)",
        "x.yaml:12: space.weight_decay.low: must be above 0 where log is true, got 0.0",
        "x.yaml:14: search.sampler: must be tpe | random | sobol | gp | grid, got 'tep'; did you mean tpe?",
        "x.yaml:15: search.trials: must be a whole number, got 1000.0",
        "x.yaml:16: search.epochs: must be at least 1, got 0",
        "x.yaml:17: search.timeout: must be a time such as 90s, 10m, 1.5h or 2d, got '10x'",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "x.yaml:2: a: must stand once, but stands in line 1 as well"),
        ("a: &x 1", "x.yaml:1: must not use anchors (&) or aliases (*); write the value out"),
        ("a: [" + "*x, " * 9 + "*x]", "x.yaml:1: must not use anchors (&) or aliases (*); write the value out"),
        ("a: !!python/name:os.system x", "x.yaml:1: must not use tags, got tag:yaml.org,2002:python/name:os.system"),
        ("[" * 5000, "x.yaml:1: must not be nested deeper than 20 levels"),
        ("a: 010", "x.yaml:1: must be a number without leading zeros, got 010"),
        ("a: " + "9" * 5000, "x.yaml:1: must be a number of at most 400 digits"),
        ("---\na: 1\n---\nb: 2", "x.yaml:3: must hold one document, got a second one"),
        ("? [a]\n: b", "x.yaml:1: must have words as keys, got a list or a mapping"),
        ("a: [1,\n", "x.yaml:2: must be YAML, got: expected the node content, but found '<stream end>'"),
        ("a: [" + "1, " * 50_000 + "1]", "x.yaml:1: must hold at most 50,000 keys and values"),
        ("a: \x00", "x.yaml:1: must be text, got the character 0"),
        ("", "x.yaml: must be a mapping with name, data, space and search, got nothing"),
        ("[1, 2]", "x.yaml: must be a mapping with name, data, space and search, got a list"),
    ],
)
def test_what_yaml_allows_and_we_refuse(text: str, said: str) -> None:
    """Traps, bombs and broken text: one sentence each, with the line."""
    assert mistakes(text) == [said]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("bottleneck: 2", "bottleneck: 40"), "space.width: must reach at least the bottleneck (40)"),
        (("trials: 3", "trials: 3\n  sampler: grid"), "search.trials"),
        (("epochs: 2", "epochs: .nan"), "search.epochs: must be a whole number"),
        (("low: 4", "low: 0"), "space.width.low: must be at least 1 and at most 65536, got 0"),
        (("sklearn:iris", "sklearn:iris\n  validation: 0.7\n  test: 0.3"), "data.validation: must leave rows"),
        (("name: x", "name: ../x"), "name: must be up to 100 letters"),
        (("name: x", "name: true"), "name: must be text, got true"),
        (("bottleneck: 2", "bottleneck: true"), "space.bottleneck: must be a whole number, got true"),
        (("epochs: 2", "epochs: 2\nloss: bce\ndevice: gpu"), "device: must be auto, cpu, cuda, cuda:N or mps"),
        (("sklearn:iris", "sklearn:iris\n  scaling: standard"), ""),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(change: tuple[str, str], said: str) -> None:
    """Ranges, sums and combinations are checked where they are declared."""
    found = mistakes(GOOD.replace(*change))
    if change[1].endswith("grid"):
        assert found == []  # 29 points are enough for 3 trials
        assert said in mistakes(GOOD.replace(*change).replace("trials: 3", "trials: 30"))[0]
    elif said:
        assert len(found) == 1
        assert said in found[0]
    else:
        assert found == []
        assert "data.scaling: must be minmax or none" in mistakes(f"{GOOD.replace(*change)}loss: bce\n")[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("bottleneck: 2", "bottleneck: 2\n  float: 1"), "x.yaml:6: space.float: is not a known key"),
        (("high: 32", "high: 32, int: 1"), "x.yaml:6: space.width.int: is not a known key"),
        (("sklearn:iris", "a.csv\n  columns: [1]"), "x.yaml:4: data.columns[0]: must be text, got 1"),
        (("sklearn:iris", '"\\ud800"'), "x.yaml:3: data.source: must be text without halves of characters"),
        (("sklearn:iris", 'x.csv\n  columns: [a, "\\ud800"]'), "x.yaml:4: data.columns[1]: must be text without"),
        (("name: x", 'name: x\n"a\\nb\\e[2J": 1'), "x.yaml:2: a\\nb\\x1b[2J: is not a known key"),
        (("bottleneck: 2", f"bottleneck: 2\n  ? {'x' * 5000}\n  : 1"), "x.yaml:6: space.xxx"),
        (("bottleneck: 2", "bottleneck: 2\n  input_noise: {type: float, low: 0.0, high: 1.0, step: 1e-300}"),
         "x.yaml:6: space.input_noise.step: must be at least the range from low to high by 1,000,000,000, got 1e-300"),
        (("trials: 3", "trials: 3\n  sampler: grid"), "x.yaml:4: space: must yield at most 1,000,000 points"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence_about_its_own_key(change: tuple[str, str], said: str) -> None:
    """Keys named as pydantic names its kinds, lists with nothing right in them, odd keys, endless grids."""
    wide = GOOD.replace("high: 32}", "high: 32}\n  input_noise: {type: float, low: 0.0, high: 1.0, step: 1e-6}")
    (found,) = mistakes((wide if "grid" in change[1] else GOOD).replace(*change))
    assert found.startswith(said)
    assert found.isprintable()
    assert len(found) < 1000


def test_of_very_many_mistakes_the_first_hundred_are_shown() -> None:
    """All are known to the error, its message ends with how many more there are."""
    with pytest.raises(SpecError) as error:
        read_spec_text(GOOD + "".join(f"a{number}: 1\n" for number in range(250)), "x")
    assert len(error.value.problems) == 250
    assert str(error.value).split("\n")[99:] == [str(error.value.problems[99]), "... and 150 more."]


def test_overrides_are_typed_and_checked_like_the_file() -> None:
    """They replace a value or what is inside one; their mistakes name them, not a line of the file."""
    spec = read_spec_text(
        GOOD, "x", ["search.trials=20", "space.width=16", "search.timeout=10m", "data.exclude=[a, b]"]
    )
    assert (spec.search.trials, spec.space.width, spec.search.timeout) == (20, 16, 600.0)
    assert spec.data.exclude == ("a", "b")
    assert read_spec_text(GOOD, "x", ["space.width.high=64"]).space.width.high == 64  # type: ignore[union-attr]
    assert mistakes(GOOD, "search.trials=abc", "foo", "name.x=1", "search.tirals=1") == [
        "--set foo: must be KEY=VALUE, such as search.trials=20",
        "--set name.x=1: name.x: cannot be set, for name is a plain value",
        "--set search.trials=abc: search.trials: must be a whole number, got 'abc'",
        "--set search.tirals=1: search.tirals: is not a known key; did you mean trials?",
    ]


def test_files_that_are_none(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe, a huge file, bytes that are no text: one sentence, and no waiting."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"#" * 10_000_001)
    (tmp_path / "latin").write_bytes(b"name: x\ndata: \xe4")
    for name, said in {
        "none": "No such file",
        ".": "must be a file, got a directory or a device",
        "pipe": "must be a file, got a directory or a device",
        "huge": "must be smaller than 1 MB",
        "latin": ":2: must be UTF-8 text, got the byte 0xe4",
    }.items():
        with pytest.raises(SpecError) as error:
            read_spec(tmp_path / name)
        assert said in str(error.value)


def test_a_mapping_is_a_declaration_too() -> None:
    """Python's dictionaries are checked as files are."""
    spec = read_spec_text(GOOD, "x")
    assert spec_from_mapping(spec.model_dump(mode="json")) == spec
    with pytest.raises(
        SpecError, match="spec: must be a mapping of plain values, got: 'object' object is not iterable"
    ):
        spec_from_mapping({"name": object()})
    with pytest.raises(SpecError, match=r"spec: search\.trials: must be a whole number, got 2\.5"):
        spec_from_mapping({**spec.model_dump(mode="json"), "search": {"trials": 2.5, "epochs": 1}})


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_declaration_or_a_list_of_mistakes(text: str) -> None:
    """Nothing but SpecError leaves the reader."""
    mistakes(text)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_mutated_spaces_are_declarations_or_lists_of_mistakes(path: Path) -> None:
    """500 mutations of each shipped file: characters and lines swapped, doubled, dropped, replaced."""
    text, chance = path.read_text(), random.Random(path.name)
    for _ in range(500):
        mutated = text
        for _ in range(chance.randint(1, 4)):
            mutated = mutate(mutated, chance)
        try:
            assert isinstance(read_spec_text(mutated, "x"), StudySpec)
        except SpecError as error:
            assert error.problems


def mutate(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    lines = text.split("\n")
    kind = chance.randrange(5)
    if kind == 0:
        return text[:at] + chance.choice("{}[]:,-#&*!|>'\"%@`\t\n 0aé\x7f") + text[at:]
    if kind == 1:
        return text[:at] + text[at + chance.randint(1, 10) :]
    if kind == 2:
        line = chance.randrange(len(lines))
        return "\n".join([*lines[:line], lines[line], *lines[line:]])
    if kind == 3:
        words = text.split(" ")
        words[chance.randrange(len(words))] = chance.choice(
            ["null", "-1", "1e400", "[]", "{}", "true", "x" * 99, "0", ".inf"]
        )
        return " ".join(words)
    chance.shuffle(lines)
    return "\n".join(lines)
