"""Segments that are carried to another machine: rows by their digest, states as bytes, and no path of this machine."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self, final

from tuner.data.rows import LabelFile, Rows, RowsFile, SplitLabels, StartFile, TermsFile, sha256_of
from tuner.execution.context import Workplace
from tuner.execution.worker import run_segment
from tuner.learning.checkpoint_url import CheckpointUrl
from tuner.spec.work import Checkpoint, Curve, Segment, SegmentResult

MOST_CARRIED: Final = 4 * 2**20  # bytes of a state that travels with its segment where there is another place for it


@final
@dataclass(frozen=True, slots=True)
class CarriedRows:
    """Prepared rows named by their content; every node keeps a copy of the files in a folder of its own.

    Attributes:
        sha256: of the prepared file.
        counts: rows of each split: training, validation, test.
        features: real features of a row.
        labels, terms, start: digests of the files beside it, where it has them; see `RowsFile`.
        folder: where this node keeps the files, each under its digest; empty on the way.
    """

    sha256: str
    counts: tuple[int, int, int]
    features: int
    labels: str | None = None
    terms: str | None = None
    start: str | None = None
    folder: str = ""

    @classmethod
    def of(cls, file: RowsFile) -> Self:
        """The rows of a file of this machine, which is read once for its digest."""
        return cls(
            sha256_of(Path(file.path)),
            file.counts,
            file.features,
            None if file.labels is None else file.labels.sha256,
            None if file.terms is None else file.terms.sha256,
            None if file.start is None else file.start.sha256,
        )

    @property
    def name(self) -> str:
        """The beginning of the digest, which is the same on every node."""
        return f"prepared rows {self.sha256[:12]}"

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all files that a node needs."""
        return tuple(known for known in (self.sha256, self.labels, self.terms, self.start) if known is not None)

    def open(self) -> Rows:
        """Map this node's copy, which was checked when it was made."""
        return self._file().open()

    def open_labels(self) -> SplitLabels | None:
        """Read this node's copy."""
        return self._file().open_labels()

    def _file(self) -> RowsFile:
        def place(digest: str) -> str:
            return str(Path(self.folder) / digest)

        return RowsFile(
            place(self.sha256),
            self.counts,
            self.features,
            None if self.labels is None else LabelFile(place(self.labels), self.labels),
            None if self.terms is None else TermsFile(place(self.terms), self.terms),
            None if self.start is None else StartFile(place(self.start), self.start),
        )


