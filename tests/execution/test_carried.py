"""Claims about what travels to another machine, and about the folder that it is kept in there."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain import digits, trial
from safetensors.numpy import load

from tuner.data.rows import LabelFile, RowsFile, StartFile, TermsFile
from tuner.errors import DataError
from tuner.execution.carried import CarriedRows, Carrier, StatesInHand, train_carried
from tuner.execution.context import Workplace
from tuner.execution.scratch import Scratch
from tuner.execution.worker import run_segment
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.checkpoint_url import CheckpointUrl
from tuner.spec.length import Length
from tuner.spec.work import Checkpoint, Segment, TrainingPlan


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    here = tmp_path / "here"
    here.mkdir()
    np.save(here / "rows.npy", np.concatenate(digits(200, 50)))
    rows = RowsFile(str(here / "rows.npy"), (200, 50, 0), 64)
    return Workplace(rows, CheckpointFolder(str(here / "states")), "mse", "cpu", Length.of(TrainingPlan(4)), "fp32")


def far(place: Workplace, carrier: Carrier, folder: Path) -> None:
    """Bring the files to a node, and take away those that are here."""
    folder.mkdir(exist_ok=True)
    for digest, path in carrier.paths.items():
        (folder / digest).write_bytes(Path(path).read_bytes())
        Path(path).rename(f"{path}.gone")


def test_a_segment_carries_no_path_and_brings_back_the_same_bits(place: Workplace, tmp_path: Path) -> None:
    """Trained elsewhere, from a state that came along: the curves and states of this machine, to the bit."""
    one, carrier = trial(0), Carrier(place)
    (before,) = run_segment(place, Segment((one,), 0, 2), [()]).curves
    assert before.checkpoint is not None
    (direct,) = run_segment(place, Segment((one,), 2, 4), [(before.checkpoint,)]).curves
    unit = carrier.packed(0, 1.0, Segment((one,), 2, 4), [(before.checkpoint,)])
    assert str(tmp_path).encode() not in unit.content
    assert unit.digests == tuple(carrier.paths)
    far(place, carrier, tmp_path / "far")
    result, states = train_carried(unit.content, str(tmp_path / "far"), "b")
    assert result.worker.startswith("node b, process ")
    (curve,) = result.curves
    assert (curve.train_loss, curve.val_loss, curve.measures) == (direct.train_loss, direct.val_loss, direct.measures)
    assert curve.checkpoint is not None
    assert list(states) == [curve.checkpoint.sha256]
    assert not curve.checkpoint.path.startswith("/")


def test_all_files_of_prepared_rows_are_named_by_their_digests(tmp_path: Path) -> None:
    """Labels, terms and start as well; a node's copy is named by the digest, below the folder it fills in."""
    np.save(tmp_path / "rows.npy", np.zeros((3, 2), np.float32))
    beside = [kind(f"/a/{digest}", digest) for kind, digest in ((LabelFile, "b"), (TermsFile, "c"), (StartFile, "d"))]
    file = RowsFile(str(tmp_path / "rows.npy"), (1, 1, 1), 2, *beside)  # type: ignore[arg-type]
    rows = CarriedRows.of(file)
    assert rows.sha256 == hashlib.sha256((tmp_path / "rows.npy").read_bytes()).hexdigest()
    assert rows.digests == (rows.sha256, "b", "c", "d")
    assert str(tmp_path) not in repr(rows)
    assert hash(rows) == hash(CarriedRows.of(file))
    there = replace(rows, folder="/far")._file()
    assert there.path == f"/far/{rows.sha256}"
    assert (there.labels, there.terms, there.start) == (
        LabelFile("/far/b", "b"),
        TermsFile("/far/c", "c"),
        StartFile("/far/d", "d"),
    )


