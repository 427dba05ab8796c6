"""Every kind of pack as a fixture, and PyTorch held to one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from kinds import Kind, kinds


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The plain loop's threads would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=kinds())
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind.of(request.param)
