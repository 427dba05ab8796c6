"""docker-compose.yml. No container engine runs here: both services' commands run as plain processes on loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = COMPOSE["services"]
BIN = Path(sys.executable).parent
START_SECONDS = 120


def entrypoint(service: str) -> list[str]:
    """What the service runs before its command: its own entrypoint, or the image's."""
    of_image = re.search(r'^ENTRYPOINT \["([a-z]+)"\]$', DOCKERFILE, re.MULTILINE)
    assert of_image
    return SERVICES[service].get("entrypoint", [of_image[1]])


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """`${NAME:-default}` as docker compose fills it in."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1]) or found[2], text)


def natively(text: str, folder: Path, port: int) -> str:
    """All that differs from the containers: where folders are mounted, the port, and the name of the server's host."""
    for mounted, here in {"/mlflow/": f"{folder}/mlflow/", "/search_spaces": f"{ROOT}/search_spaces"}.items():
        text = text.replace(mounted, here)
    text = text.replace(":5000", f":{port}").replace("--port=5000", f"--port={port}")
    return text.replace("--host=0.0.0.0", "--host=127.0.0.1").replace("http://mlflow:", "http://127.0.0.1:")


@dataclass(frozen=True)
class Native:
    """A service's command line, environment and working folder on this machine."""

    args: list[str]
    env: dict[str, str]
    cwd: Path


