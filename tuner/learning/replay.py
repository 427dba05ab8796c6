"""One step as a CUDA graph: hundreds of launches replayed by one call. On anything else the step is simply called."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Replay:
    """A step that always works on the same buffers.

    Args:
        step: what is done; it takes nothing, allocates nothing that outlives it and never waits for the device.
        device: where its buffers lie.

    The first call runs the step as it is, on a stream of its own, so that libraries make their workspaces; the second
    one records it. Recording does not run it, so every call is exactly one step.
    """

    def __init__(self, step: Callable[[], object], device: torch.device) -> None:
        self._step, self._cuda = step, device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self) -> None:
        """One step."""
        if not self._cuda:
            self._step()
        elif not self._warm:
            self._run_aside()
        else:
            self._replay()

    def _run_aside(self) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self._warm = True

    def _replay(self) -> None:
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Other packs' threads may allocate meanwhile, which only this thread's capture must not do.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._step()
        self._graph.replay()