@final
@dataclass(frozen=True, eq=False, slots=True)
class StatesInHand:
    """States that travel with their segment, and back with its result: their bytes, by digest.

    Attributes:
        content: the bytes.
        aside: where large states lie instead; None where all travel.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    aside: CheckpointUrl | None = None

    def put(self, name: str, content: bytes, epoch: int) -> Checkpoint:
        """Hold a state; its name stands in the place of a path. A large one is put aside where there is a place."""
        if self.aside is not None and len(content) > MOST_CARRIED:
            return self.aside.put(name, content, epoch)
        digest = hashlib.sha256(content).hexdigest()
        self.content[digest] = content
        return Checkpoint(name, digest, epoch)

    def get(self, checkpoint: Checkpoint) -> bytes | None:
        """The state, where it came along whole, or lies aside."""
        if (aside := CheckpointUrl.holding(checkpoint)) is not None:
            return aside.get(checkpoint)
        content = self.content.get(checkpoint.sha256)
        whole = content is not None and hashlib.sha256(content).hexdigest() == checkpoint.sha256
        return content if whole else None

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether it came along, or lies aside."""
        if (aside := CheckpointUrl.holding(checkpoint)) is not None:
            return aside.has(checkpoint)
        return checkpoint.sha256 in self.content

    def remove(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Let go of states that came along; what lies aside is the driver's to remove."""
        for checkpoint in checkpoints:
            self.content.pop(checkpoint.sha256, None)


@final
@dataclass(frozen=True, slots=True)
class Unit:
    """A segment on its way to a slot.

    Attributes:
        number: the call's.
        patience: seconds that its worker may be silent.
        digests: files that the node needs for it.
        content: what `train_carried` is given.
    """

    number: int
    patience: float
    digests: tuple[str, ...]
    content: bytes


@final
class Carrier:
    """Packs the segments of a study for their way, and unpacks what comes back.

    Args:
        place: what they share, on this machine.
        aside: where the study's large states lie; None where all travel.

    Attributes:
        paths: the files that every node needs, by digest.
    """

    def __init__(self, place: Workplace, aside: CheckpointUrl | None = None) -> None:
        self.paths: dict[str, str] = {}
        self._aside = aside
        self._store, rows = place.checkpoints, place.rows
        if isinstance(rows, RowsFile):
            carried = CarriedRows.of(rows)
            beside = [known for known in (rows.labels, rows.terms, rows.start) if known is not None]
            self.paths = {carried.sha256: rows.path, **{known.sha256: known.path for known in beside}}
            place = replace(place, rows=carried)
        # Ray shows each slot its own GPU alone, as the first one.
        self._place = replace(place, device="cuda:0") if place.device.startswith("cuda") else place

    def packed(self, number: int, patience: float, segment: Segment, states: Sequence[Sequence[Checkpoint]]) -> Unit:
        """A segment, and of each of its trials the newest good state to go on from."""
        hand = StatesInHand(aside=self._aside)
        going = [self._newest(segment, known, hand) for known in states]
        content = pickle.dumps((replace(self._place, checkpoints=hand), segment, going))
        return Unit(number, patience, tuple(self.paths), content)

    def _newest(self, segment: Segment, known: Sequence[Checkpoint], hand: StatesInHand) -> tuple[Checkpoint, ...]:
        going: list[Checkpoint] = []
        for state in known:
            if not 0 < state.epoch <= segment.first:
                continue
            if CheckpointUrl.holding(state) is not None:
                going.append(state)  # read where it is needed, and followed by the one before it, should it be gone
            elif (content := self._store.get(state)) is not None:
                hand.content[state.sha256] = content
                return (*going, replace(state, path=name_of_file(state.path)))
        return tuple(going)

    def unpacked(self, content: bytes) -> SegmentResult:
        """What came of a segment, its states put where this study keeps them.

        Raises:
            Exception: what the training raised.
            OSError: a state cannot be written.
        """
        done, value, states = pickle.loads(content)  # noqa: S301 - our own slot wrote it
        if not done:
            raise value
        result: SegmentResult = value
        return replace(result, curves=tuple(self._kept(curve, states) for curve in result.curves))

    def _kept(self, curve: Curve, states: Mapping[str, bytes]) -> Curve:
        state = curve.checkpoint
        if state is None or CheckpointUrl.holding(state) is not None:
            return curve
        return replace(curve, checkpoint=self._store.put(state.path, states[state.sha256], state.epoch))


def name_of_file(path: str) -> str:
    """The last part of a path: where a state lies is this machine's business."""
    return path.rpartition("/")[2]


def train_carried(content: bytes, folder: str, node: str) -> tuple[SegmentResult, dict[str, bytes]]:
    """Train a segment that was carried here.

    Args:
        content: from `Carrier.packed`.
        folder: where this node keeps the files of prepared rows.
        node: its name.

    Returns:
        What came of it, and the states that it leaves, by digest.
    """
    place, segment, states = pickle.loads(content)  # noqa: S301 - our own driver wrote it
    given = place.checkpoints
    if isinstance(place.rows, CarriedRows):
        place = replace(place, rows=replace(place.rows, folder=folder))
    result = run_segment(place, segment, states)
    left = {curve.checkpoint.sha256 for curve in result.curves if curve.checkpoint is not None}
    hand = {digest: given.content[digest] for digest in left if digest in given.content}
    return replace(result, worker=f"node {node}, {result.worker}"), hand


@dataclass(frozen=True, eq=False, slots=True)
class Open:
    """A segment that was handed in and has not come back.

    Attributes:
        future: what the driver waits for.
        unit: as it is sent.
        carrier: unpacks its result.
    """

    future: Future[SegmentResult]
    unit: Unit
    carrier: Carrier

    def complete(self, content: bytes) -> None:
        """It was trained, or its worker says why it was not."""
        try:
            result = self.carrier.unpacked(content)
        except Exception as error:
            self.fail(error)
        else:
            if self.future.set_running_or_notify_cancel():
                self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """It does not come back."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def cancel(self) -> None:
        """Nobody wants it any more; those hear of it, too, who wait for several at once."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()