def native(service: str, folder: Path, port: int, **given: str) -> Native:
    declared = SERVICES[service]
    words = [natively(interpolated(word, given), folder, port) for word in [*entrypoint(service), *declared["command"]]]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TUNER_"))}
    env = {name: natively(value, folder, port) for name, value in declared["environment"].items()}
    cwd = folder / declared["working_dir"].lstrip("/")
    cwd.mkdir(parents=True, exist_ok=True)
    return Native([str(BIN / words[0]), *words[1:]], {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", **env}, cwd)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int

    def answer(self, host: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and text of the answer to a request (a POST if it has a body) with that Host header."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Host": host, "Content-Type": "application/json"}
            connection.request("GET" if text is None else "POST", path, text, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def status(self, host: str) -> int:
        """The status of an ordinary question to the API."""
        return self.answer(host, "/api/2.0/mlflow/experiments/search?max_results=1")[0]


def wait_until_healthy(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    """Ask with the service's own health check, as the engine does."""
    check = [natively(word, server.folder, server.port) for word in SERVICES["mlflow"]["healthcheck"]["test"][1:]]
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run([str(BIN / check[0]), *check[1:]], capture_output=True, check=False).returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow's server, started by the `mlflow` service's command."""
    server = Server(tmp_path_factory.mktemp("compose"), free_port())
    what = native("mlflow", server.folder, server.port)
    log = server.folder / "mlflow.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            what.args, env=what.env, cwd=what.cwd, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until_healthy(process, server, log)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_every_published_port_is_on_loopback_alone() -> None:
    """No port of any service can be reached from another machine."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_has_no_rights_that_it_does_not_need(service: str) -> None:
    """Not root, no capability, no new privileges, a read-only file system, and nothing but folders mounted."""
    declared = SERVICES[service]
    assert declared["user"].split(":")[0] not in {"", "0", "root"}
    assert declared["cap_drop"] == ["ALL"]
    assert declared["security_opt"] == ["no-new-privileges:true"]
    assert declared["read_only"] is True
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & declared.keys()
    assert "docker.sock" not in str(declared)


def test_the_image_runs_as_the_user_that_the_services_name() -> None:
    """The Dockerfile's last USER is not root, is the user of both services, and owns the folders that are mounted."""
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert not user.startswith(("0", "root"))
    assert {service["user"] for service in SERVICES.values()} == {user}
    assert f"--uid {user.split(':')[0]} " in DOCKERFILE
    folders = {service["working_dir"] for service in SERVICES.values()}
    assert folders == set(re.search(r"install -d -o tuner -g tuner (.+)$", DOCKERFILE, re.MULTILINE)[1].split())  # type: ignore[index]


def test_the_image_installs_the_locked_versions() -> None:
    """Every `pip install` of the image is under constraints.txt, and the build context holds it."""
    assert "PIP_CONSTRAINT=/src/constraints.txt" in DOCKERFILE
    assert {"*", "!constraints.txt", "!pyproject.toml", "!README.md", "!tuner/"} <= set(
        (ROOT / ".dockerignore").read_text().split()
    )


def test_what_is_written_goes_into_a_volume() -> None:
    """The database, the artifacts and the study's folder outlive their containers; the spaces are only read."""
    mlflow, study = SERVICES["mlflow"], SERVICES["study"]
    assert mlflow["volumes"] == ["mlflow:/mlflow"]
    assert study["volumes"] == ["./search_spaces:/search_spaces:ro", "studies:/studies"]
    assert set(COMPOSE["volumes"]) == {"mlflow", "studies"}
    assert "--backend-store-uri=sqlite:////mlflow/mlflow.db" in mlflow["command"]
    assert "--artifacts-destination=/mlflow/artifacts" in mlflow["command"]
    assert study["working_dir"] == "/studies"


def test_the_study_waits_for_a_healthy_server_and_reaches_it_by_name() -> None:
    """The study starts after the server's health check has passed, and runs once."""
    study = SERVICES["study"]
    assert study["depends_on"] == {"mlflow": {"condition": "service_healthy"}}
    assert study["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert study["restart"] == "no"
    assert entrypoint("study") == ["tuner"]


def test_the_space_can_be_chosen_from_the_environment() -> None:
    """`SPACE=smoke.yaml docker compose up` runs another file; without it, the digits."""
    word = SERVICES["study"]["command"][-1]
    assert interpolated(word, {}) == "/search_spaces/digits.yaml"
    assert interpolated(word, {"SPACE": "smoke.yaml"}) == "/search_spaces/smoke.yaml"


def test_the_server_answers_only_to_its_own_names(server: Server) -> None:
    """A page that rebinds its name to loopback is refused: 403 for a Host not on the list, private addresses too."""
    for host in ("mlflow", "localhost", "127.0.0.1"):
        assert server.status(f"{host}:{server.port}") == 200
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        f"10.0.0.7:{server.port}",
        f"192.168.0.7:{server.port}",
    ):
        assert server.status(host) == 403


def test_the_server_runs_no_jobs(server: Server) -> None:
    """A job of MLflow's own is refused because jobs are switched off, not because its parameters are missing."""
    job = {"job_name": "run_online_trace_scorer", "params": {}}
    status, text = server.answer(f"localhost:{server.port}", "/ajax-api/3.0/jobs/", job)
    assert status >= 400
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION" in text


@pytest.fixture(scope="module")
def finished(server: Server) -> Server:
    """The `study` service's command has run on smoke.yaml against that server."""
    what = native("study", server.folder, server.port, SPACE="smoke.yaml")
    env = {**what.env, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(what.args, env=env, cwd=what.cwd, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, f"{shlex.join(what.args)}\n{ended.stdout}\n{ended.stderr}"
    return server


def test_the_study_stands_on_the_server(finished: Server) -> None:
    """One parent run and one nested run per trial beside the final stage's, asked for through REST."""
    from mlflow import MlflowClient

    declared = yaml.safe_load((ROOT / "search_spaces" / "smoke.yaml").read_text(encoding="utf-8"))
    client = MlflowClient(f"http://127.0.0.1:{finished.port}")
    experiment = client.get_experiment_by_name(declared["name"])
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    nested = [run for run in runs if run is not parents[0]]
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parents[0].info.run_id}
    stages = Counter(run.data.tags["tuner.stage"] for run in nested)
    assert stages.keys() == {"search", "choosing", "final"}
    assert stages["search"] == declared["search"]["trials"]


def test_artifacts_go_through_the_server_into_its_volume(finished: Server) -> None:
    """What the study logs is uploaded and lies in MLflow's volume; the study's folder holds no MLflow store."""
    artifacts = finished.folder / "mlflow" / "artifacts"
    assert any(path.is_file() for path in artifacts.rglob("*"))
    studies = finished.folder / "studies"
    assert (studies / "tuner.db").is_file()
    assert not list(studies.glob("ml*"))
