"""Commands of the service: serve, and the tokens of those who use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.supervise import Cluster, ClusterCheckpoints, ClusterMost, ClusterSlots, DefaultExecutor, cluster_of

if TYPE_CHECKING:
    from tuner.ledger.tokens import TokenRecord, Tokens

DAY = 86400.0
token = typer.Typer(help="Tokens: who may use the service, and for what.", no_args_is_help=True)


class Role(StrEnum):
    """What a token may do; each also what those before it may."""

    READ = "read"
    LAUNCH = "launch"
    ADMIN = "admin"


def add_to(app: typer.Typer) -> None:
    """Give an app these commands."""
    app.command()(serve)
    app.add_typer(token, name="token")


def serve(  # noqa: PLR0913, PLR0917 - the options
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8770,
    slots: Annotated[int, typer.Option(min=1, help="Studies that run at the same time.")] = 1,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes of each study.")] = None,
    cluster: Cluster = None,
    cluster_slots: ClusterSlots = None,
    cluster_most: ClusterMost = None,
    cluster_checkpoints: ClusterCheckpoints = None,
    default_executor: DefaultExecutor = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="How browsers reach it, where that differs.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Another server ends TLS before this one.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None,
    mlflow_url: Annotated[str | None, typer.Option(metavar="URL", help="Where browsers reach MLflow.")] = None,
    max_studies: Annotated[
        int | None, typer.Option(min=1, help="Studies of one token that wait or run at the same time.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(min=1, help="Trials of one study.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.1, help="Minutes that one study may take.")] = None,
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Of one uploaded data set.")] = 1000,
    max_disk: Annotated[
        float | None, typer.Option(min=0, metavar="GB", help="Of all studies' files and uploads, for new ones.")
    ] = None,
    supervise: Annotated[bool, typer.Option(help="Also start studies; without it `tuner supervise` does.")] = True,
) -> None:
    """Serve the studies of this folder to browsers and over REST, and run those that are submitted.

    Prints a link that logs in once. Example: tuner serve
    """
    from tuner.api.workspace import workspace
    from tuner.errors import InputError
    from tuner.service import serve as server
    from tuner.service.options import LOOPBACK, Limits, ServiceOptions

    if (tls_cert is None) != (tls_key is None):
        raise InputError("--tls-cert and --tls-key: must be given together.")
    tls = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    options = ServiceOptions(
        workspace=workspace(),
        host=host,
        port=port,
        public_url=public_url,
        behind_proxy=behind_proxy,
        tls=tls,
        with_sklearn=host in LOOPBACK,
        slots=slots,
        mlflow_url=mlflow_url,
        limits=Limits(
            studies=max_studies,
            trials=max_trials,
            minutes=max_minutes,
            upload_bytes=max_upload * 1_000_000,
            disk_bytes=None if max_disk is None else int(max_disk * 1e9),
        ),
    )
    # What is wrong with it is said here, and once.
    cluster_of(workers, cluster, cluster_slots, cluster_most, cluster_checkpoints, default_executor)
    said = {
        "--slots": slots,
        "--workers": workers,
        "--cluster": cluster,
        "--cluster-slots": cluster_slots,
        "--cluster-most": cluster_most,
        "--cluster-checkpoints": cluster_checkpoints,
        "--default-executor": default_executor,
    }
    arguments = [f"{name}={value}" for name, value in said.items() if value is not None]
    server.serve(options, server.Beside(arguments, options.workspace.folder) if supervise else None, typer.echo)


@token.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")],
    role: Annotated[Role, typer.Option(help="Each may do what those before it may.")] = Role.LAUNCH,
    days: Annotated[float, typer.Option(min=0.001, max=3650, help="Until it expires.")] = 90,
) -> None:
    """Make a token, and print it this once.

    Example: tuner token new anna --role launch > anna.token
    """
    with _tokens() as tokens:
        secret, made = tokens.new(name, role.value, days * DAY, _actor())
    typer.echo(f"token {made.id} of {name}, role {role}, for {days:g} days; it is not shown again:", err=True)
    typer.echo(secret)


@token.command("list")
def list_tokens() -> None:
    """List the tokens, without their secrets."""
    from tuner.api.control import look
    from tuner.api.workspace import workspace

    with closing(look(workspace())) as ledger:
        found = [each for each in ledger.tokens.all() if each.kind == "token"]
    typer.echo("\n".join(map(_line, found)) or "There is no token yet; `tuner token new NAME` makes one.")


@token.command()
def revoke(number: Annotated[int, typer.Argument(metavar="NUMBER", help="As `tuner token list` has it.")]) -> None:
    """Let a token, and the sessions made with it, count no longer.

    Example: tuner token revoke 3
    """
    from tuner.errors import InputError

    with _tokens() as tokens:
        if not tokens.revoke(number, _actor()):
            raise InputError(f"token {number}: there is none of that number; `tuner token list` has them.")
    typer.echo(f"token {number} counts no longer.")


@contextmanager
def _tokens() -> Iterator[Tokens]:
    from tuner.api.workspace import workspace
    from tuner.ledger.ledger import Ledger

    places = workspace()
    ledger = Ledger.open(places.database, folder=places.folder)
    try:
        yield ledger.tokens
    finally:
        ledger.close()


def _actor() -> str:
    """Who the audit says it was."""
    return f"{os.environ.get('USER') or 'operator'}, in a shell"


def _line(each: TokenRecord) -> str:
    until = f"until {_day(each.expires_at)}" if each.revoked_at is None else f"revoked {_day(each.revoked_at)}"
    used = "never used" if each.used_at is None else f"used {_day(each.used_at)}"
    return f"{each.id:>5}  {each.role:<6}  {until:<18}  {used:<15}  {each.name}"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
