"""What MLflow does not show yet, and where it shows the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, final

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, null, select, update

from tuner.ledger.database import Database
from tuner.ledger.leases import Leases
from tuner.ledger.patience import harmless_twice, patient
from tuner.ledger.records import OutboxKind, OutboxRow
from tuner.ledger.schema import THE_STUDY, THE_VIEW, measurement, outbox, run, study, trial
from tuner.spec.work import TrialState

_MOST_IDS = 10_000
_COLUMNS = ("study_id", "kind", "trial", "first", "last")
_WAITING: Final = select(func.count()).select_from(outbox).where(outbox.c.reason.is_(None))
_WAITING_OF: Final = _WAITING.where(outbox.c.study_id == bindparam("study"))


def row(
    kind: OutboxKind, number: int | None = None, first: int | None = None, last: int | None = None
) -> dict[str, Any]:
    """A row to be added, all but its study."""
    return {"kind": kind, "trial": number, "first": first, "last": last}


def add(connection: Connection, study_id: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows in the transaction that records what they point at."""
    values = [{"study_id": study_id, **each} for each in rows]
    if values:
        connection.execute(insert(outbox), values)


@final
@patient
class Outbox:
    """The publisher's part of the ledger; what it changes of a study needs the lease of the purpose `publish`.

    Only `mark_published` and `set_aside` need none.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database, self._leases = database, leases

    def waiting(self, study_id: int, limit: int) -> list[OutboxRow]:
        """The oldest rows that wait, in the order in which they were recorded."""
        query = (
            select(outbox)
            .where(outbox.c.study_id == study_id, outbox.c.reason.is_(None))
            .order_by(outbox.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_row(each) for each in connection.execute(query)]

    def waiting_count(self, study_id: int | None = None) -> int:
        """How many rows wait, of one study or of all."""
        with self._database.reading() as connection:
            if study_id is None:
                return connection.execute(_WAITING).scalar_one()
            return connection.execute(_WAITING_OF, {"study": study_id}).scalar_one()

    @harmless_twice
    def mark_published(self, ids: Sequence[int]) -> None:
        """Forget rows that MLflow shows."""
        with self._leases.changing_without_lease() as connection:
            for start in range(0, len(ids), _MOST_IDS):
                connection.execute(delete(outbox).where(outbox.c.id.in_(ids[start : start + _MOST_IDS])))

    @harmless_twice
    def set_aside(self, row_id: int, reason: str) -> None:
        """Keep a row that MLflow will never take out of the others' way, with the reason."""
        with self._leases.changing_without_lease() as connection:
            connection.execute(update(outbox).where(outbox.c.id == row_id).values(reason=reason))

    def aside(self, study_id: int) -> list[OutboxRow]:
        """The rows that MLflow will never take."""
        query = select(outbox).where(outbox.c.study_id == study_id, outbox.c.reason.is_not(None)).order_by(outbox.c.id)
        with self._database.reading() as connection:
            return [_row(each) for each in connection.execute(query)]

    def run_id(self, study_id: int, number: int | None) -> str | None:
        """MLflow's run of a trial, or of the study where `number` is None."""
        return self.run_ids(study_id, [number]).get(number)

    def run_ids(self, study_id: int, numbers: Collection[int | None]) -> dict[int | None, str]:
        """MLflow's runs of those of these trials that have one, and of the study under None."""
        wanted = [THE_STUDY if number is None else number for number in numbers]
        query = select(run.c.trial, run.c.run_id).where(run.c.study_id == study_id, run.c.trial.in_(wanted))
        with self._database.reading() as connection:
            return {None if number == THE_STUDY else number: run_id for number, run_id in connection.execute(query)}

    @harmless_twice
    def set_run_id(self, study_id: int, number: int | None, run_id: str) -> None:
        """Remember MLflow's run of a trial, or of the study where `number` is None."""
        self.set_run_ids(study_id, {number: run_id})

    @harmless_twice
    def set_run_ids(self, study_id: int, runs: Mapping[int | None, str]) -> None:
        """Remember MLflow's runs."""
        numbers = {THE_STUDY if number is None else number: run_id for number, run_id in runs.items()}
        rows = [{"study_id": study_id, "trial": number, "run_id": run_id} for number, run_id in numbers.items()]
        with self._leases.changing(study_id, "publish") as connection:
            _forget_runs(connection, study_id, list(numbers))
            if rows:
                connection.execute(insert(run), rows)

    def view_key(self, study_id: int) -> str | None:
        """What MLflow's saved view of the study is opened by; None where there is none."""
        return self.run_id(study_id, THE_VIEW)

    @harmless_twice
    def set_view_key(self, study_id: int, key: str) -> None:
        """Remember that MLflow has a saved view of the study."""
        self.set_run_id(study_id, THE_VIEW, key)

    def experiment_id(self, study_id: int) -> str | None:
        """MLflow's experiment."""
        with self._database.reading() as connection:
            return connection.execute(select(study.c.experiment_id).where(study.c.id == study_id)).scalar_one_or_none()

    @harmless_twice
    def set_experiment_id(self, study_id: int, experiment_id: str) -> None:
        """Remember MLflow's experiment."""
        with self._leases.changing(study_id, "publish") as connection:
            connection.execute(update(study).where(study.c.id == study_id).values(experiment_id=experiment_id))

    def tracking_store(self, study_id: int) -> str | None:
        """Which MLflow the remembered runs belong to, as the publisher named it."""
        with self._database.reading() as connection:
            return connection.execute(select(study.c.tracking_store).where(study.c.id == study_id)).scalar_one_or_none()

    @harmless_twice
    def set_tracking_store(self, study_id: int, store: str) -> None:
        """Remember which MLflow the study is published to."""
        with self._leases.changing(study_id, "publish") as connection:
            connection.execute(update(study).where(study.c.id == study_id).values(tracking_store=store))

    @harmless_twice
    def publish_anew(self, study_id: int, store: str) -> None:
        """Forget what MLflow shows and let all that is recorded wait again, for the MLflow named `store`."""
        with self._leases.changing(study_id, "publish") as connection:
            values = {"tracking_store": store, "experiment_id": None}
            connection.execute(update(study).where(study.c.id == study_id).values(**values))
            connection.execute(delete(run).where(run.c.study_id == study_id))
            connection.execute(delete(outbox).where(outbox.c.study_id == study_id))
            for query in _everything(study_id):
                connection.execute(insert(outbox).from_select(_COLUMNS, query))


