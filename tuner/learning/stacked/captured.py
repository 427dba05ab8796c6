"""Work as a CUDA graph: hundreds of launches replayed by one call. On anything else the work is simply done.

Experimental: no device has recorded or replayed a graph of this yet; see docs/gpu.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch


class Replay:
    """Work that is done again and again on the same buffers.

    Args:
        device: where they lie.

    It is called with the work, always the same one, and does not keep it: who holds both would be kept alive by a
    cycle, with all the device's memory, until Python looks for cycles. The work takes nothing from the host, allocates
    nothing that outlives it and never waits for the device. The first call does it as it is, so that libraries make
    their workspaces; the second one records it. Recording does not run it, so every call does it exactly once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self, work: Callable[[], object]) -> None:
        """Do it once."""
        if self._device.type != "cuda":
            work()
        elif not self._warm:
            with _own_stream(self._device):
                work()
            self._warm = True
        else:
            self._replay(work)

    def _replay(self, work: Callable[[], object]) -> None:
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with (
                _own_stream(self._device) as stream,
                torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"),
            ):
                work()
        self._graph.replay()


@contextmanager
def _own_stream(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """The current stream, unless it is the default one, which cannot be recorded.

    Never the stream that `torch.cuda.graph` takes by itself, the same one for the whole process: a graph's products
    use the workspace of the stream that they were recorded on, so two packs' graphs would use one at the same time;
    and where a graph ends, torch 2.13 frees that workspace, which other graphs go on using (pytorch #193402).
    The graphs of one pack are replayed one after the other and end together, so they may share.
    """
    current = torch.cuda.current_stream(device)
    if current != torch.cuda.default_stream(device):
        yield current
        return
    stream = _aside(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield stream
    current.wait_stream(stream)


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """For packs in the default stream, which are never trained at the same time."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
