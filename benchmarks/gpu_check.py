"""The check of a GPU, step by step; `gpu_check.sh` calls it in an environment that has all it needs.

Each step is a process of its own with a time limit and leaves one line of result; a failure never stops the next one.
The results are `gpu.json` and `gpu.md` in the folder OUT, with each step's whole output beside them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    """As given on the command line."""

    device: str
    small: bool
    out: Path

    @property
    def scaled(self) -> list[str]:
        return ["--device", self.device, *(["--small"] if self.small else [])]


@dataclass
class Result:
    """What came of a step."""

    step: str
    passed: bool
    seconds: float
    line: str
    found: dict[str, Any] = field(default_factory=dict)
    table: str = ""


@dataclass(frozen=True)
class Step:
    """One step: its limit in seconds on a GPU, and its command."""

    limit: int
    command: Callable[[Options], list[str]]


def _tests(options: Options) -> list[str]:
    found = ["-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "--durations=5"]
    if options.small:
        return [*found, "tests/learning/test_replay.py", "tests/learning/test_device.py"]
    return [*found, "tests/learning", *(["-n", "4"] if importlib.util.find_spec("xdist") else [])]


def _script(step: str, name: str, *more: str) -> Callable[[Options], list[str]]:
    def command(options: Options) -> list[str]:
        return [f"benchmarks/{name}.py", *more, "--json", str(_kept(step, options)), *options.scaled]

    return command


def _kept(step: str, options: Options) -> Path:
    """Where a step leaves what it found; it becomes part of gpu.json."""
    return options.out / f"{step}.json"


STEPS = {
    "tests": Step(75, _tests),
    "speed": Step(65, _script("speed", "gpu")),
    "study": Step(70, _script("study", "gpu_steps", "study")),
    "memory": Step(20, _script("memory", "gpu_steps", "memory")),
    "profile": Step(15, _script("profile", "gpu_steps", "profile")),
}


def run(name: str, options: Options) -> Result:
    """Do a step within its limit; whatever it printed is in a file of its name."""
    step, started, log = STEPS[name], time.monotonic(), options.out / f"{name}.log"
    environment = {**os.environ, "TUNER_TEST_DEVICE": options.device, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    limit = step.limit * (6 if options.small else 1)  # a shared CPU is slower than its quiet self
    with log.open("w", encoding="utf-8") as to:
        process = subprocess.Popen(
            [sys.executable, *step.command(options)],
            cwd=ROOT,
            env=environment,
            stdout=to,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            code = None
    return _result(name, code, limit, time.monotonic() - started, options)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask first, so that a step can end what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(3)


def _result(name: str, code: int | None, limit: int, seconds: float, options: Options) -> Result:
    lines = (options.out / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it printed nothing"
    kept = _kept(name, options)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    kept.unlink(missing_ok=True)
    if code is None:
        last = f"stopped at its limit of {limit} s; its last line: {last}"
    elif code:
        last = f"exit code {code}: {last}"
    table = str(found.pop("table", "")) or "\n".join(lines[-12:])
    return Result(
        name, code == 0, round(seconds, 1), str(found.pop("line", "")) if code == 0 and found else last, found, table
    )


def machine(device: str) -> dict[str, str]:
    """Date, card, processor and versions."""
    import torch

    card = torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else device
    found = {"date": time.strftime("%Y-%m-%d"), "card": card, "python": platform.python_version()}
    found |= {"torch": torch.__version__, "cuda": str(torch.version.cuda), "cores": str(os.cpu_count())}
    return {**found, "processor": platform.processor() or platform.machine()}


def write(results: list[Result], about: dict[str, str], out: Path) -> None:
    """Both files; again after each step, so that what is done is kept whatever comes."""
    content = {"machine": about, "steps": [asdict(one) for one in results]}
    (out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    head = ", ".join(f"{name} {value}" for name, value in about.items())
    parts = [f"## Measured\n\n{head}\n", "| step | passed | seconds | result |\n| --- | --- | --- | --- |"]
    parts += [f"| {one.step} | {'yes' if one.passed else 'NO'} | {one.seconds} | {one.line} |" for one in results]
    parts += [f"\n### {one.step}\n\n{one.table}" for one in results]
    (out / "gpu.md").write_text("\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    """Do the steps and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", default="gpu-results", type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="few models and rows: to try the check itself, on a CPU")
    parser.add_argument("--only", choices=list(STEPS))
    given = parser.parse_args()
    options = Options(given.device, given.small, given.out.resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    about, results = machine(options.device), []
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    for name in [given.only] if given.only else STEPS:
        results.append(run(name, options))
        one = results[-1]
        print(f"{one.step}: {'passed' if one.passed else 'FAILED'} in {one.seconds} s: {one.line}", flush=True)
        write(results, about, options.out)
    raise SystemExit(not all(one.passed for one in results))


if __name__ == "__main__":
    main()
