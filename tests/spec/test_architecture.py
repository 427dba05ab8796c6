"""Claims about sizes and seeds, against explicit counts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tuner.spec.architecture import Hyperparameters, encoder_sizes, layer_sizes, parameter_count
from tuner.spec.reader import spec_from_mapping
from tuner.spec.space import largest_model
from tuner.spec.work import derive_seed


def test_layers_fall_geometrically() -> None:
    """From 256 towards 4 in three steps: 256, 64, 16, then the code."""
    assert encoder_sizes(100, 3, 256, 4) == (100, 256, 64, 16, 4)
    assert encoder_sizes(100, 0, 256, 4) == (100, 4)
    point = Hyperparameters(1e-3, 64, 1, 32, "relu", 4, 0.0, 0.0)
    assert layer_sizes(10, point) == (10, 32, 4, 32, 10)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_parameters_are_weights_and_biases(sizes: list[int]) -> None:
    """Counted one by one."""
    weights = sum(a * b for a, b in pairwise(sizes))
    assert parameter_count(tuple(sizes)) == weights + sum(sizes[1:])


def test_the_largest_model_is_that_of_the_largest_values() -> None:
    """Highest depth, width and bottleneck together."""
    spec = spec_from_mapping(
        {
            "name": "x",
            "data": {"source": "x.csv"},
            "space": {
                "depth": {"type": "int", "low": 1, "high": 3},
                "width": {"type": "categorical", "choices": [64, 256, 128]},
                "bottleneck": 4,
            },
            "search": {"trials": 1, "epochs": 1},
        }
    )
    assert largest_model(100, spec.space) == parameter_count((100, 256, 64, 16, 4, 16, 64, 256, 100))


def test_seeds_depend_on_the_whole_name() -> None:
    """Fixed values, so that a study of today is the study of tomorrow; no two names share one."""
    assert derive_seed(0, "trial", 7) == 2926234328613741816
    seeds = {derive_seed(seed, "trial", number) for seed in range(20) for number in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
