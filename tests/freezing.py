"""Stop a process by a signal, outside of its writes to the ledger or during one, when it blocks other writers."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import psutil
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from supervised import until

from tuner.ledger.ledger import Ledger


def freeze(processes: Sequence[psutil.Process], url: str) -> None:
    """Stop the processes, at a moment at which none of them is in a transaction.

    Args:
        processes: those that have a part in one study's run.
        url: the ledger's, as SQLAlchemy reads it.
    """

    def frozen() -> bool:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        if not _is_amid_write(url):
            return True
        for process in processes:
            process.send_signal(signal.SIGCONT)
        return False

    until(frozen, "a moment at which nobody writes into the ledger")


def freeze_amid_write(process: psutil.Process, ledger: Ledger) -> None:
    """Stop a process at a moment at which it holds SQLite's write lock."""

    def frozen() -> bool:
        process.send_signal(signal.SIGSTOP)
        until(lambda: process.status() == psutil.STATUS_STOPPED, "the process to stop")
        if ledger.supervision.writer() == process.pid:
            return True
        process.send_signal(signal.SIGCONT)
        return False

    until(frozen, "a moment at which it writes")


def _is_amid_write(url: str) -> bool:
    is_file = url.startswith("sqlite")
    engine = create_engine(url, connect_args={"timeout": 0.2} if is_file else {}, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            if not is_file:
                others = (
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now()"
                )
                return connection.exec_driver_sql(others).scalar_one() > 0
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("ROLLBACK")
            return False
    except OperationalError:
        return True
    finally:
        engine.dispose()
