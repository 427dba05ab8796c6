"""docker-compose.yml. No container engine runs here: every service's command runs as a plain process on loopback, with
its environment and secrets, against a real Postgres and MLflow."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from postgres_server import PostgresServer, running_postgres
from studies import IRIS, tiny

import tuner

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "tests" / "fixtures" / "compose_spec.json").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"] == "autoencoder-tuner"}
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
    """

    folder: Path
    ports: dict[str, int]

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def natively(self, text: str) -> str:
        """All that differs from the containers: where folders are mounted, ports, and the names of hosts."""
        if text == "/data":
            return str(self.folder / "data")
        for mounted, here in {
            "/run/secrets": str(self.secrets),
            "/deploy/mlflow_auth.ini": str(self.folder / "mlflow_auth.ini"),
            "/deploy/": f"{ROOT}/deploy/",
            "/mlflow/artifacts": f"{self.folder}/mlflow/artifacts",
            "/search_spaces/": f"{ROOT}/search_spaces/",
            "@postgres/": f"@127.0.0.1:{self.ports['postgres']}/",
            "http://mlflow:": "http://127.0.0.1:",
            "--host=0.0.0.0": "--host=127.0.0.1",
        }.items():
            text = text.replace(mounted, here)
        for port, service in ((5000, "mlflow"), (8770, "serve")):
            text = re.sub(rf"(:|--port=){port}\b", rf"\g<1>{self.ports[service]}", text)
        return text

    def environment(self, service: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TUNER_", "PG"))}
        declared = SERVICES[service]["environment"].items()
        env = {name: self.natively(interpolated(value, {})) for name, value in declared}
        return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", **env, "OMP_NUM_THREADS": "1"}

    def command(self, service: str, *words: str, **given: str) -> list[str]:
        """The service's command line, or its entrypoint with these words."""
        declared = list(words) or SERVICES[service]["command"]
        first, *rest = [self.natively(interpolated(word, given)) for word in [*entrypoint(service), *declared]]
        return [str(BIN / first) if (BIN / first).exists() else first, *rest]

    def work(self, service: str) -> Path:
        folder = self.folder / SERVICES[service]["working_dir"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run(self, service: str, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm SERVICE WORDS`, to its end."""
        return subprocess.run(
            self.command(service, *words, **given),
            env=self.environment(service),
            cwd=self.work(service),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @contextmanager
    def running(self, service: str) -> Iterator[None]:
        """The service in the background, once its own health check passes; ended as the engine ends it."""
        log = self.folder / f"{service}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(service),
                env=self.environment(service),
                cwd=self.work(service),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self.wait_until_healthy(service, process, log)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM) if service == "mlflow" else process.send_signal(signal.SIGTERM)
            process.wait(60)

    def wait_until_healthy(self, service: str, process: subprocess.Popen[bytes], log: Path) -> None:
        check = [self.natively(word) for word in SERVICES[service]["healthcheck"]["test"][1:]]
        deadline = time.monotonic() + START_SECONDS
        env = self.environment(service)
        while subprocess.run([str(BIN / check[0]), *check[1:]], env=env, capture_output=True, check=False).returncode:
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Secrets, Postgres with the databases that deploy/postgres.sh makes, MLflow, and its accounts."""
    made = Stack(tmp_path_factory.mktemp("compose"), {name: free_port() for name in ("postgres", "mlflow", "serve")})
    made_secrets(made.secrets)
    for file, kept in ((made.secrets / "tuner_database_url", None), (made.folder / "mlflow_auth.ini", "deploy")):
        text = (ROOT / "deploy" / "mlflow_auth.ini" if kept else file).read_text()
        file.write_text(made.natively(text))
    (made.folder / "data").mkdir()
    with ExitStack() as running:
        server = running.enter_context(running_postgres(made.ports["postgres"], "postgres"))
        make_databases(made, server)
        running.enter_context(made.running("mlflow"))
        setup = made.run("accounts")
        assert setup.returncode == 0, setup.stderr
        yield made


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


def test_the_file_is_one_by_composes_own_schema() -> None:
    """Every key is known, every value of its kind."""
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "name": {"type": "string"}}}
    jsonschema.Draft201909Validator({**schema, "$schema": "https://json-schema.org/draft/2019-09/schema"}).validate(
        COMPOSE
    )


def test_without_secrets_nothing_starts_and_compose_says_what_to_do() -> None:
    """There is no default password: a variable that names the folder of secrets must be set."""
    files = [secret["file"] for secret in COMPOSE["secrets"].values()]
    with pytest.raises(LookupError, match=r"TUNER_SECRETS must name the folder of secrets; make it by `sh deploy/secr"):
        [interpolated(file, {}) for file in files]
    given = [interpolated(file, {"TUNER_SECRETS": "./s"}) for file in files]
    assert sorted(given) == sorted(f"./s/{name}" for name in COMPOSE["secrets"])


def test_no_secret_stands_in_the_file_or_in_an_environment() -> None:
    """What sounds secret is a file below /run/secrets, and each service is given those alone that it names."""
    for name, service in SERVICES.items():
        for key, value in service["environment"].items():
            if re.search(r"PASSWORD|TOKEN|SECRET|CREDENTIALS|DATABASE_URL", key):
                assert value.startswith("/run/secrets"), (name, key)
        used = set(re.findall(r"/run/secrets/(\w+)", str(service)))
        assert used <= set(service.get("secrets", [])), name
    assert {secret for service in SERVICES.values() for secret in service.get("secrets", [])} == set(COMPOSE["secrets"])


def test_secrets_are_random_kept_and_their_folders_owners_alone(tmp_path: Path) -> None:
    """All that the file names; the folder is closed; a second time nothing changes, and what is missing is made."""
    folder = tmp_path / "secrets"
    made_secrets(folder)
    assert {path.name for path in folder.iterdir()} == set(COMPOSE["secrets"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = {path.name: path.read_text() for path in folder.iterdir()}
    passwords = [text for name, text in before.items() if name.endswith(("password", "key"))]
    assert len(set(passwords)) == len(passwords) == 6
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", text) for text in passwords)
    assert before["tuner_database_password"].strip() in before["tuner_database_url"]
    (folder / "mlflow_flask_key").unlink()
    made_secrets(folder)
    after = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"mlflow_flask_key"}


def test_every_published_port_is_on_loopback_alone() -> None:
    """Two, and no port of any service can be reached from another machine."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000", "127.0.0.1:8770:8770"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["inside"]


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
    """The Dockerfile's last USER is not root, is the user of our services, and owns the folders that are mounted."""
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert not user.startswith(("0", "root"))
    assert {SERVICES[name]["user"] for name in OURS} == {user}
    assert f"--uid {user.split(':')[0]} " in DOCKERFILE
    owned = set(re.search(r"install -d -o tuner -g tuner (.+)$", DOCKERFILE, re.MULTILINE)[1].split())  # type: ignore[index]
    mounted = {volume.split(":")[1] for name in OURS for volume in SERVICES[name]["volumes"] if volume[0] != "."}
    assert mounted == owned


def test_the_image_installs_the_locked_versions() -> None:
    """Every `pip install` of the image is under constraints.txt, which the build context holds."""
    assert "PIP_CONSTRAINT=/src/constraints.txt" in DOCKERFILE
    assert '".[server]"' in DOCKERFILE
    assert {"*", "!constraints.txt", "!pyproject.toml", "!README.md", "!tuner/"} <= set(
        (ROOT / ".dockerignore").read_text().split()
    )


def test_what_is_written_goes_into_a_volume() -> None:
    """Databases, artifacts, studies and uploads outlive their containers; what is of this folder is only read."""
    mounts = {mount for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {mount for mount in mounts if not mount.startswith("./")} == {
        "postgres:/var/lib/postgresql",  # what postgres:18 declares; below it a volume without a name would be used
        "mlflow:/mlflow",
        "studies:/studies",
        "data:/data",
    }
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith("./"))
    assert set(COMPOSE["volumes"]) == {"postgres", "mlflow", "studies", "data"}
    assert "--artifacts-destination=${ARTIFACTS:-/mlflow/artifacts}" in SERVICES["mlflow"]["command"]


def test_the_order_of_the_start() -> None:
    """MLflow and the tables after Postgres, the server after its tables, studies after MLflow's account as well."""
    needs = {name: dict(service.get("depends_on", {})) for name, service in SERVICES.items()}
    done, healthy = {"condition": "service_completed_successfully"}, {"condition": "service_healthy"}
    assert needs["mlflow"] == needs["migrate"] == {"postgres": healthy}
    assert needs["accounts"] == {"mlflow": healthy}
    assert needs["serve"] == {"migrate": done}
    assert needs["supervise"] == needs["study"] == needs["supervise-gpu"] == {"migrate": done, "accounts": done}
    assert SERVICES["study"]["profiles"] == ["study"]
    assert SERVICES["supervise-gpu"]["profiles"] == ["gpu"]


def test_mlflow_can_have_another_address() -> None:
    """Its public name is added to the hosts that it answers to, exactly as given; without one there are its own."""
    hosts = next(word for word in SERVICES["mlflow"]["command"] if word.startswith("--allowed-hosts"))
    own = "--allowed-hosts=mlflow:5000,localhost:5000,127.0.0.1:5000"
    assert interpolated(hosts, {}) == own
    assert interpolated(hosts, {"MLFLOW_PUBLIC_HOST": "mlflow.example.org"}) == f"{own},mlflow.example.org"


def test_mlflow_answers_only_to_its_own_names_and_to_accounts(stack: Stack) -> None:
    """403 for a Host not on the list, private addresses too; 401 without an account; health is open."""
    port, path = stack.ports["mlflow"], "/api/2.0/mlflow/experiments/search?max_results=1"
    for host in ("mlflow", "localhost", "127.0.0.1"):
        assert stack.answer(f"{host}:{port}", path, who=stack.admin)[0] == 200
    for host in ("evil.example", f"evil.example:{port}", f"10.0.0.7:{port}", f"192.168.0.7:{port}"):
        assert stack.answer(host, path, who=stack.admin)[0] == 403
    assert stack.answer(f"localhost:{port}", path)[0] == 401
    assert stack.answer(f"localhost:{port}", path, who=("admin", "password1234"))[0] == 401
    assert stack.answer(f"localhost:{port}", "/health")[0] == 200


def test_mlflow_runs_no_jobs(stack: Stack) -> None:
    """A job of MLflow's own is refused because jobs are switched off, not because its parameters are missing."""
    job = {"job_name": "run_online_trace_scorer", "params": {}}
    status, text = stack.answer(f"localhost:{stack.ports['mlflow']}", "/ajax-api/3.0/jobs/", job, stack.admin)
    assert status >= 400
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION" in text


def test_a_new_account_reads_all_and_changes_nothing(stack: Stack) -> None:
    """By the command of the pages; who has an account without that role sees nothing; setup can be done again."""
    host, api = f"localhost:{stack.ports['mlflow']}", "/api/2.0/mlflow"
    made = stack.answer(host, f"{api}/experiments/create", {"name": "secret"}, stack.admin)
    number = json.loads(made[1])["experiment_id"]
    assert stack.run("accounts").returncode == 0
    added = stack.run("accounts", "add", "anna")
    assert added.returncode == 0, added.stderr
    name, _, password = added.stdout.strip().partition(": ")
    look, change = f"{api}/experiments/get?experiment_id={number}", f"{api}/experiments/delete"
    assert stack.answer(host, look, who=(name, password))[0] == 200
    assert stack.answer(host, change, {"experiment_id": number}, (name, password))[0] == 403
    stranger = ("tuner", stack.secret("mlflow_tuner_password"))
    assert stack.answer(host, look, who=stranger)[0] == 403
    assert stack.run("accounts", "add", "anna").returncode == 1
    assert stack.run("accounts", "remove", "anna").returncode == 0


def test_the_roles_of_postgres_see_their_own_databases_alone(stack: Stack) -> None:
    """With a password over TCP; MLflow's role cannot read the tuner's ledger, whose tokens are in it."""
    import psycopg

    def connect(role: str, database: str, password: str) -> None:
        where = f"host=127.0.0.1 port={stack.ports['postgres']}"
        psycopg.connect(f"{where} user={role} dbname={database} password={password}").close()

    passwords = {role: stack.secret(f"{role}_database_password") for role in ("tuner", "mlflow")}
    for role, database in (("tuner", "tuner"), ("mlflow", "mlflow"), ("mlflow", "mlflow_auth")):
        connect(role, database, passwords[role])
    for role, database in (("mlflow", "tuner"), ("tuner", "mlflow"), ("tuner", "mlflow_auth")):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(role, database, passwords[role])
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect("tuner", "tuner", "guess")


@pytest.fixture(scope="module")
def served(stack: Stack) -> Iterator[Stack]:
    """The tables are made, and the server and the supervisor run."""
    made = stack.run("migrate")
    assert (made.returncode, "made, version" in made.stdout) == (0, True), made.stderr
    assert stack.secret("tuner_database_password") not in made.stdout
    with stack.running("serve"), stack.running("supervise"):
        yield stack


def test_from_a_token_to_an_export(served: Stack, tmp_path: Path) -> None:
    """The whole way over REST: data, a study, its end, its model; MLflow shows it, and no log holds a secret."""
    token = served.run("serve", "token", "new", "anna", "--role", "launch")
    assert token.returncode == 0, token.stderr
    server = tuner.connect(f"http://127.0.0.1:{served.ports['serve']}", token=token.stdout)
    server.add_dataset("iris", IRIS)
    study = server.submit(SPACE)
    *_, last = study.watch()
    assert (last.state, last.ended) == ("finished", 9), last.message + (served.folder / "supervise.log").read_text()
    study.export(tmp_path / "best")
    assert tuner.load_model(tmp_path / "best").encode(np.load(IRIS)[:3]).shape == (3, 2)
    assert runs_of(served, "tiny")["search"] == 9
    logs = "".join(file.read_text() for file in served.folder.glob("*.log"))
    assert [name for name in COMPOSE["secrets"] if (text := served.secret(name)) and text in logs] == []
    assert token.stdout.strip() not in logs
    lines = [json.loads(line) for line in (served.folder / "supervise.log").read_text().splitlines()]
    assert {"tiny"} == {line["study"] for line in lines if "outcome" in line}


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


def test_one_study_without_the_server(served: Stack) -> None:
    """`docker compose run --rm study` on smoke.yaml: its runs are in MLflow, its artifacts in MLflow's volume."""
    ended = served.run("study", SPACE="smoke.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    declared = yaml.safe_load((ROOT / "search_spaces" / "smoke.yaml").read_text(encoding="utf-8"))
    stages = runs_of(served, declared["name"])
    assert stages.keys() == {"search", "choosing", "final"}
    assert stages["search"] == declared["search"]["trials"]
    assert any(path.is_file() for path in (served.folder / "mlflow" / "artifacts").rglob("*"))
    assert not list((served.folder / "studies").glob("*.db"))
