"""States in a store that all nodes of a cluster reach: a bucket, or a folder that they share."""

from __future__ import annotations

import hashlib
import os
import posixpath
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, final

from tuner.errors import InputError, StorageError
from tuner.spec.work import Checkpoint

PROTOCOLS: Final = ("file", "s3")
_MARK: Final = "://"
_BEGINNINGS: Final = tuple(f"{protocol}{_MARK}" for protocol in PROTOCOLS)


@final
@dataclass(frozen=True, slots=True)
class CheckpointUrl:
    """The states of one study below a URL, each under its name and the beginning of its digest.

    What lies under a name is always the same bytes, so that two workers that train the same segment, one of them taken
    for lost, cannot spoil each other's state. A store that does not answer is a StorageError: what it holds is not
    lost, and must not be trained again.

    Attributes:
        url: of a folder, like `s3://bucket/tuner/KEY`, without a slash at its end.
    """

    url: str

    @classmethod
    def holding(cls, checkpoint: Checkpoint) -> CheckpointUrl | None:
        """The store that a recorded state lies in; None where it is a file of the study's folder."""
        return cls(posixpath.dirname(checkpoint.path)) if checkpoint.path.startswith(_BEGINNINGS) else None

    def of_study(self, key: str) -> CheckpointUrl:
        """The part of it that one study has."""
        return CheckpointUrl(f"{self.url}/{key}")

    def put(self, name: str, content: bytes, epoch: int) -> Checkpoint:
        """Write the bytes; a bucket shows them when all of them are there, and a reader compares the digest.

        Raises:
            StorageError: the store does not take them.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = f"{self.url}/{name}-{digest[:16]}.safetensors"
        with self._opened() as files:
            if self.url.startswith("file:"):
                files.create_dir(self._inside(self.url))
            with files.open_output_stream(self._inside(path)) as stream:
                stream.write(content)
        return Checkpoint(path, digest, epoch)

    def get(self, checkpoint: Checkpoint) -> bytes | None:
        """Read them, and compare their digest with the recorded one.

        Raises:
            StorageError: the store does not answer.
        """
        with self._opened() as files:
            try:
                with files.open_input_stream(self._inside(checkpoint.path)) as stream:
                    content: bytes = stream.read()
            except FileNotFoundError:
                return None
        return content if hashlib.sha256(content).hexdigest() == checkpoint.sha256 else None

    def has(self, checkpoint: Checkpoint) -> bool:
        """Whether something lies there.

        Raises:
            StorageError: the store does not answer.
        """
        with self._opened() as files:
            return bool(files.get_file_info(self._inside(checkpoint.path)).is_file)

    def remove(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Delete them, one by one; what a store that does not answer still holds is deleted with the study."""
        for checkpoint in checkpoints:
            with suppress(FileNotFoundError, StorageError), self._opened() as files:
                files.delete_file(self._inside(checkpoint.path))

    def sizes(self) -> dict[str, int]:
        """The bytes of each state that lies there, by the path that is recorded of it.

        Raises:
            StorageError: the store does not answer.
        """
        from pyarrow.fs import FileSelector  # noqa: PLC0415

        with self._opened() as files:
            found = files.get_file_info(FileSelector(self._inside(self.url), allow_not_found=True))
        return {f"{self.url}/{each.base_name}": int(each.size) for each in found if each.is_file}

    def check(self) -> None:
        """Write a state, read it and remove it, before anything is trained.

        Raises:
            InputError: that does not work, or the protocol's package is missing.
        """
        try:
            probe = self.put(f"probe-{secrets.token_hex(8)}", b"tuner", 0)
            whole = self.get(probe) == b"tuner"
            self.remove([probe])
        except (StorageError, FileNotFoundError) as error:
            raise InputError(
                f"checkpoints: {error}; see that it is there, and that this machine and all nodes have its credentials."
            ) from None
        if not whole:
            raise InputError(f"checkpoints: {self.url} does not give back what was written; choose another store.")

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The file system; whatever is wrong with it is a sentence that says where."""
        try:
            yield _files(self.url.partition(_MARK)[0], os.environ.get("AWS_ENDPOINT_URL"))
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.url} does not answer: {str(error).splitlines()[0]}") from None

    @staticmethod
    def _inside(path: str) -> str:
        """A path as its file system has it."""
        return path.removeprefix("file://").removeprefix("s3://")


@lru_cache(maxsize=4)
def _files(protocol: str, endpoint: str | None) -> Any:
    """The file system of a protocol; credentials and region are found by the SDK, in its usual places."""
    from pyarrow import fs  # noqa: PLC0415 - only where states lie in such a store

    if protocol == "file":
        return fs.LocalFileSystem()
    scheme, _, host = (endpoint or "").rpartition(_MARK)
    named = {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"} if host else {}
    return fs.S3FileSystem(connect_timeout=10.0, request_timeout=60.0, **named)


def store_at(text: str) -> str:
    """A store's address without a slash at its end, a folder as a URL.

    Raises:
        InputError: it is no absolute folder and no URL that is known here, or carries credentials.
    """
    protocol, mark, rest = text.rpartition(_MARK)
    if not mark and text.startswith("/"):
        protocol, rest = "file", text
    if protocol not in PROTOCOLS or not rest.strip("/") or (protocol == "file" and not rest.startswith("/")):
        raise InputError(
            "checkpoints: must be a folder that all nodes share, like /shared/states, or a bucket, like"
            f" s3://bucket/states; got {text!r}."
        )
    if "@" in rest or "?" in rest:
        raise InputError(
            "checkpoints: a URL holds no credentials; give them in the environment or in ~/.aws/credentials."
        )
    return f"{protocol}{_MARK}{rest.rstrip('/')}"
