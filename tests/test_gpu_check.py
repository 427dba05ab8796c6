"""Claims about the GPU check, tried on the CPU in its small form; what needs a device needs one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEPS = ["tests", "speed", "study", "memory", "profile"]


def check(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "benchmarks/gpu_check.sh", "--device", "cpu", "--small", *options, out],
        env={**os.environ, "PYTHON": sys.executable, "NO_WHEELS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_the_whole_check_passes_in_its_small_form(tmp_path: Path) -> None:
    """Every step passes, has one line on the screen, and is in both files with what it found."""
    ended = check(tmp_path)
    told = [line for line in ended.stdout.splitlines() if line.split(":")[0] in STEPS]
    assert [line.split(":")[0] for line in told] == STEPS, ended.stdout + ended.stderr
    assert ended.returncode == 0, ended.stdout
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    steps = {one["step"]: one for one in found["steps"]}
    assert all(one["passed"] for one in steps.values())
    assert found["machine"]["card"] == "cpu"
    assert {row["data"] for row in steps["speed"]["found"]["rows"]} == {"digits", "fashion"}
    assert all(0 < row["share"] < 10 for row in steps["speed"]["found"]["rows"])
    assert steps["study"]["found"]["studies"]["killed"]["most_apart"] == 0
    assert steps["memory"]["found"]["refusals"] > 0
    assert "| kernel |" in (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert len(list(tmp_path.iterdir())) <= 8


def test_a_step_that_fails_is_told_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ends badly and one that never ends are failures in one line; the next step is done."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    commands = {
        "bad": (9, ["-c", "print('first'); raise SystemExit('no such device')"]),
        "endless": (1, ["-c", "import time; print('begun', flush=True); time.sleep(60)"]),
        "good": (9, ["-c", "print('done')"]),
    }
    steps = {
        name: gpu_check.Step(limit, lambda _, command=command: command) for name, (limit, command) in commands.items()
    }
    monkeypatch.setattr(gpu_check, "STEPS", steps)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", str(tmp_path), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 1
    results = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["steps"]
    assert [one["passed"] for one in results] == [False, False, True]
    assert [one["line"] for one in results] == [
        "exit code 1: no such device",
        "stopped at its limit of 1 s; its last line: begun",
        "done",
    ]
