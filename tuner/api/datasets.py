"""Data that the service knows by name, registered by whoever may use the machine's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tuner.api.control import look
from tuner.api.workspace import workspace_for
from tuner.data.sources import Sources
from tuner.errors import DataError, InputError
from tuner.ledger.datasets import Dataset
from tuner.ledger.ledger import Ledger
from tuner.ledger.owners import Owner
from tuner.settings import Workspace


def add(name: str, path: str | Path, workspace: Workspace | None = None) -> Dataset:
    """Register a file or folder under a name; the same again changes nothing.

    Args:
        name: letters, digits, `_`, `.`, `-`; at most 64.
        path: relative to the workspace's folder; inside its data root where it has one, links followed.
        workspace: whose ledger, in place of the current folder's; see `tuner.workspace`.

    Raises:
        InputError: the name is taken or none, or there is no such file or folder, or it is outside the data root.
        LedgerError: the ledger cannot be opened or written.
    """
    workspace = workspace_for(workspace, None)
    found = _found(path, workspace)
    with _opened(workspace) as ledger:
        return ledger.datasets.add(name, str(found), _size(found), str(Owner.this_process()))


def registered(workspace: Workspace | None = None) -> list[Dataset]:
    """All that is registered, by name.

    Raises:
        LedgerError: the ledger cannot be opened or read.
    """
    with closing(look(workspace_for(workspace, None))) as ledger:
        return ledger.datasets.all()


def remove(name: str, workspace: Workspace | None = None) -> None:
    """Forget a name; its files stay, and studies of it go on.

    Raises:
        InputError: there is none of that name.
        LedgerError: the ledger cannot be opened or written.
    """
    with _opened(workspace_for(workspace, None)) as ledger:
        if not ledger.datasets.remove(name, str(Owner.this_process())):
            known = ", ".join(each.name for each in ledger.datasets.all()) or "none"
            raise InputError(f"data set {name}: must be one that is registered ({known}).")


@contextmanager
def _opened(workspace: Workspace) -> Iterator[Ledger]:
    with closing(Ledger.open(workspace.database, folder=workspace.folder)) as ledger:
        yield ledger


def _found(path: str | Path, workspace: Workspace) -> Path:
    """The absolute path of what is there, which every space file can name."""
    try:
        found = Sources(workspace.folder, workspace.data_root).path(str(path)).absolute()
    except DataError as error:
        raise InputError(f"{path}: {error}") from None
    if not str(found).isprintable():
        raise InputError(f"{str(found)!a}: a path of data must have printable characters alone; rename it.")
    if not found.is_file() and not found.is_dir():
        raise InputError(f"{found}: must be a file or folder that is there.")
    return found


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
