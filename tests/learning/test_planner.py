"""Claims about the planner: it loses no trial, mixes no shapes, fits the cache and feeds every worker."""

import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import trial

from tuner.learning.layout import Layout, merged_key, pack_key, padded_sizes
from tuner.learning.memory import packed
from tuner.learning.stacked.pack import Pack
from tuner.learning.stacked.planner import CACHE_BYTES, GPU_SHARE, plan, plan_for_gpu, seconds
from tuner.learning.stacked.training_data import TrainingData
from tuner.spec.architecture import layer_sizes

TRIALS = st.lists(
    st.builds(
        lambda width, depth, batch: {"width": width, "depth": depth, "batch_size": batch},
        st.sampled_from([32, 40, 64, 200, 512]),
        st.integers(0, 3),
        st.sampled_from([16, 64]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(TRIALS, st.integers(1, 100), st.integers(0, 8))
def test_every_trial_is_in_exactly_one_pack_of_its_shape(points, features, workers) -> None:
    """Packs partition the trials; each holds one padded shape; the longest comes first."""
    trials = [trial(number, **point) for number, point in enumerate(points)]
    packs = plan(trials, features, 1000, 5, workers)
    assert sorted(one.number for pack in packs for one in pack) == list(range(len(trials)))
    assert all(len({pack_key(one.point, features) for one in pack}) == 1 for pack in packs)
    costs = [seconds(pack, features, 1000, 5) for pack in packs]
    assert costs == sorted(costs, reverse=True)


def test_a_pack_stays_in_the_cache() -> None:
    """A thousand equal trials are cut so that parameters, moments and a batch's values stay below the cache's size."""
    trials = [trial(number, width=512, depth=3) for number in range(1000)]
    for pack in plan(trials, 784, 50_000, 1, 1):
        sizes = padded_sizes(layer_sizes(784, pack[0].point))
        bytes_each = 16 * Layout.of(sizes).length + 8 * 64 * sum(sizes)
        assert len(pack) == 1 or len(pack) * bytes_each <= CACHE_BYTES


def test_equal_trials_are_spread_over_the_workers() -> None:
    """Eight equal trials for four workers are four packs of two, not one pack of eight."""
    packs = plan([trial(number) for number in range(8)], 64, 1000, 5, 4)
    assert [len(pack) for pack in packs] == [2, 2, 2, 2]


def test_a_pack_is_thought_cheaper_than_its_trials_alone() -> None:
    """Sharing calls is what packs are for; the model of cost says so, and counts padding."""
    trials = [trial(number, width=20) for number in range(8)]
    assert seconds(trials, 64, 1000, 1) < sum(seconds([one], 64, 1000, 1) for one in trials)
    assert seconds([trial(0, width=33, depth=1)], 64, 9, 1) == seconds([trial(0, width=48, depth=1)], 64, 9, 1)


@settings(max_examples=60, deadline=None)
@given(TRIALS, st.integers(1, 100), st.integers(1, 4), st.one_of(st.none(), st.integers(10**6, 10**9)))
def test_a_gpus_packs_are_of_one_depth_and_fit_its_memory(points, features, workers, free) -> None:
    """Packs partition the trials; each can be merged, wastes less than half a layer, and fits its share of memory."""
    trials = [trial(number, **point) for number, point in enumerate(points)]
    packs = plan_for_gpu(trials, features, (1000, 100), workers, free)
    assert sorted(one.number for pack in packs for one in pack) == list(range(len(trials)))
    for pack in packs:
        assert len({merged_key(one.point, features) for one in pack}) == 1
        layers = zip(*(padded_sizes(layer_sizes(features, one.point)) for one in pack), strict=True)
        assert all(max(layer) < 2 * min(layer) for layer in layers)
        assert len(pack) == 1 or free is None or packed(pack, features, (1000, 100)) <= GPU_SHARE * free


@pytest.mark.parametrize("free", [None, 1], ids=["resident", "streamed"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    ("rows", "features", "widths", "batch"),
    [
        ((1400, 180), 64, (112, 113), 64),
        ((5000, 999), 784, (256, 200), 256),
        ((5000, 1000), 32, (400, 300, 390), 64),
        ((90, 1), 5, (16,), 100),
    ],
)
def test_a_packs_memory_is_told_before_it_is_made(rows, features, widths, batch, noise, free) -> None:
    """Every tensor that a pack holds is counted: no more than was told, and no less than half of it."""
    arrays = (np.zeros((count, features), np.float32) for count in rows)
    data = TrainingData.of(*arrays, free=free)
    trials = [trial(m, width=width, batch_size=batch, input_noise=noise * (m == 0)) for m, width in enumerate(widths)]
    gc.collect()
    before = _tensors()
    pack = Pack(trials, data, "mse", merged=True)
    after = _tensors()
    held = sum(after[place] for place in after.keys() - before.keys())
    assert len(pack.trials) == len(trials)
    assert packed(trials, features, rows) / 2 <= held <= packed(trials, features, rows)


def _tensors() -> dict[int, int]:
    """Bytes of every storage that there is, by its address."""
    tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.layout == torch.strided]
    return {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
