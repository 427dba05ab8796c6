"""Tensors on their way between the host and the device; only the code that needs a copy waits for it.

Only a copy from or to pinned memory runs behind the launches; any other one waits for all that was launched before.
Away from CUDA a copy is done when its call returns, and nothing here is more than that.

Experimental: the pinned rings have not run on a device yet; see docs/gpu.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

STAGES = 2  # fillings that are under way to the device while a step reads the one before


def pinned(like: Tensor) -> Tensor:
    """Zeros on the host of that shape, which a CUDA device can copy by itself."""
    return torch.zeros(like.shape, dtype=like.dtype, pin_memory=like.device.type == "cuda")


class Staged:
    """A tensor on the device that the host fills before every step.

    Args:
        to: what a step reads.

    The host writes into one of a ring of buffers; a stream aside copies it to a stage on the device while earlier
    steps are still being trained; the step's own stream copies it from there. So the host may be ahead by `STAGES`.
    """

    def __init__(self, to: Tensor) -> None:
        self._to, self._place, self._cuda = to, 0, to.device.type == "cuda"
        self._buffers = [pinned(to) for _ in range(STAGES)]
        if self._cuda:
            self._stages = [torch.zeros_like(to) for _ in range(STAGES)]
            self._aside = torch.cuda.Stream(to.device)  # type: ignore[no-untyped-call]
            self._aside.wait_stream(torch.cuda.current_stream(to.device))  # the stages' zeros come first
            for stage in self._stages:
                stage.record_stream(self._aside)  # its memory may be another's only when the copies aside are over
            self._copied = [torch.cuda.Event() for _ in range(STAGES)]  # type: ignore[no-untyped-call]
            self._read = [torch.cuda.Event() for _ in range(STAGES)]  # type: ignore[no-untyped-call]

    def buffer(self) -> Tensor:
        """The next buffer on the host, free to be written; it holds what was written `STAGES` fillings ago."""
        self._place = (self._place + 1) % STAGES
        if self._cuda:
            self._copied[self._place].synchronize()  # waiting for an event that was never recorded returns at once
        return self._buffers[self._place]

    def send(self) -> None:
        """Have the buffer copied: what is launched from now on in the current stream finds it there."""
        buffer = self._buffers[self._place]
        if not self._cuda:
            self._to.copy_(buffer)
            return
        stage, copied, read = self._stages[self._place], self._copied[self._place], self._read[self._place]
        current = torch.cuda.current_stream(self._to.device)
        with torch.cuda.stream(self._aside):
            self._aside.wait_event(read)
            stage.copy_(buffer, non_blocking=True)
            copied.record(self._aside)
        current.wait_event(copied)
        self._to.copy_(stage)
        read.record(current)


class Fetched:
    """A tensor on the device whose values the host reads once they are there.

    Args:
        values: on the device, always the same tensor.
    """

    def __init__(self, values: Tensor) -> None:
        self._values, self._host = values, pinned(values)
        self._done = torch.cuda.Event() if values.device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self) -> None:
        """Launch the copy."""
        self._host.copy_(self._values, non_blocking=self._done is not None)
        if self._done is not None:
            self._done.record(torch.cuda.current_stream(self._values.device))

    def wait(self) -> Tensor:
        """The values that were sent last."""
        if self._done is not None:
            self._done.synchronize()
        return self._host
