"""Claims about states in a store that all nodes reach; the store is a folder, by the same code as a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.errors import InputError, StorageError
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.checkpoint_url import CheckpointUrl, store_at
from tuner.spec.work import Checkpoint


@pytest.fixture
def store(tmp_path: Path) -> CheckpointUrl:
    return CheckpointUrl(store_at(f"{tmp_path}/shared/")).of_study("k" * 32)


def test_what_was_put_comes_back_until_it_is_removed(store: CheckpointUrl, tmp_path: Path) -> None:
    """Recorded by its URL, from which the study's own folder finds it, on whatever machine."""
    state = store.put("trial-00001-epoch-3", b"bits", 3)
    assert state.path.startswith(f"file://{tmp_path}/shared/{'k' * 32}/trial-00001-epoch-3-")
    assert CheckpointUrl.holding(state) == store
    folder = CheckpointFolder(str(tmp_path / "study"))
    assert folder.has(state)
    assert folder.get(state) == store.get(state) == b"bits"
    assert store.sizes() == {state.path: 4}
    folder.remove([state, state])
    assert (folder.has(state), folder.get(state), store.sizes()) == (False, None, {})


def test_a_damaged_state_counts_as_none(store: CheckpointUrl) -> None:
    """So that its trial is trained again instead."""
    state = store.put("s", b"bits", 1)
    Path(state.path.removeprefix("file://")).write_bytes(b"bit")
    assert store.get(state) is None
    assert store.has(state)


def test_two_workers_of_one_segment_do_not_spoil_each_others_state(store: CheckpointUrl) -> None:
    """Other processors have other bits."""
    states = [store.put("trial-00001-epoch-3", content, 3) for content in (b"one", b"two")]
    assert [store.get(state) for state in states] == [b"one", b"two"]


def test_a_file_of_the_study_is_in_no_other_store(tmp_path: Path) -> None:
    """Its path says so."""
    assert CheckpointUrl.holding(CheckpointFolder(str(tmp_path)).put("s", b"bits", 1)) is None


@pytest.mark.parametrize("text", ["", "shared", "ftp://host/states", "s3://", "file://states", "/", "memory://a"])
def test_what_names_no_store_is_refused(text: str) -> None:
    """With what is expected and what came."""
    with pytest.raises(InputError, match="must be a folder that all nodes share") as found:
        store_at(text)
    assert repr(text) in str(found.value)


@pytest.mark.parametrize("text", ["s3://me:secret@bucket/states", "s3://bucket/states?secret=word"])
def test_credentials_in_an_address_are_refused_and_not_shown(text: str) -> None:
    """They would be in the list of processes, and in the ledger."""
    with pytest.raises(InputError, match="holds no credentials") as found:
        store_at(text)
    assert "secret" not in str(found.value)


def test_a_store_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """In one sentence; what lies in a store that does not answer is not taken for lost."""
    (tmp_path / "file").write_text("no folder")
    store = CheckpointUrl(f"file://{tmp_path}/file/states")
    with pytest.raises(InputError, match=r"checkpoints: .* does not answer.*; see that it is there"):
        store.check()
    with pytest.raises(StorageError, match="does not answer"):
        store.get(Checkpoint(f"{store.url}/s.safetensors", "0" * 64, 1))


def test_a_store_that_can_be_used_is_left_as_it_was(store: CheckpointUrl) -> None:
    """Nothing of the look stays."""
    store.check()
    assert store.sizes() == {}
