"""The profiles `ray` and `s3` of docker-compose.yml, as test_compose.py has the others: plain processes on loopback."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from composed import COMPOSE, SERVICES, SPACE, Stack, composed, serving_by, with_mlflow
from ray_nodes import STORE
from studies import IRIS

import tuner
from tuner.ledger.ledger import Ledger


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Secrets and Postgres."""
    with composed(tmp_path) as made, tempfile.TemporaryDirectory(prefix="c", ignore_cleanup_errors=True) as short:
        yield replace(made, short=Path(short))


def test_ray_has_a_network_of_its_own_and_one_secret() -> None:
    """Nothing but the supervisor is in it; no port is published; nodes have the token and neither ledger nor MLflow."""
    assert COMPOSE["networks"]["cluster"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "cluster" in service.get("networks", [])}
    assert inside == {"ray-head", "ray-worker", "supervise-ray"}
    for name in ("ray-head", "ray-worker"):
        declared = SERVICES[name]
        assert (declared["networks"], declared["secrets"]) == (["cluster"], ["ray_token"])
        assert "ports" not in declared
        assert not {key for key in declared["environment"] if key.startswith(("TUNER_", "MLFLOW_"))}
    assert {SERVICES[name]["environment"]["RAY_AUTH_MODE"] for name in inside} == {"token"}


def test_a_study_of_the_service_trains_on_the_cluster_of_compose(stack: Stack) -> None:
    """A head, a worker and a supervisor that joined them by the token's file: what a launcher sends to the cluster ends
    there, on the worker, and what is sent to this machine beside it; no log holds the token."""
    given = {"RAY_STORE": str(STORE), "RAY_CORES": "1"}
    with (
        with_mlflow(stack),
        stack.running("ray-head", **given),
        stack.running("ray-worker", **given),
        serving_by(stack, "supervise-ray", **given),
    ):
        token = stack.run("serve", "token", "new", "anna", "--role", "launch")
        server = tuner.connect(f"http://127.0.0.1:{stack.ports['serve']}", token=token.stdout)
        server.add_dataset("iris", IRIS)
        for name, executor in (("there", None), ("here", "processes")):
            *_, last = server.submit({**SPACE, "name": name}, executor=executor).watch()
            said = "".join(file.read_text() for file in stack.folder.glob("*ray*.log"))
            assert (last.state, last.executor) == ("finished", executor or "ray"), last.message + said
        assert stack.secret("ray_token") not in said
    ledger = Ledger.open((stack.secrets / "tuner_database_url").read_text().strip())
    for name, is_there in (("there", True), ("here", False)):
        study = ledger.study(name)
        assert study is not None
        assert {each.worker.startswith("node ") for each in ledger.segments(study.id)} == {is_there}
    ledger.close()


def test_the_store_gets_its_keys_by_its_environment(stack: Stack, tmp_path: Path) -> None:
    """A stand-in for the store's program, which is not here: the keys are those of MLflow's file, and no argument; its
    bucket is a folder that is made once."""
    stand_in = tmp_path / "bin" / "versitygw"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$@"; echo "$ROOT_ACCESS_KEY"; echo "$ROOT_SECRET_KEY"\n')
    stand_in.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
        started = stack.run("s3")
    words, *keys = started.stdout.splitlines()
    assert words == f"--port=:{stack.ports['s3']} --health=/health posix {stack.folder}/s3"
    lines = (line.partition(" = ") for line in stack.secret("aws_credentials").splitlines())
    known = {name: value for name, _, value in lines}
    assert keys == [known["aws_access_key_id"], known["aws_secret_access_key"]]
    for _ in range(2):
        assert stack.run("bucket").returncode == 0
    assert [path.name for path in (stack.folder / "s3").iterdir()] == ["mlflow"]


def test_the_store_without_keys_says_what_to_do(stack: Stack) -> None:
    """Before it begins: exit code 1 and the file's name."""
    (stack.secrets / "aws_credentials").write_text("\n")
    ended = stack.run("s3")
    assert (ended.returncode, ended.stderr) == (
        1,
        f"{stack.secrets}/aws_credentials: must have aws_access_key_id and aws_secret_access_key; deploy/secrets.sh"
        " makes both.\n",
    )
