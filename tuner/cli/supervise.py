"""The command that runs the studies of the service: supervise."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import exit_codes

if TYPE_CHECKING:
    from tuner.execution.choice import Ray
    from tuner.ledger.submissions import ExecutorName


class Executor(StrEnum):
    """Where studies of a service may train."""

    PROCESSES = "processes"
    RAY = "ray"


Cluster = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="Train on this Ray cluster, not on this machine.")
]
ClusterSlots = Annotated[
    str | None, typer.Option(metavar="cpu=1|gpu=0.25", help="What a slot takes of one of its nodes.")
]
ClusterMost = Annotated[int | None, typer.Option(min=1, help="Slots that all studies together have at most.")]
ClusterCheckpoints = Annotated[
    str | None,
    typer.Option(metavar="FOLDER|URL", help="A folder or bucket that all nodes reach, for large states."),
]
DefaultExecutor = Annotated[
    Executor | None,
    typer.Option(
        help="With --cluster: let launchers choose this machine (processes) or the cluster (ray); those who choose"
        " nothing get this one."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Give an app this command."""
    app.command()(supervise)


def supervise(  # noqa: PLR0913, PLR0917 - the options
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Studies that may run at a time.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=1024, help="Worker processes of each study. Default: one per core, as `tuner run`."),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long a study may take to stop before it is killed.")
    ] = 30.0,
    stop_drivers: Annotated[
        bool, typer.Option("--stop-drivers", help="At the end stop the studies too; the next supervisor goes on.")
    ] = False,
    while_open: Annotated[
        bool, typer.Option("--while-open", help="End as well when standard input is closed, with whoever holds it.")
    ] = False,
    webhook_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the address to call at every study's end."),
    ] = None,
    cluster: Cluster = None,
    cluster_slots: ClusterSlots = None,
    cluster_most: ClusterMost = None,
    cluster_checkpoints: ClusterCheckpoints = None,
    default_executor: DefaultExecutor = None,
) -> None:
    """Run the studies that were handed in to the service, until Ctrl-C or SIGTERM.

    One supervisor works at a time; another one stands by and takes over. Studies that run go on when it ends, and the
    next one takes them over, unless --stop-drivers says otherwise. A database that does not answer is asked again.
    Exit codes: 0 ended by Ctrl-C or SIGTERM; 2 an option is wrong; 130, 143 ended at once, by a second signal.
    Example: tuner supervise --slots 2 --workers 1
    """
    stop = threading.Event()
    exit_codes.stop_on_signals(stop)
    from tuner.api.workspace import workspace
    from tuner.service import logs
    from tuner.service.supervisor import Supervisor, SupervisorOptions

    logs.set_up()
    if while_open:
        threading.Thread(target=_wait_for_end, args=(stop,), name="tuner-standard-input", daemon=True).start()
    on = cluster_of(workers, cluster, cluster_slots, cluster_most, cluster_checkpoints, default_executor)
    default: ExecutorName | None = None if default_executor is None else default_executor.value
    options = SupervisorOptions(slots, workers, on, default, grace, stop_drivers, webhook_file)
    Supervisor(workspace(), options).run(stop)


def cluster_of(
    workers: int | None,
    address: str | None,
    slots: str | None,
    most: int | None,
    checkpoints: str | None,
    default: Executor | None,
) -> Ray | None:
    """The cluster that an operator's options name; None where they name none.

    Raises:
        InputError: they mean nothing, contradict each other, or say how to use a cluster and not which.
    """
    from tuner.errors import InputError
    from tuner.execution import choice

    if address is None and (slots, most, checkpoints) != (None, None, None):
        raise InputError(
            "--cluster-slots, --cluster-most and --cluster-checkpoints: say how a cluster is used; give --cluster as"
            " well."
        )
    if address is None and default is not None:
        raise InputError("--default-executor: chooses between this machine and a cluster; give --cluster as well.")
    if address is not None and importlib.util.find_spec("ray") is None:
        raise InputError("--cluster: needs Ray, which is not installed; pip install 'autoencoder-tuner[ray]'.")
    if address is not None and workers is not None and default is None:
        raise InputError(
            "--workers: are those of this machine; leave it out where --cluster says where to train, or offer both by"
            " --default-executor."
        )
    if address is None:
        return None
    return choice.Ray(address, None if slots is None else choice.Share.of(slots), most, checkpoints)


def _wait_for_end(stop: threading.Event) -> None:
    """Stop where nobody holds the other end of standard input any more."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()
