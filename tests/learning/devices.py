"""Where claims about GPUs are tried: `pytest -m gpu tests/learning` takes TUNER_TEST_DEVICE, else `cuda:0`.

`TUNER_TEST_DEVICE=cpu` tries the same claims on packs that are merged as on a GPU, on the CPU.
"""

from __future__ import annotations

import os

import pytest
import torch

GPU = os.environ.get("TUNER_TEST_DEVICE") or "cuda:0"
MISSING = GPU.startswith("cuda") and not torch.cuda.is_available()
MARKS = [
    pytest.mark.gpu,
    pytest.mark.skipif(MISSING, reason="no NVIDIA GPU here, and TUNER_TEST_DEVICE names no other"),
]
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
DEVICES = ["cpu", pytest.param(GPU, marks=MARKS, id="gpu")]
