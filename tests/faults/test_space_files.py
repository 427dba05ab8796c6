"""Claims about space files that are wrong: a study that can be run, or every mistake in a sentence each."""

from __future__ import annotations

import random
import resource
import signal
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st
from spaces import KEYS, LONG_NUMBERS, NUMBERS, STRANGE, WORDS, mutated

from tuner.cli import app, exit_codes
from tuner.errors import MOST_SHOWN, SpecError
from tuner.search.lengths import resolved
from tuner.search.loop import Search
from tuner.search.minutes import Costs, budgeted
from tuner.search.rungs import cohort_size, expected_amount
from tuner.spec.architecture import layer_sizes, parameter_count
from tuner.spec.canonical import to_yaml
from tuner.spec.data import DataSpec
from tuner.spec.reader import read_spec, read_spec_text, spec_from_mapping
from tuner.spec.space import SearchSpace
from tuner.spec.strict_yaml import MOST_VALUES
from tuner.spec.study import FinalSpec, SearchSpec, StudySpec

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
DIGITS = SHIPPED[0].with_name("digits.yaml")
SECONDS = 5.0
TIMES = 5  # what PyYAML alone takes for as much
LONGEST = 1000
Scale = Callable[[int, int], int]
Tell = Callable[[str], None]

pytestmark = pytest.mark.sample


def outcome(read: Callable[[], StudySpec], source: str) -> str:
    """What came of reading, having checked all that is claimed of it."""
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            spec = read()
        except SpecError as error:
            check_sentences(error, source)
            spec = None
        assert time.monotonic() - started < SECONDS
        if spec is not None:
            check_study(spec)
    assert time.monotonic() - started < 2 * SECONDS
    return "refused" if spec is None else "read"


def most_memory() -> int:
    """The most that this process ever had, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_sentences(error: SpecError, source: str) -> None:
    """One line for each mistake, which says where."""
    assert error.problems
    lines = str(error).split("\n")
    assert len(lines) == min(len(error.problems), MOST_SHOWN + 1)
    for line in lines:
        assert line.isprintable(), line
        assert len(line) <= LONGEST
    for problem in error.problems:
        assert str(problem).startswith((source, "--set "))
        assert problem.message
        assert problem.line or not problem.key or not source.endswith(".yaml")


def check_study(spec: StudySpec) -> None:
    """It can be written down and read again, and its search proposes points that are networks."""
    assert spec_from_mapping(spec.model_dump(mode="json")) == spec
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    assert read_spec_text(to_yaml(spec), "x") == spec
    length = resolved(spec, 1000, 200)
    assert length.top == spec.search.epochs or length.is_open or spec.search.steps is not None
    assert cohort_size(spec.search) >= 1
    assert spec.search.is_planned or spec.search.minutes is not None
    trials = spec.search.trials or budgeted(spec, (1000, 200), Costs(0.1, 0.01, 0.01)).trials
    assert expected_amount(spec.search, length, trials) > 0
    for trial in Search(spec, length=length).ask(0, min(3, trials)).trials:
        sizes = layer_sizes(8, trial.point)
        assert len(sizes) == 2 * trial.point.depth + 3
        assert min(sizes) >= 1
        assert parameter_count(sizes) > 0
        assert trial.point.learning_rate > 0


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.name)
def test_mutated_files_are_studies_or_mistakes(
    shipped: Path, tmp_path: Path, chance: random.Random, scale: Scale, tell: Tell
) -> None:
    """No other exception, no warning, no seconds, no memory to speak of: a study that can be run, or sentences."""
    path, content, seen = tmp_path / "space.yaml", shipped.read_bytes(), Counter[str]()
    count, before = scale(5_000, 100_000) // len(SHIPPED) + 1, most_memory()
    for _ in range(count):
        path.write_bytes(mutated(content, chance))
        seen[outcome(lambda: read_spec(path), str(path))] += 1
    assert seen["read"] > count // 20
    assert most_memory() - before < 300_000
    tell(f"{count} mutations: {dict(seen)}")


ODD = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just(10**400),
    st.just("x" * 100_000),
)
NESTED = st.recursive(ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))
DISTRIBUTION = st.fixed_dictionaries(
    {"type": st.sampled_from(("float", "int", "categorical"))},
    optional={
        "low": st.floats(1e-12, 64) | st.integers(0, 64) | ODD,
        "high": st.floats(1e-12, 100) | st.integers(1, 128) | ODD,
        "step": st.floats(0, 1) | st.integers(1, 9) | ODD,
        "log": st.booleans() | ODD,
        "choices": st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True) | NESTED,
        "when": st.dictionaries(
            st.sampled_from(sorted(SearchSpace.model_fields)), st.integers(1, 3) | NESTED, max_size=2
        ),
    },
)
VALUE = DISTRIBUTION | st.integers(1, 64) | st.floats(1e-6, 1) | NESTED


def block(model: type[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any keys of a part of the declaration, and sometimes one that it does not know."""
    keys = st.sampled_from(sorted(model.model_fields)) | st.sampled_from(KEYS) | st.text(max_size=5)
    return st.dictionaries(keys, values, max_size=5)


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    """A good declaration with some of its keys replaced by whatever."""
    good: dict[str, Any] = {
        "name": "x",
        "data": {"source": "sklearn:iris"} | draw(st.just({}) | block(DataSpec, NESTED)),
        "space": {"bottleneck": 2} | draw(st.just({}) | block(SearchSpace, VALUE)),
        "search": {"trials": 2, "epochs": 3} | draw(st.just({}) | block(SearchSpec, st.integers(1, 30) | NESTED)),
        "final": draw(st.just({}) | block(FinalSpec, st.integers(1, 30) | NESTED)),
    }
    return good | draw(st.just({}) | block(StudySpec, NESTED))