def test_the_newest_good_state_goes_along_alone(place: Workplace) -> None:
    """A damaged one is passed over, and so is one from beyond the segment's begin; then none goes along."""
    store, carrier = place.checkpoints, Carrier(place)
    assert isinstance(store, CheckpointFolder)
    old, new, later = (store.put(f"s{epoch}", bytes([epoch]) * 50, epoch) for epoch in (1, 2, 3))
    segment = Segment((trial(0),), 2, 4)
    sizes = [len(carrier.packed(0, 1.0, segment, [known]).content) for known in ((), (old,), (later, new, old))]
    assert sizes[0] < sizes[1] == sizes[2]
    Path(new.path).write_bytes(b"torn")
    assert b"\1" * 50 in carrier.packed(0, 1.0, segment, [(new, old)]).content
    assert len(carrier.packed(0, 1.0, segment, [(later,)]).content) == sizes[0]


def test_large_states_lie_aside(place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They travel neither there nor back; the bits are those of this machine, also where the newest one is gone."""
    monkeypatch.setattr("tuner.execution.carried.MOST_CARRIED", 0)
    one, aside = trial(0), CheckpointUrl(f"file://{tmp_path}/shared/key")
    carrier = Carrier(place, aside)
    (begun,) = run_segment(place, Segment((one,), 0, 2), [()]).curves
    assert begun.checkpoint is not None
    (direct,) = run_segment(place, Segment((one,), 2, 4), [(begun.checkpoint,)]).curves
    far(place, carrier, tmp_path / "far")
    known: list[Checkpoint] = []
    for first, last in ((0, 1), (1, 2)):
        unit = carrier.packed(0, 1.0, Segment((one,), first, last), [tuple(known)])
        result, states = train_carried(unit.content, str(tmp_path / "far"), "b")
        assert states == {}
        (state,) = (curve.checkpoint for curve in carrier.unpacked(pickle.dumps((True, result, states))).curves)
        assert state is not None
        known.insert(0, state)
    assert aside.sizes().keys() == {state.path for state in known}
    for _ in range(2):
        unit = carrier.packed(0, 1.0, Segment((one,), 2, 4), [tuple(known)])
        assert len(unit.content) < 10_000
        (curve,) = train_carried(unit.content, str(tmp_path / "far"), "b")[0].curves
        assert curve.val_loss == direct.val_loss
        assert curve.checkpoint is not None
        assert direct.checkpoint is not None
        trained, here = (place.checkpoints.get(each) for each in (curve.checkpoint, direct.checkpoint))
        assert trained is not None
        assert here is not None
        assert {name: array.tobytes() for name, array in load(trained).items()} == {
            name: array.tobytes() for name, array in load(here).items()
        }
        aside.remove(known[:1])


def test_a_state_that_came_damaged_counts_as_none() -> None:
    """So that its trial is trained again instead."""
    hand = StatesInHand()
    state = hand.put("s", b"bits", 1)
    assert hand.get(state) == b"bits"
    hand.content[state.sha256] = b"other"
    assert hand.get(state) is None


def test_the_last_to_leave_a_folder_removes_it(tmp_path: Path) -> None:
    """Two use it; a file is brought once; while one of them is there it stays."""
    first, second = Scratch("a", tmp_path), Scratch("a", tmp_path)
    digest = hashlib.sha256(b"rows").hexdigest()
    first.take(digest, [b"ro", b"ws"])
    second.take(digest, (part for part in [pytest.fail]))  # never read
    first.leave()
    first.leave()
    assert (second.path / digest).read_bytes() == b"rows"
    second.leave()
    assert list(tmp_path.iterdir()) == []


def test_what_came_damaged_is_refused(tmp_path: Path) -> None:
    """And is not there afterwards."""
    with Scratch("a", tmp_path) as scratch:
        with pytest.raises(DataError, match="damaged"):
            scratch.take("0" * 64, [b"rows"])
        assert not (scratch.path / ("0" * 64)).exists()


USE = """
import signal, sys
from pathlib import Path
from tuner.execution.scratch import Scratch
used = Scratch(sys.argv[1], Path(sys.argv[2]))
print("there", flush=True)
signal.pause()
"""


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """One that is in use stays."""
    users = {}
    for name in ("killed", "there"):
        words = [sys.executable, "-c", USE, name, str(tmp_path)]
        users[name] = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        out = users[name].stdout
        assert out is not None
        assert out.readline() == "there\n"
    users["killed"].kill()
    users["killed"].communicate()
    with Scratch("next", tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"tuner-ray-there", "tuner-ray-next"}
    users["there"].kill()
    users["there"].communicate()