def _everything(study_id: int) -> list[Any]:
    """Selects of all that the ledger holds of a study, as outbox rows."""
    of_trial, of_study = trial.c.study_id == study_id, study.c.id == study_id
    span = (literal(0), func.max(measurement.c.epoch))
    nothing = (null(), null())
    return [
        select(study.c.id, literal("study"), null(), *nothing).where(of_study),
        select(trial.c.study_id, literal("trial"), trial.c.number, *nothing).where(of_trial).order_by(trial.c.number),
        select(measurement.c.study_id, literal("curve"), measurement.c.trial, *span)
        .where(measurement.c.study_id == study_id)
        .group_by(measurement.c.study_id, measurement.c.trial)
        .order_by(measurement.c.trial),
        select(trial.c.study_id, literal("end"), trial.c.number, *nothing)
        .where(of_trial, trial.c.state != TrialState.RUNNING.value)
        .order_by(trial.c.number),
        *(
            select(study.c.id, literal(kind), null(), *nothing).where(of_study, study.c.summary.is_not(None))
            for kind in ("summary", "answer")
        ),
    ]


def _forget_runs(connection: Connection, study_id: int, numbers: Collection[int]) -> None:
    connection.execute(delete(run).where(run.c.study_id == study_id, run.c.trial.in_(numbers)))


def _row(each: Any) -> OutboxRow:
    return OutboxRow(each.id, each.kind, each.trial, each.first, each.last, each.reason)
