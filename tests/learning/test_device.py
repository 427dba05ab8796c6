"""Claims about devices."""

import numpy as np
import pytest
import torch
from devices import DEVICES
from kinds import Kind, runnable
from numpy.typing import NDArray
from plain import digits, trial

from tuner.errors import DeviceError
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.compiled.library import library
from tuner.learning.device import check_precision, describe, gpus, resolve, visible
from tuner.learning.packs import step_name
from tuner.learning.stacked.pack import reproducible
from tuner.learning.training import train
from tuner.spec.work import Curve


def test_the_cpu_is_always_there() -> None:
    """`cpu` resolves to itself and says what trains on it, `auto` to something that torch can put a tensor on."""
    assert resolve("cpu") == "cpu"
    assert describe("cpu", "auto").startswith(
        "cpu (compiled step" if library() else "cpu (trained by torch's functions"
    )
    assert describe("cpu", "torch") == "cpu (trained by torch's functions, for step: torch asks for them)"
    assert torch.zeros(1, device=resolve("auto")).sum().item() == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_missing_gpu_is_one_sentence(name: str) -> None:
    """It names what was asked for and what is there."""
    with pytest.raises(DeviceError, match=f"got {name}, and there is no CUDA device"):
        resolve(name)


def test_gpus_are_named_as_the_user_sees_them() -> None:
    """All there are, or those that CUDA_VISIBLE_DEVICES leaves; a study that names one device is dealt none."""
    assert visible(None, 3) == ("0", "1", "2")
    assert visible("4,GPU-7f", 2) == ("4", "GPU-7f")
    assert visible("2, 5, 6", 2) == ("2", "5")
    assert gpus("cpu") == gpus("cuda:1") == ()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_precision_that_needs_a_gpu_is_one_sentence_without_it(precision: str, device: str) -> None:
    """fp32 goes everywhere."""
    with pytest.raises(
        DeviceError, match=f"precision: {precision} needs a CUDA device, and this study trains on {device}"
    ):
        check_precision(precision, device)
    check_precision(precision, "cuda:0")
    check_precision("fp32", device)


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_the_compiled_step_on_a_gpu_is_one_sentence(device: str) -> None:
    """`step: compiled` says the CPU; the other two are torch there."""
    with pytest.raises(DeviceError, match=f"step: compiled trains on the CPU alone, and this study trains on {device}"):
        step_name(device, "compiled")
    assert step_name(device, "auto") == step_name(device, "torch") == "torch"


def apart(one: list[Curve], other: list[Curve]) -> NDArray[np.float64]:
    """The largest relative distance of the trials' validation losses, by epoch."""
    ours, theirs = (np.array([curve.val_loss for curve in curves]) for curves in (one, other))
    found: NDArray[np.float64] = np.abs(ours / theirs - 1).max(0)
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_a_gpu_trains_as_the_cpu_does(device: str) -> None:
    """A mixed pack's losses are those of the CPU's own packs to 1e-5 after the first epoch and, after 20, no further
    away than ten times the distance between two builds of the compiled step, where two of them run here."""
    trials = [trial(m, width=50 + 9 * m, activation=list(ACTIVATIONS)[m], learning_rate=5e-3) for m in range(5)]

    def curves(kind: Kind) -> list[Curve]:
        with reproducible():
            return train(kind.pack(trials, kind.data(digits()), "mse"), 20)

    builds = runnable()[:2]
    on_cpu = [curves(Kind.of(name)) for name in builds or ["torch"]]
    distance = apart(curves(Kind(None, device, merged=True)), on_cpu[0])
    assert distance[0] < 1e-5
    assert distance.max() < (10 * max(apart(*on_cpu).max(), 1e-6) if len(builds) == 2 else 1e-3)
