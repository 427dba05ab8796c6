"""Claims about devices."""

import pytest
import torch

from tuner.errors import DeviceError
from tuner.learning.device import check_precision, describe, gpus, resolve, visible
from tuner.learning.native.library import library
from tuner.learning.packs import step_name


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_trains_as_the_cpu_does() -> None:
    """On CUDA a mixed pack's losses are the CPU's to 1e-4 after 5 epochs."""
    from plain import digits, trial

    from tuner.learning.pack import Pack, TrainingData, reproducible
    from tuner.learning.training import train

    trials = [trial(number, width=50 + number) for number in range(4)]
    with reproducible():
        on_cpu = train(Pack(trials, TrainingData.of(*digits()), "mse"), 5)
        on_gpu = train(Pack(trials, TrainingData.of(*digits(), device="cuda:0"), "mse"), 5)
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert gpu.val_loss == pytest.approx(cpu.val_loss, rel=1e-4)
