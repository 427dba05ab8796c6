"""Steps of the GPU check that need the whole product: a study, running out of memory, a profile.

usage: python benchmarks/gpu_steps.py study|memory|profile [--device cuda:0] [--small] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
Table = dict[int, dict[str, str]]


def fashion_like(rows: int) -> np.ndarray:
    """Rows (N, 784) between 0 and 1 that a code of 16 describes well: made, since no data travel with the check."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((rows, 16), np.float32) @ rng.standard_normal((16, 784), np.float32)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def space_files(folder: Path, small: bool) -> dict[str, tuple[Path, list[str]]]:
    """Both studies: the file, and what is set on the command line."""
    np.save(folder / "fashion.npy", fashion_like(1000 if small else 60_000))
    text = "name: fashion\ndata: {source: fashion.npy, scaling: none}\nspace:\n"
    text += "  learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}\n"
    text += "  batch_size: {type: categorical, choices: [64, 128, 256]}\n  depth: {type: int, low: 1, high: 3}\n"
    text += "  width: {type: int, low: 64, high: 512, log: true}\n"
    text += "  activation: {type: categorical, choices: [relu, gelu, silu, tanh, sigmoid]}\n  bottleneck: 16\n"
    trials = 2 if small else 16
    text += f"search: {{pruner: none, trials: {trials}, epochs: {1 if small else 3}, seed: 0}}\nfinal: none\n"
    (folder / "fashion.yaml").write_text(text, encoding="utf-8")
    few = ["search.trials=12", "search.epochs=4"] if small else []
    return {
        "digits": (ROOT / "search_spaces/digits.yaml", ["final=none", *few]),
        "fashion": (folder / "fashion.yaml", []),
    }


class Studies:
    """Runs studies, each in a folder of its own, by the command line."""

    def __init__(self, folder: Path, small: bool) -> None:
        self._folder, self._small = folder, small
        self._files = space_files(folder, small)

    def command(self, name: str, device: str) -> list[str]:
        path, changes = self._files[name]
        settings = [part for change in (*changes, f"device={device}") for part in ("--set", change)]
        alone = ["--workers", "0"] if self._small else []  # no second process to start
        return [sys.executable, "-m", "tuner", "run", str(path), *settings, *alone]

    def start(self, name: str, device: str, folder: str) -> subprocess.Popen[bytes]:
        place = self._folder / folder
        place.mkdir(exist_ok=True)
        process = subprocess.Popen(
            self.command(name, device), cwd=place, stdout=subprocess.DEVNULL, start_new_session=True
        )
        signal.signal(signal.SIGTERM, lambda *_: _end(process))  # the check's limit: nothing may stay on the device
        return process

    def run(self, name: str, device: str, folder: str) -> tuple[float, Table]:
        """Seconds from a fresh process to its end, and the table of trials."""
        started = time.monotonic()
        code = self.start(name, device, folder).wait()
        seconds = time.monotonic() - started
        if code:
            raise SystemExit(f"{name} on {device}: tuner run ended with {code}")
        return seconds, self.table(name, folder)

    def run_killed_once(self, name: str, device: str, after: float) -> tuple[int, Table]:
        """Killed after so many seconds, and continued: how many trials were recorded by then, and the table."""
        process = self.start(name, device, "killed")
        time.sleep(after)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        recorded = len(self.table(name, "killed"))
        return recorded, self.run(name, device, "killed")[1]

    def table(self, name: str, folder: str) -> Table:
        """The trials by number; none where the study had not begun."""
        asked = [sys.executable, "-m", "tuner", "trials", name]
        told = subprocess.run(asked, cwd=self._folder / folder, capture_output=True, text=True, check=False)
        return {int(row["number"]): row for row in csv.DictReader(told.stdout.splitlines())}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    raise SystemExit("ended by its limit")


