"""Where states lie: behind a protocol, so that a worker on another machine can keep them elsewhere than in a folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from tuner.learning.checkpoint_url import CheckpointUrl
from tuner.spec.work import Checkpoint


class CheckpointStore(Protocol):
    """Where one study's states lie.

    An implementation is a frozen value that can be pickled: it travels to the workers with every segment.
    """

    def put(self, name: str, content: bytes, epoch: int) -> Checkpoint:
        """Store a state under a name that is the trial's and epoch's own; what that name held before is replaced.

        Raises:
            OSError: the store cannot be written; the error's `filename` says where.
        """

    def get(self, checkpoint: Checkpoint) -> bytes | None:
        """The bytes that were put, or None where they are gone or are not what was put."""

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether something lies there; `get` says whether it is whole."""

    def remove(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Free the space of states that nobody needs any more; those that are gone are passed over."""


@final
@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """States as files of a local folder, which is made when the first one is put.

    A state that was recorded with a URL is one that a cluster's node put there; it is read and removed there.

    Attributes:
        folder: absolute; the ledger records a file relative to the workspace's folder.
    """

    folder: str

    @classmethod
    def of_study(cls, work: Path, key: str) -> CheckpointFolder:
        """The one of a study.

        Args:
            work: the workspace's folder for prepared data and states.
            key: the study's.
        """
        return cls(str(work / "checkpoints" / key))

    @property
    def key(self) -> str:
        """The study's."""
        return Path(self.folder).name

    def put(self, name: str, content: bytes, epoch: int) -> Checkpoint:
        """Write the file beside its place and rename it there.

        No fsync, for none belongs on the training path: a file that a power cut tore fails its digest and is trained
        again.
        """
        path = Path(self.folder) / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(fresh).replace(path)
        except OSError as error:
            Path(fresh).unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from None  # a write does not say to which file
        return Checkpoint(str(path), hashlib.sha256(content).hexdigest(), epoch)

    def get(self, checkpoint: Checkpoint) -> bytes | None:
        """Read the file, and compare its digest with the recorded one."""
        if (elsewhere := CheckpointUrl.holding(checkpoint)) is not None:
            return elsewhere.get(checkpoint)
        try:
            content = self._path(checkpoint).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == checkpoint.sha256 else None

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether the file is there."""
        if (elsewhere := CheckpointUrl.holding(checkpoint)) is not None:
            return elsewhere.has(checkpoint)
        return self._path(checkpoint).is_file()

    def remove(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Delete the files."""
        for checkpoint in checkpoints:
            if (elsewhere := CheckpointUrl.holding(checkpoint)) is not None:
                elsewhere.remove([checkpoint])
            else:
                self._path(checkpoint).unlink(missing_ok=True)

    def _path(self, checkpoint: Checkpoint) -> Path:
        """The folder may have been moved since the file was written."""
        recorded = Path(checkpoint.path)
        return recorded if recorded.is_file() else Path(self.folder) / recorded.name
