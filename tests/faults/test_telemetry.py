"""No library that a command starts sends or keeps anything about its user: looked at where there is no way out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from alone import COMMANDS, DASHBOARD, EXTEND, TUNER, WITH_A_SERVER
from studies import tiny

from tuner.cli.app import app
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import spec_from_mapping

ALONE = Path(__file__).parent / "alone.py"
CONTROL = "-c import socket;"


def has_namespaces() -> bool:
    found = shutil.which("unshare") and shutil.which("strace")
    words = ["unshare", "--net", "strace", "-f", "--seccomp-bpf", "-e", "trace=connect", "true"]
    return bool(found) and subprocess.run(words, capture_output=True, check=False).returncode == 0


EXEMPT = {
    "serve": "runs until it is ended; what it starts is `run`, and what it serves is looked at in tests/service",
    "supervise": "as serve",
}


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[str]:
    """All that can be called, `data add` among them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name))


def test_every_command_is_looked_at() -> None:
    """But for a few, with reasons; a new command needs a line in `alone.py`."""
    looked_at = [" ".join(words[len(TUNER) :]) for words in (*COMMANDS, *WITH_A_SERVER, DASHBOARD)]
    known = set(commands(typer.main.get_command(app)))
    assert len(known) > 30
    missing = {name for name in known if not any(f"{words} ".startswith(f"{name} ") for words in looked_at)}
    assert missing == EXEMPT.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("alone")
    for name in ("home", "temporary", "traces"):
        (made / name).mkdir()
    rows = np.random.default_rng(1).normal(size=(90, 4))
    np.savetxt(made / "rows.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    space = {"batch_size": 16, "bottleneck": {"type": "int", "low": 1, "high": 2}}
    two = {"objective": ["val_loss", "bottleneck"], "space": space}
    for name, more in {"first": {}, "second": {}, "sizes": two}.items():
        search = {"trials": 3, "epochs": 3, "cohort": 3}
        spec = spec_from_mapping(tiny(name=name, data={"source": "rows.csv"}, search=search, **more))
        (made / f"{name}.yaml").write_text(to_yaml(spec))
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """Every command's end, and whom it tried to reach."""
    if not has_namespaces():
        pytest.skip("network namespaces need root, unshare and strace")
    words = ["unshare", "--net", sys.executable, str(ALONE), str(folder)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr[-2000:]
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_nobody_beyond_this_machine_is_called(found: dict[str, Any]) -> None:
    """Of all processes of every command no connection and no datagram goes beyond loopback, a question for a name
    included; one that is sent on purpose is seen."""
    (control,) = (name for name in found if name.startswith(CONTROL))
    assert found.pop(control)["tried"] == ["192.0.2.1"]
    (refused,) = (name for name in found if name.endswith(" ".join(EXTEND)))
    assert found.pop(refused)["code"] == 2
    assert {name: each["said"] for name, each in found.items() if each["code"] not in (0, 130)} == {}
    assert {name: each["tried"] for name, each in found.items() if each["tried"]} == {}


@pytest.mark.parametrize("place", ["home", "temporary"])
def test_nothing_is_kept_of_the_user(place: str, found: dict[str, Any], folder: Path) -> None:
    """No identifier, no cache, no database: HOME is as empty as it was, and no temporary file is left; an empty folder
    may be, which PyTorch's exporter makes for its cache."""
    assert len(found) > 15
    left = [path for path in (folder / place).rglob("*") if place == "home" or path.is_file()]
    assert [str(path.relative_to(folder)) for path in left] == []
