"""Runs every command in a network namespace that has loopback alone, and notes whom its processes try to reach.

    unshare --net python alone.py FOLDER

FOLDER holds `first.yaml`, `second.yaml`, `sizes.yaml` and `rows.csv`, and empty folders `home`, `temporary` and
`traces`. Prints one JSON object: each command's words, to its exit code, the end of its standard error, and the
addresses that it tried. `run --executor ray` is not among them: a Ray cluster that starts asks which cloud
it is in (docs/cluster.md).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

TUNER = [sys.executable, "-m", "tuner"]
PORT = 5000  # free: nobody else is in this namespace
SERVER = f"http://127.0.0.1:{PORT}"
_SIOCSIFFLAGS, _UP, _SECONDS = 0x8914, 1, 120
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.|0\.0\.0\.0$|::$")
# What no detector that works lets pass; the address is reserved for examples.
CONTROL = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))"
EXTEND = ["extend", "sizes", "--trials", "9"]  # refused, for no process trains it
COMMANDS = [
    [sys.executable, "-c", CONTROL],
    [*TUNER, "schema"],
    [*TUNER, "migrate"],
    [*TUNER, "inspect", "rows.csv"],
    [*TUNER, "init", "rows.csv"],
    [*TUNER, "validate", "first.yaml"],
    [*TUNER, "run", "first.yaml", "--workers", "1"],
    [*TUNER, "list"],
    [*TUNER, "show", "first"],
    [*TUNER, "trials", "first"],
    [*TUNER, "export", "first", "best"],
    [*TUNER, "apply", "best", "rows.csv", "--what", "score", "-o", "scores.csv"],
    [*TUNER, "apply", "best", "rows.csv", "--what", "score", "-o", "scores.csv", "--onnx"],
    [*TUNER, "report", "first"],
    [*TUNER, "register", "first"],
    [*TUNER, "train", "best/config.yaml"],
    [*TUNER, "sync"],
    [*TUNER, "doctor"],
    [*TUNER, "run", "sizes.yaml", "--workers", "1"],
    [*TUNER, "front", "sizes"],
    [*TUNER, "watch", "sizes"],
    [*TUNER, "stop", "sizes"],
    [*TUNER, *EXTEND],
    [*TUNER, "rename", "sizes", "other", "--yes"],
    [*TUNER, "delete", "other", "--yes"],
    [*TUNER, "disk"],
    [*TUNER, "prune-files"],
    [*TUNER, "data", "add", "rows", "rows.csv"],
    [*TUNER, "data", "list"],
    [*TUNER, "data", "remove", "rows"],
    [*TUNER, "token", "new", "anna"],
    [*TUNER, "token", "list"],
    [*TUNER, "token", "revoke", "1"],
]
WITH_A_SERVER = [
    [*TUNER, "run", "second.yaml", "--workers", "1"],
    [*TUNER, "register", "second"],
    [*TUNER, "doctor", "second"],
    [*TUNER, "compare", "first", "second"],
]
DASHBOARD = [*TUNER, "dashboard", "--no-browser", "--port", str(PORT)]


def main(folder: Path) -> None:
    """Run them all; see the module."""
    _loopback_up()
    os.chdir(folder)
    variables = _variables(folder)
    found = {_words(command): _run(command, variables) for command in COMMANDS}
    with _started(DASHBOARD, variables) as page:
        try:
            _await_health(page)
            with_server = {**variables, "MLFLOW_TRACKING_URI": SERVER}
            found |= {_words(command): _run(command, with_server) for command in WITH_A_SERVER}
        finally:
            (tuner,) = Path(f"/proc/{page.pid}/task/{page.pid}/children").read_text().split()
            os.kill(int(tuner), signal.SIGINT)
            code = page.wait(_SECONDS)
    found[_words(DASHBOARD)] = {"code": code, "said": "", "tried": _tried(DASHBOARD)}
    print(json.dumps(found))  # noqa: T201


def _loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))


def _variables(folder: Path) -> dict[str, str]:
    """Nothing that a library would take for a test or for a user's wish not to be watched."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}


def _words(command: list[str]) -> str:
    return " ".join(command).removeprefix(sys.executable).removeprefix(" -m ").strip()


def _run(command: list[str], variables: dict[str, str]) -> dict[str, Any]:
    with _started(command, variables) as process:
        _, said = process.communicate(timeout=_SECONDS)
    return {"code": process.returncode, "said": said.decode()[-500:], "tried": _tried(command)}


def _started(command: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
    strace = [shutil.which("strace") or "strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg"]
    return subprocess.Popen(
        [*strace, "-e", "signal=none", "-o", str(_trace(command)), "--", *command],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _trace(command: list[str]) -> Path:
    return Path("traces") / re.sub(r"\W+", "-", _words(command))[-100:]


def _tried(command: list[str]) -> list[str]:
    """Addresses beyond this machine."""
    found = {"".join(pair) for pair in _ADDRESS.findall(_trace(command).read_text(errors="replace"))}
    return sorted(address for address in found if not _LOOPBACK.match(address))


def _await_health(page: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while page.poll() is None and time.monotonic() - began < _SECONDS:
        try:
            with urllib.request.urlopen(f"{SERVER}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the dashboard must start")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
