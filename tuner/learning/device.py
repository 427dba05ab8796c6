"""Which device a study trains on."""

from __future__ import annotations

import torch

from tuner.errors import DeviceError


def resolve(name: str) -> str:
    """The device behind `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        DeviceError: it is not there.
    """
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(
                "device: expected a device that is there (auto, cpu), got mps, and there is no Metal GPU."
            )
        return name
    return _cuda(name)


def _cuda(name: str) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise DeviceError(f"device: expected a device that is there (auto, cpu), got {name}, and there is {there}.")
    return f"cuda:{index}"


def describe(name: str) -> str:
    """The device in words, for a resolved name."""
    return f"{name} ({torch.cuda.get_device_name(name)})" if name.startswith("cuda") else name
