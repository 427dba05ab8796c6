"""Claims about checkpoints: exact when whole, refused when not, and never able to run code."""

import math
import random

import numpy as np
import pytest
import torch
from plain import digits, trial

from tuner.learning import checkpoint
from tuner.learning.inference.model import Autoencoder
from tuner.learning.stacked.pack import Pack, TrainingData, reproducible
from tuner.spec.work import Checkpoint


@pytest.fixture
def pack() -> Pack:
    with reproducible():
        one = Pack([trial(0, activation="sigmoid", width=33)], TrainingData.of(*digits()), "mse")
        one.train_epoch()
    return one


def test_a_state_survives_the_file_bit_for_bit(pack, tmp_path) -> None:
    """Every row, the best value and the counts come back as they were."""
    (state,) = pack.states()
    restored = checkpoint.read(checkpoint.write(tmp_path / "deep" / "x.safetensors", state, pack.members.shapes[0]))
    assert restored is not None
    for name in ("parameters", "first_moments", "second_moments", "best"):
        assert np.array_equal(getattr(restored, name), getattr(state, name))
    assert (restored.best_value, restored.best_epoch, restored.epoch, restored.steps) == (
        state.best_value,
        1,
        1,
        math.ceil(300 / 64),
    )
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


def test_the_best_weights_are_a_plain_modules(pack, tmp_path) -> None:
    """They load into the plain module, unpadded, and give its losses."""
    (state,) = pack.states()
    kept = checkpoint.write(tmp_path / "x.safetensors", state, pack.members.shapes[0])
    weights = checkpoint.best_weights(kept)
    assert weights is not None
    model = Autoencoder(pack.members.shapes[0].sizes, "sigmoid")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    validation = torch.from_numpy(digits()[1])
    with torch.no_grad():
        assert model.losses(validation).double().mean().item() == pytest.approx(state.best_value, rel=1e-6)


def test_no_damaged_file_is_read(pack, tmp_path) -> None:
    """300 flipped bits and truncations: each is told as missing, none as a state."""
    (state,) = pack.states()
    kept = checkpoint.write(tmp_path / "x.safetensors", state, pack.members.shapes[0])
    content = (tmp_path / "x.safetensors").read_bytes()
    chance = random.Random(0)
    for attempt in range(300):
        damaged = bytearray(content)
        if attempt % 3:
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(len(content)) :]
        (tmp_path / "x.safetensors").write_bytes(damaged)
        assert checkpoint.read(kept) is None
        assert checkpoint.best_weights(kept) is None


def test_a_missing_file_is_no_error(tmp_path) -> None:
    """It is trained again instead."""
    assert checkpoint.read(Checkpoint(str(tmp_path / "none"), "0" * 64, 1)) is None