def test_any_mapping_is_a_study_or_mistakes(chance: random.Random, scale: Scale, tell: Tell) -> None:
    """From Python: keys of the schema with values of any kind, and other keys."""
    seen = Counter[str]()

    @hypothesis.seed(chance.randrange(2**32))
    @hypothesis.settings(
        max_examples=scale(600, 20_000),
        deadline=None,
        database=None,
        suppress_health_check=[*hypothesis.HealthCheck],
    )
    @hypothesis.given(mappings())
    def claim(mapping: dict[str, Any]) -> None:
        seen[outcome(lambda: spec_from_mapping(mapping), "spec")] += 1

    claim()
    assert seen["read"]
    tell(f"{seen.total()} mappings: {dict(seen)}")


def test_any_override_is_taken_or_a_mistake(chance: random.Random, scale: Scale, tell: Tell) -> None:
    """`--set` with keys and values of any kind."""
    text, seen = DIGITS.read_text(), Counter[str]()
    for _ in range(scale(500, 10_000)):
        block, model = chance.choice((("data", DataSpec), ("space", SearchSpace), ("search", SearchSpec)))
        key = f"{block}.{chance.choice(sorted(model.model_fields))}"
        if chance.random() < 0.5:
            key = ".".join(chance.choices((*KEYS, "", "a b", "x" * 2_000), k=chance.choice((1, 2, 2, 3))))
        value = chance.choice((*WORDS, *NUMBERS, *LONG_NUMBERS, *STRANGE))
        seen[outcome(lambda text=text, one=f"{key}={value}": read_spec_text(text, "x", [one]), "x")] += 1  # type: ignore[misc]
    tell(f"{seen.total()} overrides: {dict(seen)}")


def processor_seconds(work: Callable[[], object]) -> float:
    """This process' own time, which others do not lengthen."""
    before = time.process_time()
    work()
    return time.process_time() - before


def read_or_refuse(path: Path) -> None:
    """Read a file; a refusal may not be of pages."""
    try:
        read_spec(path)
    except SpecError as error:
        assert len(str(error)) < 200_000


@pytest.mark.parametrize("kind", ["list", "keys", "blanks", "choices", "names", "wide"])
def test_a_megabyte_is_read_as_fast_as_yaml_is(kind: str, tmp_path: Path) -> None:
    """Files of the largest size, each as slow to read as can be: an answer in a few times what PyYAML takes to go
    through as many values as a file may hold, and not of pages."""
    text = DIGITS.read_text()
    large = {
        "list": text + f"x: [{'1,' * 490_000}]\n",
        "keys": text + "".join(f"a{number}: 1\n" for number in range(85_000)),
        "blanks": text + "\n" * 900_000,
        "choices": text.replace("[32, 64, 128, 256]", f"[{'a, ' * 300_000}]"),
        "names": text.replace("scaling:", f"exclude: [{'abcdefg, ' * 100_000}]\n  scaling:"),
        "wide": text + f"? {'a' * 900_000}\n: 1\n",
    }[kind]
    (tmp_path / "x.yaml").write_text(large)
    assert (tmp_path / "x.yaml").stat().st_size < 1_000_000
    scanned = processor_seconds(lambda: deque(yaml.parse(f"[{'a, ' * MOST_VALUES}]", yaml.SafeLoader), maxlen=0))
    assert processor_seconds(lambda: read_or_refuse(tmp_path / "x.yaml")) < TIMES * scanned


def validated(path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """`tuner validate FILE`: its exit code, and all that it printed."""
    monkeypatch.setattr(sys, "argv", ["tuner", "validate", str(path)])
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended:
            app.main()
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    said = capfd.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def test_the_command_line_ends_with_an_answer(
    tmp_path: Path,
    chance: random.Random,
    scale: Scale,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """`tuner validate` of mutated files: exit code 0 or 2, never a traceback."""
    monkeypatch.chdir(tmp_path)
    seen = Counter[int]()
    for number in range(scale(60, 3_000)):
        content = mutated(SHIPPED[number % len(SHIPPED)].read_bytes(), chance)
        (tmp_path / "space.yaml").write_bytes(content)
        code, said = validated(tmp_path / "space.yaml", monkeypatch, capfd)
        assert code in (0, 2), f"{said}\n{content!r}"
        assert "Traceback" not in said
        assert "Warning" not in said
        assert said.strip()
        seen[code] += 1
    assert not (tmp_path / exit_codes.CRASH_LOG).exists()
    assert seen[0]
    assert seen[2]
    tell(f"{seen.total()} files: {seen[0]} times exit code 0, {seen[2]} times 2")
