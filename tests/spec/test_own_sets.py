"""Claims about `search.first`: a user's own sets, held against the space before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.errors import SpecError
from tuner.orchestration.warm_start import own_start
from tuner.spec.canonical import to_yaml
from tuner.spec.fitting import misfit
from tuner.spec.reader import read_spec_text, spec_from_mapping
from tuner.spec.study import StudySpec

SPACE: dict[str, Any] = {
    "bottleneck": {"type": "int", "low": 1, "high": 3},
    "width": 16,
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    "kind": {"type": "categorical", "choices": ["plain", "variational"]},
    "beta": {"type": "float", "low": 0.1, "high": 2.0},
}
PLAIN = {"bottleneck": 2, "learning_rate": 1, "kind": "plain"}
VARIATIONAL = {"bottleneck": 3, "learning_rate": 0.01, "kind": "variational", "beta": 0.5, "width": 16}


def spec(first: object, **search: Any) -> StudySpec:
    declared = {"trials": 5, "epochs": 1, "first": first, **search}
    return spec_from_mapping({"name": "x", "data": {"source": "a.csv"}, "space": SPACE, "search": declared})


def test_sets_become_whole_points() -> None:
    """What the space fixes is filled in, what is not active has its default, whole numbers become floats; as before
    for a study without."""
    made = own_start(spec([PLAIN, VARIATIONAL]))
    assert made is not None
    assert (made.origin, made.left_out) == ("search.first", 0)
    plain, variational = made.points
    assert (plain["learning_rate"], plain["beta"], plain["width"], plain["bottleneck"]) == (1.0, 0.0, 16, 2)
    assert isinstance(plain["learning_rate"], float)
    assert variational["beta"] == 0.5
    assert [misfit(spec(None).space, point) for point in made.points] == [None, None]
    assert own_start(spec(None)) is None


def test_they_survive_the_file() -> None:
    """Written down and read again."""
    declared = spec([PLAIN, VARIATIONAL])
    assert read_spec_text(to_yaml(declared), "x.yaml") == declared


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ([{**PLAIN, "bottleneck": 4}], "of set 1, its bottleneck is 4, which space.bottleneck does not reach"),
        ([PLAIN, {"kind": "plain"}], "of set 2, it has no learning_rate, bottleneck, which the space searches"),
        ([{**PLAIN, "kind": "variational"}], "of set 1, it has no beta, which the space searches"),
        ([{**PLAIN, "beta": 0.5}], "of set 1, its beta is 0.5, where space.beta is 0"),
        ([{**PLAIN, "width": 8}], "of set 1, its width is 8, where space.width is 16"),
        ([{**PLAIN, "widht": 8}], "of set 1, its widht is no hyperparameter; did you mean width?"),
        ([{**PLAIN, "bottleneck": 2.5}], "its bottleneck is 2.5, which must be a whole number"),
        ([{**PLAIN, "learning_rate": "fast"}], "its learning_rate is fast, which must be a number"),
        ([{**PLAIN, "kind": 3}], "its kind is 3, which must be a word"),
        ([{**PLAIN, "kind": "sparse"}], "its kind is sparse, which space.kind does not reach"),
        ([{**PLAIN, "kind": [3]}], r"must be a number or a word, got \[3\]"),
        ([], r"search.first: must have at least 1 item\(s\)"),
        ([PLAIN] * 6, "search.trials: must be at least 6, the sets of search.first, got 5"),
        ([3], r"search\.first\[0\]: must be a mapping"),
    ],
)
def test_sets_that_the_space_cannot_yield_are_refused(first: object, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec(first)


def test_every_misfit_is_told_at_once() -> None:
    with pytest.raises(SpecError, match=r"of set 1, its bottleneck is 9.*; of set 3, it has no"):
        spec([{**PLAIN, "bottleneck": 9}, PLAIN, {}])


def test_a_grid_takes_none() -> None:
    declared = {"trials": 1, "epochs": 1, "sampler": "grid", "first": [{"bottleneck": 2}]}
    space = {"bottleneck": SPACE["bottleneck"]}
    with pytest.raises(SpecError, match=r"search.first: must be left out with sampler grid"):
        spec_from_mapping({"name": "x", "data": {"source": "a.csv"}, "space": space, "search": declared})
