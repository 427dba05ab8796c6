"""Claims about checkpoints: exact when whole, refused when not, and never able to run code."""

import math
import random

import numpy as np
import pytest
import torch
from plain import digits, trial

from tuner.learning import checkpoint, folding
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.inference.model import Autoencoder
from tuner.learning.stacked.pack import Pack, reproducible
from tuner.learning.stacked.training_data import TrainingData
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
    store = CheckpointFolder(str(tmp_path / "deep"))
    kept = store.put("x", checkpoint.dumps(state, pack.members.shapes[0]), 1)
    restored = checkpoint.loads(store.get(kept) or b"")
    for name in ("parameters", "first_moments", "second_moments", "best"):
        assert np.array_equal(getattr(restored, name), getattr(state, name))
    assert (restored.best_value, restored.best_epoch, restored.epoch, restored.steps) == (
        state.best_value,
        1,
        1,
        math.ceil(300 / 64),
    )
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


def test_the_best_weights_are_a_plain_modules(pack) -> None:
    """They load into the plain module, unpadded, and give its losses."""
    (state,) = pack.states()
    weights = folding.best_weights(checkpoint.dumps(state, pack.members.shapes[0]), None)
    model = Autoencoder(pack.members.shapes[0].sizes, "sigmoid")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    validation = torch.from_numpy(digits()[1])
    with torch.no_grad():
        assert model.losses(validation).double().mean().item() == pytest.approx(state.best_value, rel=1e-6)


def test_no_damaged_file_is_read(pack, tmp_path) -> None:
    """300 flipped bits and truncations: each is told as missing, none as a state."""
    (state,) = pack.states()
    store = CheckpointFolder(str(tmp_path))
    kept = store.put("x", checkpoint.dumps(state, pack.members.shapes[0]), 1)
    content = (tmp_path / "x.safetensors").read_bytes()
    chance = random.Random(0)
    for attempt in range(300):
        damaged = bytearray(content)
        if attempt % 3:
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(len(content)) :]
        (tmp_path / "x.safetensors").write_bytes(damaged)
        assert store.has(kept)
        assert store.get(kept) is None


def test_a_missing_file_is_no_error(tmp_path) -> None:
    """It is trained again instead; removing it once more is no error either."""
    store = CheckpointFolder(str(tmp_path))
    gone = Checkpoint(str(tmp_path / "none"), "0" * 64, 1)
    assert store.get(gone) is None
    assert not store.has(gone)
    store.remove([gone, gone])


def test_states_are_found_where_their_folder_was_moved_to(tmp_path) -> None:
    """The recorded path is the old one: the state is read and removed in the new folder."""
    kept = CheckpointFolder(str(tmp_path / "before")).put("x", b"a state", 1)
    (tmp_path / "before").rename(tmp_path / "now")
    store = CheckpointFolder(str(tmp_path / "now"))
    assert store.get(kept) == b"a state"
    store.remove([kept])
    assert not store.has(kept)
    assert list((tmp_path / "now").iterdir()) == []
