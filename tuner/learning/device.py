"""Which device a study trains on; torch is asked only where there may be more than the CPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tuner.errors import DeviceError
from tuner.learning.compiled.library import found
from tuner.learning.packs import compiled_step

# What the drivers of NVIDIA's and AMD's GPUs make, the last one under Windows' Linux.
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def resolve(name: str) -> str:
    """The device behind `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        DeviceError: it is not there.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch  # noqa: PLC0415  (0.8 s)

    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(
                "device: expected a device that is there (auto, cpu), got mps, and there is no Metal GPU."
            )
        return name
    return _cuda(name, torch.cuda.device_count() if torch.cuda.is_available() else 0)


def gpus(name: str) -> tuple[str, ...]:
    """The GPUs that a study on this device may use, as CUDA_VISIBLE_DEVICES names them; none where it names one alone.

    Args:
        name: as declared, not resolved: `auto` and `cuda` mean all there are.
    """
    if name not in {"auto", "cuda"} or not resolve(name).startswith("cuda"):
        return ()
    import torch  # noqa: PLC0415

    return visible(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())


def visible(variable: str | None, count: int) -> tuple[str, ...]:
    """The names of `count` GPUs, which may be a choice among those of the machine."""
    names = tuple(part.strip() for part in variable.split(",")) if variable else tuple(map(str, range(count)))
    return names[:count]


def _may_have_gpu() -> bool:
    return sys.platform != "linux" or any(Path(file).exists() for file in GPU_FILES)


def _cuda(name: str, count: int) -> str:
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise DeviceError(f"device: expected a device that is there (auto, cpu), got {name}, and there is {there}.")
    return f"cuda:{index}"


def check_precision(precision: str, device: str) -> None:
    """Raise DeviceError where a device cannot multiply like that."""
    if precision != "fp32" and not device.startswith("cuda"):
        raise DeviceError(f"precision: {precision} needs a CUDA device, and this study trains on {device}.")


def describe(name: str, wanted: str) -> str:
    """The device in words, and what trains there.

    Args:
        name: a resolved device.
        wanted: as declared under `step`.

    Raises:
        DeviceError: the compiled step is wanted, and cannot train here.
    """
    step = compiled_step(name, wanted)
    if name == "cpu":
        why = "step: torch asks for them" if wanted == "torch" else found().why
        if step is None:
            return f"cpu (trained by torch's functions, for {why})"
        return f"cpu (compiled step, {step.name}, {step.compiler}{f'; {why}' if why else ''})"
    if not name.startswith("cuda"):
        return name
    import torch  # noqa: PLC0415

    return f"{name} ({torch.cuda.get_device_name(name)})"
