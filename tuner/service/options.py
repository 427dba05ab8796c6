"""What the operator says of the service, resolved once at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tuner.errors import InputError
from tuner.settings import Workspace

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one token, or one request, may ask for.

    Attributes:
        body_bytes: of a request's body, but for uploads of data.
        upload_bytes: of one uploaded data set.
        disk_bytes: that all studies' files and uploads take, beyond which nothing new is taken; None for any number.
        requests_per_second: of one token, or of one address without a token, in the long run.
        burst: requests that may come at once.
        studies: studies of one token that wait or run at the same time; None for any number.
        trials: trials of one study; None for any number.
        minutes: that one study may take; a longer or unlimited `search.timeout` is refused. None for any time.
        score_rows: rows that are scored at once.
        helper_seconds: of a process that reads uploaded data, or scores rows.
        export_seconds: of a process that writes an export or a report.
        helper_bytes: address space of such a process, beyond what its libraries take.
    """

    body_bytes: int = 1_000_000
    upload_bytes: int = 1_000_000_000
    disk_bytes: int | None = None
    requests_per_second: float = 50.0
    burst: int = 200
    studies: int | None = None
    trials: int | None = None
    minutes: float | None = None
    score_rows: int = 100_000
    helper_seconds: float = 60.0
    export_seconds: float = 600.0
    helper_bytes: int = 4_000_000_000


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where the service is, and what it allows.

    Attributes:
        workspace: ledger, work folder, MLflow, data root.
        host: the address that it listens at.
        port: and the port.
        public_url: how clients reach it, where that differs, such as `https://tuner.example.org`.
        behind_proxy: another server ends TLS before it.
        tls: files of certificate and key.
        with_sklearn: whether a space file may name `sklearn:NAME`.
        slots: studies that run at the same time.
        mlflow_url: where browsers reach MLflow; None for no links.
        webhook_file: a file that holds the address that is called at a study's end.
        limits: what clients may ask for.
    """

    workspace: Workspace
    host: str = "127.0.0.1"
    port: int = 8770
    public_url: str | None = None
    behind_proxy: bool = False
    tls: tuple[Path, Path] | None = None
    with_sklearn: bool = True
    slots: int = 1
    mlflow_url: str | None = None
    webhook_file: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether it listens at this machine's own address alone."""
        return self.host in LOOPBACK

    @property
    def is_secure(self) -> bool:
        """Whether clients reach it over TLS."""
        return self.tls is not None or (self.behind_proxy and self.address.startswith("https://"))

    @property
    def address(self) -> str:
        """How a browser reaches it."""
        if self.public_url is not None:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def origins(self) -> frozenset[str]:
        """The addresses that pages of the service itself have; nothing else may change anything."""
        scheme = "https" if self.tls else "http"
        # Health checks inside a container name the loopback; a foreign page cannot have its own name be that.
        local = {f"{scheme}://{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        return frozenset({self.address, *local})

    @property
    def hosts(self) -> frozenset[str]:
        """The exact values of `Host` that are answered."""
        return frozenset(origin.partition("://")[2] for origin in self.origins)

    def _is_public_safe(self) -> bool:
        """Whether what browsers send cannot be read on its way: a container's port may be published on loopback."""
        parts = urlsplit(self.public_url or "")
        return parts.scheme == "https" or parts.hostname in LOOPBACK

    def checked(self) -> ServiceOptions:
        """These options, where they are safe.

        Raises:
            InputError: another address than the loopback without TLS; an address that is none.
        """
        if not self.is_local and self.tls is None and not self.behind_proxy:
            raise InputError(
                f"--host {self.host}: an address that others reach must have TLS; give --tls-cert and --tls-key, or"
                " --behind-proxy where another server ends TLS before this one."
            )
        if self.behind_proxy and self.public_url is None:
            raise InputError("--behind-proxy: must be given with --public-url, the address that browsers use.")
        for name, value in (("--public-url", self.public_url), ("--mlflow-url", self.mlflow_url)):
            _check_address(name, value)
        if self.public_url is not None and urlsplit(self.public_url).path:
            raise InputError(f"--public-url: must have no path, got {self.public_url}.")
        if self.behind_proxy and not self._is_public_safe():
            raise InputError(
                "--public-url: must begin with https:// behind a proxy, but for this machine's own address, got"
                f" {self.public_url}."
            )
        return self


def _check_address(name: str, value: str | None) -> None:
    if value is None:
        return
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or "@" in value:
        raise InputError(f"{name}: must be an address such as https://tuner.example.org, got {value}.")
