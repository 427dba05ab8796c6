"""Accounts in MLflow: the one that runs publish with, and people's.

    python accounts.py setup          the account `tuner`, and the role `readers`: reads every experiment and model
    python accounts.py add NAME       a person's account in that role; its first password is printed this once
    python accounts.py remove NAME

Asks MLflow at MLFLOW_TRACKING_URI as its admin; secrets are read from files, in the folder that SECRETS names.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

READERS = "readers"
READ_BY_ALL = ("experiment", "registered_model")
WORKSPACE = "default"


class RefusedError(Exception):
    """MLflow said no, with this status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"MLflow answered {status}: {message}")
        self.status = status


def main(arguments: list[str]) -> int:
    """Do what is asked for; the exit code."""
    commands = {("setup", 0): setup, ("add", 1): add, ("remove", 1): remove}
    word, *rest = arguments or [""]
    command = commands.get((word, len(rest)))
    if command is None:
        sys.stderr.write(f"{(__doc__ or '').partition('Asks')[0]}")
        return 2
    try:
        command(*rest)
    except (RefusedError, OSError) as error:
        sys.stderr.write(f"{os.environ.get('MLFLOW_TRACKING_URI')}: {error}\n")
        return 1
    return 0


def setup() -> None:
    """Also where it was done before, perhaps in part."""
    role = _role()
    for kind in READ_BY_ALL:
        _unless_there("/api/3.0/mlflow/roles/permissions/add", role_id=role, resource_type=kind,
                      resource_pattern="*", permission="READ")  # fmt: skip
    _unless_there("/api/2.0/mlflow/users/create", username="tuner", password=_secret("mlflow_tuner_password"))
    sys.stdout.write(f"MLflow's accounts: tuner, which publishes, and the role {READERS}.\n")


def add(name: str) -> None:
    """A person's account."""
    password = secrets.token_urlsafe(18)
    _ask("POST", "/api/2.0/mlflow/users/create", username=name, password=password)
    _ask("POST", "/api/3.0/mlflow/roles/assign", username=name, role_id=_role())
    sys.stdout.write(f"{name}: {password}\n")


def remove(name: str) -> None:
    """A person's account; what the person did stays."""
    _ask("DELETE", "/api/2.0/mlflow/users/delete", username=name)
    sys.stdout.write(f"{name}: removed; MLflow may still know the password for a minute.\n")


def _role() -> int:
    """The number of the readers' role, which is made where there is none."""
    _unless_there("/api/3.0/mlflow/roles/create", workspace=WORKSPACE, name=READERS, description="reads everything")
    found = _ask("GET", f"/api/3.0/mlflow/roles/list?{urlencode({'workspace': WORKSPACE})}")
    return next(int(role["id"]) for role in found["roles"] if role["name"] == READERS)


def _unless_there(path: str, **body: Any) -> None:
    try:
        _ask("POST", path, **body)
    except RefusedError as refused:
        if "already exist" not in str(refused):
            raise


def _ask(method: str, path: str, **body: Any) -> dict[str, Any]:
    pair = f"admin:{_secret('mlflow_admin_password')}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}", "Content-Type": "application/json"}
    content = json.dumps(body).encode() if body else None
    request = urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + path, content, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return dict(json.loads(answer.read() or b"{}"))
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode("utf-8", "replace")
        raise RefusedError(error.code, text[:300]) from None


def _secret(name: str) -> str:
    return (Path(os.environ.get("SECRETS", "/run/secrets")) / name).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
