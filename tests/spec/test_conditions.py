"""Claims about conditional hyperparameters as they are declared, against enumeration of all points."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import SpecError
from tuner.spec.architecture import layer_sizes, parameter_count
from tuner.spec.canonical import changed_keys, to_yaml
from tuner.spec.conditions import Conditions, ordered
from tuner.spec.reader import read_spec, read_spec_text
from tuner.spec.schema import schema
from tuner.spec.space import largest_model
from tuner.spec.study import StudySpec

KINDS = Path(__file__).parents[2] / "search_spaces/kinds.yaml"
ALL = "kind: {type: categorical, choices: [plain, denoising, sparse, variational]}"
TEXT = """\
name: x
data: {{source: sklearn:iris}}
search: {{trials: 3, epochs: 2}}
space:
  bottleneck: 2
  {}
"""


def read(*lines: str) -> StudySpec:
    """A study of these hyperparameters, from line 6 on."""
    return read_spec_text(TEXT.format("\n  ".join(lines)), "x.yaml")


def mistakes(*lines: str) -> list[str]:
    try:
        read(*lines)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


COMPARABLE = "it changes what a trial's value means, so that trials could not be compared; give it one value"
WRONG = [
    (
        (
            "beta: {value: 4.0, when: {kind: variatonal}}",
            ALL,
        ),
        6,
        "space.beta.when.kind",
        "must be plain | denoising | sparse | variational, got 'variatonal'; did you mean variational?",
    ),
    (
        (
            "dropout: {value: 0.1, when: {kind: [plain, 3]}}",
            ALL,
        ),
        6,
        "space.dropout.when.kind[1]",
        "must be plain | denoising | sparse | variational, got 3",
    ),
    (
        (
            "dropout: {value: 0.1, when: {kinds: plain}}",
            ALL,
        ),
        6,
        "space.dropout.when.kinds",
        "is not a known key; did you mean kind?",
    ),
    (("dropout: {value: 0.1, when: {}}",), 6, "space.dropout.when", "must name at least one other hyperparameter"),
    (
        ("dropout: {value: 0.1, when: [kind]}",),
        6,
        "space.dropout.when",
        "must be a mapping of keys to values, got a list",
    ),
    (("dropout: {value: 0.1}",), 6, "space.dropout.when", "must be given, but is missing"),
    (
        (
            "dropout: {value: x, when: {kind: plain}}",
            ALL,
        ),
        6,
        "space.dropout.value",
        "must be a number, got 'x'",
    ),
    (
        (
            "dropout: {value: 0.95, when: {kind: plain}}",
            ALL,
        ),
        6,
        "space.dropout.value",
        "must be at least 0 and at most 0.9, got 0.95",
    ),
    (
        ("dropout: {value: 0.1, when: {norm: layer}}",),
        6,
        "space.dropout.when.norm",
        "can never hold with layer, for norm is none",
    ),
    (
        ("dropout: {value: 0.1, when: {norm: none}}",),
        6,
        "space.dropout.when.norm",
        "always holds, for norm is none; leave it out",
    ),
    (
        (
            "dropout: {value: 0.1, when: {depth: [1, 4]}}",
            "depth: {type: int, low: 1, high: 3}",
        ),
        6,
        "space.dropout.when.depth",
        "can never hold with 4, for depth is 1 to 3",
    ),
    (
        (
            "dropout: {value: 0.1, when: {depth: [3, 1, 2]}}",
            "depth: {type: int, low: 1, high: 3}",
        ),
        6,
        "space.dropout.when.depth",
        "always holds, for depth is 1 to 3; leave it out",
    ),
    (
        (
            "dropout: {value: 0.1, when: {learning_rate: 0.1}}",
            "learning_rate: {type: float, low: 0.01, high: 0.1}",
        ),
        6,
        "space.dropout.when.learning_rate",
        "must be fixed, categorical or int to be depended on, but learning_rate is a range of real numbers",
    ),
    (
        ("dropout: {value: 0.1, when: {dropout: 0.1}}",),
        6,
        "space.dropout.when.dropout",
        "must be another hyperparameter, got the one that depends on it",
    ),
    (
        (
            "dropout: {value: 0.1, when: {norm: layer}}",
            "norm: {type: categorical, choices: [layer, none], when: {dropout: 0.1}}",
        ),
        6,
        "space.dropout.when",
        "must not depend on itself, by way of others either",
    ),
    (
        (
            "dropout: {value: 0.1, when: {norm: layer, kind: sparse}}",
            "norm: {type: categorical, choices: [layer, none], when: {kind: plain}}",
            ALL,
        ),
        6,
        "space.dropout.when",
        "can never hold, for where all that it depends on is active kind has other values",
    ),
    (
        (
            "kind: {value: sparse, when: {sparsity: 0.1}}",
            "sparsity: {type: categorical, choices: [0.1, 0.2]}",
        ),
        6,
        "space.kind.when",
        "must not depend on itself, by way of others either",
    ),
    (
        (
            "kind: sparse",
            "beta: 1.0",
        ),
        7,
        "space.beta",
        "means nothing unless kind can be variational, got kind sparse",
    ),
    (
        ("sparsity: {type: float, low: 0.0, high: 1.0}",),
        6,
        "space.sparsity",
        "means nothing unless kind can be sparse, got kind plain",
    ),
    (
        (
            "kind: variational",
            "beta: {type: float, low: 0.0, high: 1.0}",
        ),
        7,
        "space.beta.low",
        "must be above 0 where kind is variational, got 0.0",
    ),
    (
        (
            "kind: denoising",
            "input_noise: 0.0",
        ),
        7,
        "space.input_noise",
        "must be above 0 where kind is denoising, got 0.0",
    ),
    (
        (
            "input_noise: {value: 0.1, when: {kind: [plain, sparse]}}",
            ALL,
        ),
        6,
        "space.input_noise.when",
        "must hold wherever kind is denoising, and name nothing but kind",
    ),
    (
        (
            "beta: {value: 0.1, when: {kind: [sparse, variational]}}",
            ALL,
        ),
        6,
        "space.beta.when",
        "must be kind: variational alone, for it means nothing to other kinds",
    ),
    (
        ("loss: {type: categorical, choices: [mse, bce]}",),
        6,
        "space.loss",
        f"cannot be searched: {COMPARABLE} beside space",
    ),
    (("scaling: minmax",), 6, "space.scaling", f"cannot be searched: {COMPARABLE} under data"),
    (("kind: {typ: x}",), 6, "space.kind", "must have a type (categorical)"),
]


@pytest.mark.parametrize(("lines", "line", "key", "reason"), WRONG)
def test_what_cannot_be_meant_is_refused_by_line_and_key(
    lines: tuple[str, ...], line: int, key: str, reason: str
) -> None:
    """One sentence each, with the reason."""
    assert mistakes(*lines) == [f"x.yaml:{line}: {key}: {reason}"]


def test_a_code_depends_on_nothing() -> None:
    """Every autoencoder has one."""
    text = TEXT.format(ALL).replace("bottleneck: 2", "bottleneck: {value: 2, when: {kind: plain}}")
    with pytest.raises(SpecError, match=r"x\.yaml:5: space\.bottleneck\.when: must not depend on others"):
        read_spec_text(text, "x.yaml")


def test_what_a_kind_needs_is_filled_in_and_depends_on_it() -> None:
    """Written into the record, active for its own kind alone; also where it is declared without a condition."""
    space = read(ALL, "beta: {type: float, low: 0.1, high: 10.0}").space
    assert (space.input_noise, space.sparsity) == (0.1, 0.001)
    points = {kind: space.point({"kind": kind, "beta": 2.0}) for kind in space.kinds()}
    assert {kind: (one.input_noise, one.sparsity, one.beta) for kind, one in points.items()} == {
        "plain": (0, 0, 0), "denoising": (0.1, 0, 0), "sparse": (0, 0.001, 0), "variational": (0, 0, 2.0),
    }  # fmt: skip
    assert read("kind: variational").space.point({}).beta == 1.0
    assert (
        read("kind: sparse", "input_noise: 0.2").space.point({}).input_noise == 0.2
    )  # any kind may learn from noisy inputs


def test_what_is_below_something_left_out_is_left_out() -> None:
    """A chain of conditions; what is left out has its default, as if it were not declared."""
    space = read(
        "dropout: {value: 0.1, when: {norm: layer}}",
        "norm: {type: categorical, choices: [layer, none], when: {depth: [1, 2]}}",
        "depth: {type: int, low: 0, high: 2}",
    ).space
    drawn = {"depth": 1, "norm": "layer"}
    assert (space.point(drawn).norm, space.point(drawn).dropout) == ("layer", 0.1)
    assert (space.point({**drawn, "depth": 0}).norm, space.point({**drawn, "depth": 0}).dropout) == ("none", 0.0)
    assert space.shown(space.point({**drawn, "depth": 0}))["norm"] is None


NAMES = ("a", "b", "c", "d")


@st.composite
def conditional(draw: st.DrawFn) -> tuple[Conditions, dict[str, tuple[int, ...]]]:
    """Four hyperparameters of up to four values, each of which may depend on any before it in some order."""
    values = {name: tuple(range(draw(st.integers(1, 4)))) for name in NAMES}
    order, when = draw(st.permutations(NAMES)), {}
    for place, name in enumerate(order):
        above = draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=2)) if place else []
        listed = {other: draw(st.lists(st.sampled_from(values[other]), min_size=1, unique=True)) for other in above}
        if listed:
            when[name] = listed
    return Conditions(ordered(NAMES, when), when), values


@settings(max_examples=200, deadline=None)
@given(conditional(), st.integers(0, 40))
def test_points_are_the_distinct_ones_of_the_product(
    declared: tuple[Conditions, dict[str, tuple[int, ...]]], most: int
) -> None:
    """All combinations, each reduced to what is active: the same set, each once, and counted without being made."""
    conditions, values = declared
    product = (dict(zip(NAMES, chosen, strict=True)) for chosen in itertools.product(*values.values()))
    expected = {frozenset(conditions.active(chosen).items()) for chosen in product}
    points = [frozenset(point.items()) for point in conditions.points(values)]
    assert len(points) == len(set(points))
    assert set(points) == expected
    assert conditions.count(values, 10**9) == len(points)
    assert (conditions.count(values, most) > most) == (len(points) > most)


def test_what_depends_on_nothing_stays_in_its_order() -> None:
    """Names come as they are declared, one after what it depends on."""
    assert ordered(NAMES, {}) == NAMES
    assert ordered(NAMES, {"a": {"c": [1]}}) == ("b", "c", "a", "d")
    assert ordered(NAMES, {"a": {"b": [1]}, "b": {"a": [1]}}) == ("c", "d")


def test_the_largest_model_is_that_of_some_point() -> None:
    """Of all points, with taper, layer norm (gain and shift) and a variational code (mean and log-variance) counted."""
    for norm, kind in itertools.product(["none", "layer"], ["plain", "variational"]):
        space = read(
            f"norm: {norm}", f"kind: {kind}", "depth: {type: int, low: 0, high: 3}",
            "taper: {type: categorical, choices: [0.0, 0.5, 1.0]}", "width: {type: categorical, choices: [16, 48]}",
        ).space  # fmt: skip
        sizes = [layer_sizes(9, space.point(drawn)) for drawn in space.grid()]
        counts = [
            parameter_count(s)
            + (kind == "variational") * (s[len(s) // 2 - 1] + 1) * 2
            + (norm == "layer") * 2 * (sum(s[1:-1]) - 2)
            for s in sizes
        ]
        assert len(counts) == 24
        assert largest_model(9, space) == max(counts)


def test_a_grid_has_its_distinct_points() -> None:
    """Three depths, two of them with two widths: five points; a sixth trial is refused."""
    lines = ("depth: {type: int, low: 0, high: 2}", "width: {type: int, low: 8, high: 9, when: {depth: [1, 2]}}")
    text = TEXT.format("\n  ".join(lines)).replace("trials: 3", "trials: 5, sampler: grid")
    assert read_spec_text(text, "x").space.grid_size(100) == 5
    with pytest.raises(SpecError, match=r"search\.trials: must be at most 5, the points of the grid, got 6"):
        read_spec_text(text, "x", ["search.trials=6"])


def without_news(spec: StudySpec) -> str:
    """The declaration as a version wrote it that knew neither kinds nor conditions."""

    def before(value: Any) -> Any:
        return {k: before(v) for k, v in value.items() if k != "when"} if isinstance(value, dict) else value

    declared = json.loads(spec.model_dump_json())
    declared["space"] = dict(list(before(declared["space"]).items())[:8])
    return json.dumps(declared)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "smoke"])
def test_a_declaration_of_an_earlier_version_is_unchanged(name: str) -> None:
    """No key counts as changed, so that its study goes on."""
    spec = read_spec(KINDS.with_stem(name))
    before = StudySpec.model_validate_json(without_news(spec))
    assert changed_keys(before, spec) == []
    assert before.space.columns == tuple(before.space.point({"learning_rate": 1.0}).as_dict())[:8]


def test_a_changed_condition_is_a_changed_key() -> None:
    """Named like the hyperparameter that it belongs to, with what it was and is."""
    old = read(ALL, "dropout: {value: 0.1, when: {kind: plain}}")
    new = read(ALL, "dropout: {value: 0.1, when: {kind: [plain, sparse]}}")
    (change,) = changed_keys(old, new)
    assert change.key == "space.dropout"
    assert (change.old, change.new) == (
        '{"value": 0.1, "when": {"kind": "plain"}}', '{"value": 0.1, "when": {"kind": ["plain", "sparse"]}}',
    )  # fmt: skip


def test_one_choice_and_a_list_of_one_are_the_same() -> None:
    """However it is written, the declaration is equal, and so is what is written down of it."""
    one, listed = (
        read(ALL, f"dropout: {{value: 0.1, when: {{kind: {kind}}}}}") for kind in ("plain", "[plain, plain]")
    )
    assert one == listed
    assert to_yaml(one) == to_yaml(listed)
    assert read_spec_text(to_yaml(one), "x") == one
    assert StudySpec.model_validate_json(one.model_dump_json()) == one


def test_editors_know_conditions() -> None:
    """The schema takes one value and a list, and marks a word that is no kind and a key that is no hyperparameter."""
    validator = jsonschema.Draft202012Validator(schema())
    value = read_spec(KINDS).model_dump(mode="json", exclude_none=True)
    validator.validate(value)
    for when in ({"kind": "variatonal"}, {"kind": ["plain", "x"]}, {"kinds": "plain"}, {"depth": "1"}, "kind"):
        value["space"]["dropout"]["when"] = when
        assert not validator.is_valid(value)