def beside(one: Table, other: Table, sure: int) -> dict[str, Any]:
    """Two tables of one study: parameters of the first `sure` trials must agree, the losses' distance is told."""
    numbers = sorted(one.keys() & other.keys())

    def params(row: dict[str, str]) -> list[str]:
        return [value for key, value in row.items() if key.startswith("param.")]

    same = [number for number in numbers if params(one[number]) == params(other[number])]
    pairs = [(one[number], other[number]) for number in same]
    alike = [(a, b) for a, b in pairs if a["epochs"] == b["epochs"] and a["state"] == b["state"] == "complete"]
    apart = sorted(abs(float(a["value"]) / float(b["value"]) - 1) for a, b in alike)
    return {
        "trials": (len(one), len(other)),
        "same_parameters": len(same),
        "sure": sure,
        "agree": len(one) == len(other) and set(range(min(sure, len(one)))) <= set(same),
        "compared": len(apart),
        "median_apart": apart[len(apart) // 2] if apart else None,
        "most_apart": apart[-1] if apart else None,
        "states_differ": sum(a["state"] != b["state"] for a, b in pairs),
    }


def study(device: str, small: bool) -> dict[str, Any]:
    """Both studies on the device and on the CPU; the first one killed and continued on the device as well."""
    from tuner.search.rungs import cohort_size
    from tuner.spec.reader import read_spec

    sure = cohort_size(read_spec(ROOT / "search_spaces/digits.yaml").search)
    found: dict[str, Any] = {"studies": {}}
    rows = ["| study | device, s | CPU, s | trials with the same parameters | losses apart: median, most |"]
    rows.append("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        studies, fine = Studies(Path(name), small), True
        for label in ("digits", "fashion"):
            took, here = studies.run(label, device, f"{label}-device")
            cpu, there = studies.run(label, "cpu", f"{label}-cpu") if device != "cpu" else (took, here)
            told = {"seconds": took, "cpu_seconds": cpu, **beside(here, there, sure)}
            found["studies"][label], fine = told, fine and told["agree"]
            rows.append(_row(label, told))
            print(rows[-1], flush=True)
        recorded, again = studies.run_killed_once("digits", device, found["studies"]["digits"]["seconds"] * 0.6)
        uninterrupted = studies.table("digits", "digits-device")
        killed = {"recorded_when_killed": recorded, **beside(again, uninterrupted, sure)}
        same_bits = killed["most_apart"] == 0 or device != "cpu"  # a GPU may choose other kernels in a second run
        found["studies"]["killed"], fine = killed, fine and killed["agree"] and same_bits
        rows.append(f"| digits, killed at {recorded} trials | | | {killed['same_parameters']} | {_apart(killed)} |")
    found["line"] = "; ".join(
        f"{label} {one['seconds']:.1f} s, CPU {one['cpu_seconds']:.1f} s, losses {_apart(one)}"
        for label, one in list(found["studies"].items())[:2]
    )
    return {**found, "passed": fine, "table": "\n".join(rows)}


def _row(label: str, told: dict[str, Any]) -> str:
    same = f"{told['same_parameters']} of {told['trials'][0]}"
    return f"| {label} | {told['seconds']:.1f} | {told['cpu_seconds']:.1f} | {same} | {_apart(told)} |"


def _apart(told: dict[str, Any]) -> str:
    return f"{told['median_apart']:.1e}, {told['most_apart']:.1e}" if told["compared"] else "none to compare"


def memory(device: str, _small: bool) -> dict[str, Any]:
    """A pack that cannot fit is split, a trial that cannot fit is infeasible, and the study ends."""
    split, trained = _split(device)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "large.yaml"
        path.write_text(
            "name: large\ndata: {source: 'sklearn:iris'}\nspace:\n"
            "  learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}\n"
            # 200 GB with a code of 65,536. Cohorts of one, so that the host is never asked for the first weights.
            "  width: 65536\n  depth: 1\n  bottleneck: {type: categorical, choices: [2, 65536]}\n"
            f"search: {{sampler: random, trials: 6, epochs: 2, cohort: 1, seed: 1}}\ndevice: {device}\nfinal: none\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "tuner", "run", str(path), "--workers", "1"]
        code = subprocess.run(command, cwd=name, check=False).returncode
        asked = [sys.executable, "-m", "tuner", "trials", "large"]
        told = subprocess.run(asked, cwd=name, capture_output=True, text=True, check=False).stdout
    rows = list(csv.DictReader(told.splitlines()))
    states = {row["param.bottleneck"] == "2": set() for row in rows}
    for row in rows:
        states[row["param.bottleneck"] == "2"].add(row["state"])
    fine = code == 0 and states.get(False) == {"infeasible"} and "infeasible" not in states.get(True, set())
    ends = f"the study ended with {code}, {sum(row['state'] == 'infeasible' for row in rows)} of {len(rows)} infeasible"
    line = f"{trained} of 16 trials trained after {split} refusals; {ends}"
    return {"refusals": split, "trained": trained, "line": line, "passed": fine and split > 0 and trained == 16}


def _split(device: str) -> tuple[int, int]:
    """How often a segment's pack was refused, and how many of its 16 trials were trained.

    On a GPU this process may take a third of what the pack needs, while the planner believes that all is free. On the
    CPU, where no such limit can be set, a pack of more than four is refused as torch would.
    """
    import torch

    from tuner.data.rows import RowsFile
    from tuner.execution import worker
    from tuner.execution.context import Workplace
    from tuner.learning import memory as room
    from tuner.learning.checkpoint_store import CheckpointFolder
    from tuner.learning.stacked.pack import Pack
    from tuner.learning.stacked.training_data import TrainingData
    from tuner.spec.architecture import Hyperparameters
    from tuner.spec.length import Length
    from tuner.spec.work import Segment, TrainingPlan, Trial

    values = np.random.default_rng(0).random((512, 64), dtype=np.float32)
    width = 2048 if device != "cpu" else 32
    point = Hyperparameters(1e-3, 64, 2, width, "relu", 8, 0.0, 0.0)
    trials, refused, begin = tuple(Trial(m, point, m) for m in range(16)), [], Pack.__init__
    data = TrainingData.of(values, values[:128].copy(), device)

    def watched(self: Pack, members: Any, *rest: Any, **named: Any) -> None:
        try:
            if device == "cpu" and len(members) > 4:
                raise torch.OutOfMemoryError
            begin(self, members, *rest, **named)
        except torch.OutOfMemoryError:
            refused.append(len(members))
            raise

    Pack.__init__ = watched  # type: ignore[method-assign]
    worker._data = lambda *_: data  # type: ignore[assignment]
    if device != "cpu":
        total = torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction(room.packed(trials, 64, (512, 128)) / 3 / total, device)
    told = device if device != "cpu" else "mps"  # trained as on a GPU, by tensors that lie on the CPU
    with tempfile.TemporaryDirectory() as folder:
        rows, states = RowsFile("", (512, 128, 0), 64), CheckpointFolder(folder)
        place = Workplace(rows, states, "mse", told, Length.of(TrainingPlan(9)), "fp32")
        if device == "cpu":
            room.release = lambda _: None  # type: ignore[assignment]
        result = worker.run_segment(place, Segment(trials, 0, 2), [()] * 16)
    return len(refused), len(result.curves)


def profile(device: str, small: bool) -> dict[str, Any]:
    """The kernels of one pack of the slower workload, and the gaps between them, in 20 lines."""
    import torch
    from torch.profiler import ProfilerActivity

    from tuner.learning.stacked.pack import Pack, reproducible
    from tuner.learning.stacked.training_data import TrainingData
    from tuner.spec.architecture import Hyperparameters
    from tuner.spec.work import Trial

    values = fashion_like(512 if small else 8192)
    point = Hyperparameters(1e-3, 256, 2, 256, "gelu", 16, 0.0, 0.0)
    cuda = device.startswith("cuda")
    with reproducible():
        pack = Pack(
            [Trial(m, point, m) for m in range(2 if small else 64)],
            TrainingData.of(values, values[:256].copy(), device),
            "mse",
            merged=True,
        )
        for _ in range(3):
            pack.train_epoch()
        started = time.perf_counter()
        pack.train_epoch()  # `collect` waits for the device
        seconds = time.perf_counter() - started
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with torch.profiler.profile(activities=activities) as seen:
            pack.train_epoch()
    lines, found = _kernels(seen, cuda)
    line = f"{found['launches']} launches an epoch, busy {found['busy_ms']:.1f} ms of {1e3 * seconds:.1f} ms"
    return {**found, "wall_ms": 1e3 * seconds, "line": line, "passed": True, "table": "\n".join(lines[:20])}


def _kernels(seen: Any, cuda: bool) -> tuple[list[str], dict[str, Any]]:
    """A table of what took longest, with the gaps between one launch's end and the next one's begin."""
    from torch.autograd import DeviceType

    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    events = sorted(
        (event for event in seen.events() if event.device_type == kind), key=lambda event: event.time_range.start
    )
    if not cuda:
        events = [event for event in events if event.cpu_parent is None]
    spans = [(event.time_range.start, event.time_range.end) for event in events]
    gaps = sorted(max(0.0, b[0] - a[1]) for a, b in pairwise(spans))
    by_name: dict[str, list[float]] = {}
    for event, (start, end) in zip(events, spans, strict=True):
        by_name.setdefault(event.name[:70].replace("|", "/"), []).append(end - start)
    rows = ["| kernel | times | ms | us each |", "| --- | --- | --- | --- |"]
    for name, took in sorted(by_name.items(), key=lambda pair: -sum(pair[1]))[:16]:
        rows.append(f"| {name} | {len(took)} | {sum(took) / 1e3:.2f} | {sum(took) / len(took):.1f} |")
    busy = sum(end - start for start, end in spans) / 1e3
    told = {"launches": len(spans), "busy_ms": busy, "gaps_ms": sum(gaps) / 1e3}
    if gaps:
        rows.append(
            f"\ngaps: {told['gaps_ms']:.2f} ms in all, median {gaps[len(gaps) // 2]:.1f} us, largest {gaps[-1]:.0f} us"
        )
    return rows, told


STEPS: dict[str, Callable[[str, bool], dict[str, Any]]] = {"study": study, "memory": memory, "profile": profile}


def main() -> None:
    """Do one step; its last line is its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=list(STEPS))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = STEPS[options.step](options.device, options.small)
    passed = found.pop("passed")
    if options.json:
        options.json.write_text(json.dumps(found), encoding="utf-8")
    print(found.get("table", ""))
    print(found["line"])
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
