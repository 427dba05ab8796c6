"""The ledger's tables.

    tuner_schema 1 row      version
    tuner_study             the declaration, the rules, the state, the summary, where MLflow shows it
      ├── tuner_cohort      number, position; cohort -1 holds the final stage's runs
      ├── tuner_trial       point, seed, state, measures and, once ended, how; final runs from number 10**9 on
      │     ├── tuner_measurement   losses of one epoch
      │     └── tuner_checkpoint    a state file; the newest of the highest epoch counts
      ├── tuner_segment     what was trained together, how long, by whom
      ├── tuner_event       timeouts, stops, changed budgets
      ├── tuner_outbox      what MLflow does not show yet; a row goes when it is published
      ├── tuner_run         MLflow's run of a trial, or of the study (trial -1); the key of its saved view (trial -2)
      ├── tuner_lease       who runs the study, who publishes it, and a number that grows with every owner
      ├── tuner_wanted      what is wanted of the study: run or stop, and a larger budget
      └── tuner_progress    how far its run has come, for those who watch
    tuner_removed           how many rows of each numbered table went with the studies that were deleted

The service's own (`tuner.service`):

    tuner_submission        a space file that was handed in, what is wanted of it, and the slots of a cluster that it
                            may have; its study has the same name
    tuner_supervisor 1 row  who starts the runs of submissions, and on which executors
    tuner_token             who may use the service: SHA-256 of secrets, never a secret
    tuner_audit             who asked for what, in the transaction that changed it
    tuner_dataset           data by name
    tuner_note              notes and tags of a study

Every name starts with `tuner_`, so that a Postgres database may be shared. Times are Unix seconds.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 8
THE_STUDY = -1
FINAL_COHORT = -1
THE_VIEW = -2

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")


class Measured(TypeDecorator[float]):
    """A 64-bit float that comes back with the bits it went in with: NaN, infinity and -0.0 included.

    SQLite turns NaN into NULL, which is turned back here, and -0.0 into 0.0 in a column of REAL affinity, so there the
    column is declared without a type.
    """

    impl = Double
    cache_ok = True

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:  # noqa: ARG002
        """NULL is NaN."""
        return float("nan") if value is None else value


@compiles(Measured, "sqlite")
def _without_affinity(*_: object, **__: object) -> str:
    return ""


def _study_column(primary_key: bool = True) -> Column[int]:
    return Column("study_id", _Id, ForeignKey("tuner_study.id"), primary_key=primary_key, nullable=False)


def _of_trial() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["study_id", "trial"], ["tuner_trial.study_id", "tuner_trial.number"])


schema = Table("tuner_schema", metadata, Column("version", Integer, primary_key=True))

study = Table(
    "tuner_study",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("key", String(32), nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("spec_json", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("versions", Text, nullable=False),
    Column("summary", Text),
    Column("summary_at", Double),
    Column("tracking_store", Text),
    Column("experiment_id", Text),
    Column("rules", Integer, nullable=False, server_default="1"),
    sqlite_autoincrement=True,
)

cohort = Table(
    "tuner_cohort",
    metadata,
    _study_column(),
    Column("number", Integer, primary_key=True),
    Column("position", Integer, nullable=False),
    sqlite_with_rowid=False,
)

trial = Table(
    "tuner_trial",
    metadata,
    _study_column(),
    Column("number", Integer, primary_key=True),
    Column("cohort", Integer, nullable=False),
    Column("point", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("value", Double),
    Column("best_epoch", Integer),
    Column("epochs", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("measures", Text),
    ForeignKeyConstraint(["study_id", "cohort"], ["tuner_cohort.study_id", "tuner_cohort.number"]),
    sqlite_with_rowid=False,
)
# Lists are counted from the index alone, however large the trials' configurations are.
trial_counts = Index("tuner_trial_counts", trial.c.study_id, trial.c.state, trial.c.cohort, trial.c.value)

measurement = Table(
    "tuner_measurement",
    metadata,
    _study_column(),
    Column("trial", Integer, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("train_loss", Measured),
    Column("val_loss", Measured),
    Column("at", Double, nullable=False),
    _of_trial(),
    sqlite_with_rowid=False,
)

checkpoint = Table(
    "tuner_checkpoint",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _study_column(primary_key=False),
    Column("trial", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    _of_trial(),
    Index("tuner_checkpoint_of_trial", "study_id", "trial", "epoch"),
    sqlite_autoincrement=True,
)

segment = Table(
    "tuner_segment",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _study_column(primary_key=False),
    Column("trials", Text, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("worker", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("tuner_segment_of_study", "study_id"),
    sqlite_autoincrement=True,
)

event = Table(
    "tuner_event",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=True),
    _study_column(primary_key=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("tuner_event_of_study", "study_id"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "tuner_outbox",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _study_column(primary_key=False),
    Column("kind", Text, nullable=False),
    Column("trial", Integer),
    Column("first", Integer),
    Column("last", Integer),
    Column("reason", Text),
    Index("tuner_outbox_of_study", "study_id", "id"),
    sqlite_autoincrement=True,
)

run = Table(
    "tuner_run",
    metadata,
    _study_column(),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("run_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

lease = Table(
    "tuner_lease",
    metadata,
    _study_column(),
    Column("purpose", String(16), primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("owner", Text),
    Column("taken_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    sqlite_with_rowid=False,
)

wanted = Table(
    "tuner_wanted",
    metadata,
    _study_column(),
    Column("state", String(16), nullable=False, server_default="run"),
    Column("trials", Integer),
    Column("timeout", Double),
    Column("at", Double, nullable=False),
    Column("by", Text, nullable=False),
    sqlite_with_rowid=False,
)

progress = Table(
    "tuner_progress",
    metadata,
    _study_column(),
    Column("fence", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Double, nullable=False),
    sqlite_with_rowid=False,
)

submission = Table(
    "tuner_submission",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("idempotency_key", Text, unique=True),
    Column("spec_text", Text, nullable=False),
    Column("warm_start", Text),
    Column("trials", Integer),
    Column("timeout", Double),
    Column("wanted", String(16), nullable=False),
    Column("wanted_at", Double, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("driver", Text),
    Column("started_at", Double),
    Column("outcome", String(16)),
    Column("message", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", Double, nullable=False, server_default="0"),
    Column("executor", String(16)),
    Column("ran_on", String(16)),
    Column("granted", Integer),
    sqlite_autoincrement=True,
)

supervisor = Table(
    "tuner_supervisor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("fence", BigInteger, nullable=False),
    Column("owner", Text),
    Column("taken_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("executors", Text),
    sqlite_with_rowid=False,
)

token = Table(
    "tuner_token",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("parent", _Id),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
    Column("revoked_at", Double),
    sqlite_autoincrement=True,
)

audit = Table(
    "tuner_audit",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)

dataset = Table(
    "tuner_dataset",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    Column("by", Text, nullable=False),
    sqlite_with_rowid=False,
)

note = Table(
    "tuner_note",
    metadata,
    _study_column(),
    Column("text", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("by", Text, nullable=False),
    sqlite_with_rowid=False,
)

removed = Table(
    "tuner_removed",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Numbered without a gap by SQLite; a row of these is removed with its study alone, and counted in `removed`.
NEVER_REMOVED = (study, event, segment, checkpoint)
