"""docker-compose.yml. No container engine runs here: every service's command runs as a plain process on loopback, with
its environment and secrets, against a real Postgres and MLflow."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from composed import (
    COMPOSE,
    DOCKERFILE,
    ROOT,
    SERVICES,
    SPACE,
    Stack,
    composed,
    interpolated,
    made_secrets,
    runs_of,
    serving_by,
    with_mlflow,
)
from studies import IRIS

import tuner

SCHEMA = json.loads((ROOT / "tests" / "fixtures" / "compose_spec.json").read_text(encoding="utf-8"))
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("autoencoder-tuner")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Secrets, Postgres, MLflow, and its accounts."""
    with composed(tmp_path_factory.mktemp("compose")) as made, with_mlflow(made):
        yield made


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
    passwords = [text for name, text in before.items() if name.endswith(("password", "key", "token"))]
    assert len(set(passwords)) == len(passwords) == 7
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", text) for text in passwords)
    assert before["tuner_database_password"].strip() in before["tuner_database_url"]
    assert re.fullmatch(
        r"\[default\]\naws_access_key_id = [0-9a-f]{20}\naws_secret_access_key = [0-9a-f]{64}\n",
        before["aws_credentials"],
    )
    (folder / "mlflow_flask_key").unlink()
    (folder / "aws_credentials").write_text("\n")  # as older versions left it
    made_secrets(folder)
    after = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"mlflow_flask_key", "aws_credentials"}
    assert "aws_secret_access_key" in after["aws_credentials"]


def test_every_published_port_is_on_loopback_alone() -> None:
    """Two, and no port of any service can be reached from another machine."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000", "127.0.0.1:8770:8770"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["s3"]["networks"] == ["inside"]


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
    assert '".[$EXTRAS]"' in DOCKERFILE and "ARG EXTRAS=server\n" in DOCKERFILE
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
        "s3:/s3",
    }
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith("./"))
    assert set(COMPOSE["volumes"]) == {"postgres", "mlflow", "studies", "data", "s3"}
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
    assert needs["supervise-ray"] == {"migrate": done, "accounts": done, "ray-head": healthy}
    assert needs["ray-worker"] == {"ray-head": healthy}
    assert needs["s3"] == {"bucket": done}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert {name for name, given in profiles.items() if given == ["ray"]} == {"ray-head", "ray-worker", "supervise-ray"}
    assert {name for name, given in profiles.items() if given == ["s3"]} == {"s3", "bucket"}


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
    with serving_by(stack, "supervise") as running:
        yield running


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
