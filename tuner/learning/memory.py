"""How much memory training takes, how much there is, and what running out of it looks like."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from tuner.learning import cgroups
from tuner.learning.layout import Layout, chunk_rows, merged_layout, padded_sizes, pieces
from tuner.spec.architecture import Architecture
from tuner.spec.work import Trial

ROWS = 6  # of parameters: weights, gradients, two moments, the best weights, and a copy in between
BUFFERS = 4  # of a batch's values: outputs, slopes, two gradients
# What runs out outside of torch's allocator has no class of its own: graphs, pinned memory, cuBLAS, torch on the CPU.
IN_WORDS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: ")


def needed(trial: Trial, features: int, rows: int) -> int:
    """Bytes that training a trial takes, the data left out.

    Args:
        trial: the trial.
        features: real features of a row.
        rows: training rows.
    """
    shape = Architecture.of(features, trial.point)
    layout, more = Layout.own(shape), 4 * shape.variational * padded_sizes(shape.sizes)[shape.code]
    values = BUFFERS * sum(layout.sizes) + more + shape.norm * hidden_units(layout)
    return 4 * (ROWS * layout.length + values * min(rows, trial.point.batch_size))


def packed(trials: Sequence[Trial], features: int, rows: tuple[int, int]) -> int:
    """Bytes that torch's stack takes for a pack of these trials, padded to the largest; the data left out.

    Args:
        trials: of one batch size and depth.
        features: real features of a row.
        rows: training rows and validation rows.

    `needed` is the least that any kind of pack gets by with; here every buffer is made beforehand, for batches and
    validation chunks of both sizes, and `tests/learning/test_planner.py` counts them.
    """
    shapes = [Architecture.of(features, trial.point) for trial in trials]
    layout = merged_layout(shapes)
    sizes, code, hidden = layout.sizes, layout.sizes[shapes[0].code], hidden_units(layout)
    batches = {count for _, count in pieces(rows[0], trials[0].point.batch_size)}
    chunks = {count for _, count in pieces(rows[1], chunk_rows(sizes[0]))}
    passes = 3 * sum(sizes[1:]) - sizes[len(sizes) // 2] + sizes[-1] + 1  # z, h and dz; two of the losses; ones
    passes += 8 * code * shapes[0].variational  # the head's other half, code, noise and what is between them
    passes += (3 * hidden + 4 * len(sizes)) * shapes[0].norm  # y, normal values and one aside; sums of rows
    dropping = any(trial.point.dropout > 0 for trial in trials)
    drawn = 4 * hidden * dropping + 4 * code * shapes[0].variational  # masks and what they leave; noise and its stages
    drawn += code * any(trial.point.code_penalty > 0 for trial in trials)
    copies = 7 if any(trial.point.input_noise > 0 for trial in trials) else 3  # rows, noise, inputs, and their stages
    values = sum((count + 1) * (passes + drawn + copies * sizes[0] + 1) for count in batches)
    values += sum((count + 1) * passes for count in chunks)
    values += (
        (hidden + len(sizes)) * shapes[0].norm * (len(batches) + len(chunks))
    )  # which units are real, and how many
    return 4 * len(trials) * (ROWS * layout.length + values + sum(sizes) + rows[0])


def hidden_units(layout: Layout) -> int:
    """Padded units of all hidden layers."""
    return sum(layout.sizes[1:-1]) - layout.sizes[len(layout.sizes) // 2]


def free(device: str, root: Path = cgroups.ROOT) -> int | None:
    """Bytes that can be had on a device; None where it is unknown.

    Args:
        device: a resolved device.
        root: the folder that holds proc and sys. On the CPU a container's limit counts as well as the machine's memory.
    """
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415  (0.8 s)

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, and not in use
        return int(torch.cuda.mem_get_info(device)[0]) + int(kept)
    known = [_host("MemAvailable", root), cgroups.memory_left(root)]
    return min((each for each in known if each is not None), default=None)


def _host(name: str, root: Path) -> int | None:
    """Bytes by a line of /proc/meminfo."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else None


def check(trial: Trial, features: int, rows: int, device: str) -> None:
    """Refuse a trial that cannot fit before anything is asked of the device: Linux promises memory that it has not.

    Raises:
        MemoryError: it needs more than there is.
    """
    wanted, there = needed(trial, features, rows), free(device)
    if there is not None and wanted > there:
        raise MemoryError(f"needs {_size(wanted)}, {_size(there)} are free on {device}")


def ran_out(error: BaseException | None) -> bool:
    """Whether memory ran out, on the CPU or a GPU; be it that only the recording of a graph failed of it."""
    if error is None:
        return False
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in IN_WORDS) or ran_out(error.__context__)


def unmeasurable(device: str) -> str:
    """Why a trial that could be trained by itself, but then not be measured, has no place here."""
    there = free(device)
    left = "" if there is None else f", of which {_size(there)} are free"
    return f"can be trained, but what its code is worth needs more memory than there is{left}, on {device}"


def reason(trial: Trial, features: int, rows: int, device: str) -> str:
    """Why a trial that ran out of memory by itself cannot be trained."""
    there = free(device)
    left = "" if there is None else f", {_size(there)} are free"
    return f"needs {_size(needed(trial, features, rows))} to be trained{left} on {device}"


def release(device: str) -> None:
    """Give back what a failed attempt has left behind, once the device is done with it."""
    gc.collect()  # the error's frames may hold one another
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415

        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
