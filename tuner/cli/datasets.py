"""Commands on data that the service knows by name: data add, data list, data remove."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tuner.ledger.datasets import Dataset

Name = Annotated[str, typer.Argument(metavar="NAME", help="What space files call it, as dataset:NAME.")]


def add_to(app: typer.Typer) -> None:
    """Give an app these commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data that the service knows by name.")
    group.command("add")(add)
    group.command("list")(list_datasets)
    group.command("remove")(remove)
    app.add_typer(group, name="data")


def add(
    name: Name,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file or folder, in the data root where one is set.")],
) -> None:
    """Register data under a name, for space files that are handed in to the service.

    The data stays where it is. Example: tuner data add sensors data/sensors.csv
    """
    from tuner.api import datasets

    made = datasets.add(name, path)
    typer.echo(f"{made.name}: {made.path}, {_size(made)}; a space file names it as dataset:{made.name}.")


def list_datasets() -> None:
    """List the data that is registered."""
    from tuner.api import datasets

    found = datasets.registered()
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.at))
        typer.echo(f"{each.name:<{width}}  {_size(each):>10}  since {since}  {each.path}")
    if not found:
        typer.echo("no data is registered yet; `tuner data add NAME PATH` registers some.")


def remove(name: Name) -> None:
    """Forget a name; the data stays, and so do studies of it.

    Example: tuner data remove sensors
    """
    from tuner.api import datasets

    datasets.remove(name)
    typer.echo(f"{name}: no longer registered; its files stay.")


def _size(each: Dataset) -> str:
    return f"{each.size / 1e3:,.1f} kB"
