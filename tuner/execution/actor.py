"""One slot of a Ray cluster on its node; imported in actors, and in the bridge process that asks for them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import version
from platform import python_version
from typing import Any, final

import ray

from tuner.errors import WorkerError
from tuner.execution.carried import train_carried
from tuner.execution.processes import WorkerProcesses
from tuner.execution.scratch import Scratch
from tuner.execution.slots import NODE_DIGITS
from tuner.execution.worker import warm_up


def versions() -> dict[str, str]:
    """What must be the same on every node, for the table to be the same."""
    return {"python": python_version()} | {name: version(name) for name in ("autoencoder-tuner", "torch", "numpy")}


@final
class Actor:
    """One slot on its node: a worker process, and the threads that start, pulse and end it.

    Args:
        run: a word that the actors of one run share.
    """

    def __init__(self, run: str) -> None:
        self._node = ray.get_runtime_context().get_node_id()[:NODE_DIGITS]
        self._scratch = Scratch(f"{run}-{self._node}")
        self._workers = WorkerProcesses(1, warm_up)

    def begin(self) -> tuple[str, dict[str, str]]:
        """Its node's number, and what is installed there; its worker is starting."""
        return ray.get_runtime_context().get_node_id(), versions()

    def run(self, files: Mapping[str, Sequence[Any]], patience: float, content: bytes) -> bytes:
        """Train a segment.

        Args:
            files: what this node has not been given yet, in parts, by digest.
            patience: seconds that the worker may be silent.
            content: the segment.

        Returns:
            Whether it was trained, what came of it or the error, and the states that it leaves.

        Raises:
            OSError, DataError: the node cannot keep the files.
            RuntimeError: no worker can be started on this node.
        """
        for digest, parts in files.items():
            self._scratch.take(digest, (memoryview(ray.get(part)) for part in parts))
        node, folder = self._node, str(self._scratch.path)
        trained = self._workers.submit_patiently(patience, train_carried, content, folder, node)
        return pickle.dumps(self._outcome(trained))

    def _outcome(self, trained: Future[Any]) -> tuple[bool, Any, Any]:
        try:
            return True, *trained.result()
        except WorkerError as error:
            if self._workers.is_hopeless():
                raise RuntimeError(str(error)) from None  # of this node alone: others may start workers
            return False, error, {}
        except Exception as error:
            return False, error, {}

    def pulse(self) -> None:
        """Answer, whatever is being trained."""

    def end(self) -> None:
        """End the worker, and remove the node's files where no other actor uses them."""
        self._workers.kill()
        self._scratch.leave()
