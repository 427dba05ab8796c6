"""The services of docker-compose.yml as plain processes on loopback, with their environment and secrets."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from postgres_server import PostgresServer, running_postgres
from studies import tiny

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = COMPOSE["services"]
BIN = Path(sys.executable).parent
START_SECONDS = 120
SPACE = tiny(data={"source": "dataset:iris"}, search={"trials": 9, "epochs": 3, "cohort": 9, "seed": 3})
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-+?])([^}]*))?\}")


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """A text as docker compose fills it in: `${A}`, `${A:-default}`, `${A:+where set}`, `${A:?message}`."""

    def value(found: re.Match[str]) -> str:
        name, how, word = found.groups()
        known = given.get(name, "")
        if how == ":?" and not known:
            raise LookupError(f"{name} {word}")
        if how == ":+":
            return re.sub(r"\$(\w+)", lambda inner: given.get(inner[1], ""), word) if known else ""
        return known or (word if how == ":-" else "")

    return VARIABLE.sub(value, text)


def entrypoint(service: str) -> list[str]:
    """What the service runs before its command: its own entrypoint, or the image's."""
    of_image = re.search(r'^ENTRYPOINT \["([a-z]+)"\]$', DOCKERFILE, re.MULTILINE)
    assert of_image
    return list(SERVICES[service].get("entrypoint", [of_image[1]]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Stack:
    """The services on this machine.

    Attributes:
        folder: what is mounted in the containers.
        ports: of each service that has one.
        short: a folder with a short name.
    """

    folder: Path
    ports: dict[str, int]
    short: Path = Path()

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def natively(self, text: str) -> str:
        """All that differs from the containers: where folders are mounted, ports, and the names of hosts."""
        if text in ("/data", "/s3", "/s3/mlflow"):
            return f"{self.folder}{text}"
        for mounted, here in {
            "/run/secrets": str(self.secrets),
            "/deploy/mlflow_auth.ini": str(self.folder / "mlflow_auth.ini"),
            "/deploy/": f"{ROOT}/deploy/",
            "/mlflow/artifacts": f"{self.folder}/mlflow/artifacts",
            "/search_spaces/": f"{ROOT}/search_spaces/",
            "@postgres/": f"@127.0.0.1:{self.ports['postgres']}/",
            "http://mlflow:": "http://127.0.0.1:",
            "http://s3:": "http://127.0.0.1:",
            "--host=0.0.0.0": "--host=127.0.0.1",
            "ray-head:6379": f"127.0.0.1:{self.ports['ray-head']}",
            "('ray-head', 6379)": f"('127.0.0.1', {self.ports['ray-head']})",
        }.items():
            text = text.replace(mounted, here)
        for port, service in ((5000, "mlflow"), (8770, "serve"), (7070, "s3")):
            text = re.sub(rf"(:|--port=){port}\b", rf"\g<1>{self.ports[service]}", text)
        return text

    def environment(self, service: str, **given: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TUNER_", "PG"))}
        declared = SERVICES[service]["environment"].items()
        env = {name: self.natively(interpolated(value, given)) for name, value in declared}
        own = {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        return {**kept, **own, **env, **self.temporary(service)}

    def temporary(self, service: str) -> dict[str, str]:
        """The folder for temporary files of a node of Ray, a container's own; its sockets need a short name."""
        if not str(SERVICES[service]["image"]).endswith("-ray"):
            return {}
        folder = self.short / service
        folder.mkdir(exist_ok=True)
        return {"TMPDIR": str(folder)}

    def command(self, service: str, *words: str, **given: str) -> list[str]:
        """The service's command line, or its entrypoint with these words."""
        declared = list(words) or SERVICES[service]["command"]
        first, *rest = [self.natively(interpolated(word, given)) for word in [*entrypoint(service), *declared]]
        return [str(BIN / first) if (BIN / first).exists() else first, *rest]

    def work(self, service: str) -> Path:
        declared = SERVICES[service]["working_dir"].lstrip("/")
        folder = self.folder / ("studies" if declared == "tmp" else declared)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run(self, service: str, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm SERVICE WORDS`, to its end."""
        return subprocess.run(
            self.command(service, *words, **given),
            env=self.environment(service, **given),
            cwd=self.work(service),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @contextmanager
    def running(self, service: str, **given: str) -> Iterator[None]:
        """The service in the background, once its own health check passes; ended as the engine ends it, whole."""
        log = self.folder / f"{service}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(service, **given),
                env=self.environment(service, **given),
                cwd=self.work(service),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            if "healthcheck" in SERVICES[service]:
                self.wait_until_healthy(service, process, log)
            yield
        finally:
            inside = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGTERM) if service == "mlflow" else process.send_signal(signal.SIGTERM)
            process.wait(60)
            for each in inside:
                with suppress(psutil.NoSuchProcess):
                    each.kill()

    def wait_until_healthy(self, service: str, process: subprocess.Popen[bytes], log: Path) -> None:
        check = [self.natively(word) for word in SERVICES[service]["healthcheck"]["test"][1:]]
        deadline = time.monotonic() + START_SECONDS
        env, program = self.environment(service), shutil.which(check[0], path=f"{BIN}:{os.environ['PATH']}")
        assert program is not None, check[0]
        while subprocess.run([program, *check[1:]], env=env, capture_output=True, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()

    def answer(
        self, host: str, path: str, body: dict[str, Any] | None = None, who: tuple[str, str] | None = None
    ) -> tuple[int, str]:
        """MLflow's status and text to a request (a POST if it has a body) with that Host header, by somebody."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["mlflow"], timeout=30)
        headers = {"Host": host, "Content-Type": "application/json"}
        if who is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(':'.join(who).encode()).decode()}"
        try:
            text = None if body is None else json.dumps(body)
            connection.request("GET" if text is None else "POST", path, text, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    @property
    def admin(self) -> tuple[str, str]:
        return "admin", self.secret("mlflow_admin_password")


@contextmanager
def composed(folder: Path) -> Iterator[Stack]:
    """Secrets, and Postgres with the databases that deploy/postgres.sh makes."""
    made = Stack(folder, {name: free_port() for name in ("postgres", "mlflow", "serve", "ray-head", "s3")})
    made_secrets(made.secrets)
    for file, kept in ((made.secrets / "tuner_database_url", None), (made.folder / "mlflow_auth.ini", "deploy")):
        text = (ROOT / "deploy" / "mlflow_auth.ini" if kept else file).read_text()
        file.write_text(made.natively(text))
    (made.folder / "data").mkdir()
    with running_postgres(made.ports["postgres"], "postgres") as server:
        make_databases(made, server)
        yield made


@contextmanager
def with_mlflow(stack: Stack, **given: str) -> Iterator[Stack]:
    """MLflow, and its accounts."""
    with stack.running("mlflow", **given):
        setup = stack.run("accounts")
        assert setup.returncode == 0, setup.stderr
        yield stack


@contextmanager
def serving_by(stack: Stack, *services: str, **given: str) -> Iterator[Stack]:
    """The tables are made, and the server and those services run."""
    made = stack.run("migrate")
    assert (made.returncode, "made, version" in made.stdout) == (0, True), made.stderr
    assert stack.secret("tuner_database_password") not in made.stdout
    with ExitStack() as running:
        for service in ("serve", *services):
            running.enter_context(stack.running(service, **given))
        yield stack


def made_secrets(folder: Path) -> None:
    subprocess.run(["sh", str(ROOT / "deploy" / "secrets.sh"), str(folder)], check=True)


def make_databases(stack: Stack, server: PostgresServer) -> None:
    """As the image of Postgres runs what is mounted for its first start."""
    assert server.port is not None
    env = {
        **os.environ,
        "PGHOST": str(server.folder),
        "PGPORT": str(server.port),
        "POSTGRES_USER": server.user,
        "SECRETS": str(stack.secrets),
    }
    made = subprocess.run(
        ["sh", str(ROOT / "deploy" / "postgres.sh")], env=env, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def runs_of(stack: Stack, name: str) -> Counter[str]:
    """How many of a study's runs MLflow shows, by stage; asked for as its admin."""
    host, api = f"localhost:{stack.ports['mlflow']}", "/api/2.0/mlflow"
    found = stack.answer(host, f"{api}/experiments/get-by-name?experiment_name={name}", who=stack.admin)
    number = json.loads(found[1])["experiment"]["experiment_id"]
    body = {"experiment_ids": [number], "max_results": 1000}
    runs = json.loads(stack.answer(host, f"{api}/runs/search", body, stack.admin)[1])["runs"]
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    parents = [each for each in tags if "mlflow.parentRunId" not in each]
    assert len(parents) == 1
    return Counter(each["tuner.stage"] for each in tags if "mlflow.parentRunId" in each)
