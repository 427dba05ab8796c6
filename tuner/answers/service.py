"""What the service answers beside a study's own answer: the same models over REST, in Python and in its pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tuner.answers.base import Answer, Loss
from tuner.answers.study import StudyAnswer

ServiceState = Literal["queued", "starting", "running", "stopping", "stopped", "finished", "failed", "archived"]


class StudyItem(Answer):
    """A study in the service's list.

    Attributes:
        name: the study.
        state: queued (waits for a slot), starting (its process is there, its run not yet), running, stopping (a stop
            was asked for), stopped, finished, failed (given up; `message` says why), archived (out of the way).
        phase: what its run is doing; `not running` where there is none.
        wanted: run, stop or archived; None for a study that was launched by hand.
        total: trials in all; 0 before the study is recorded, unless a larger budget was asked for.
        ended: trials that have ended, in any way.
        counts: trials by state, the states that occur.
        best: the lowest validation loss of a complete trial.
        epochs_per_second: over the last seconds.
        seconds_left: None until there is a speed to estimate it by.
        unit: of that speed, epochs or steps.
        detail: what is being done now, in words.
        waiting: records that MLflow does not show yet.
        message: why it failed or is tried again: the last lines of its driver; else empty.
        attempts: drivers in a row that failed.
        place: place in the queue, counted from 1; None where it does not wait.
        created_at: when it was handed in or launched, Unix time in seconds.
        by: who handed it in; empty where it was launched by hand.
        tags: in the order in which they were given.
        note: in plain words.
        executor: where it trains, or trained last: worker processes of the service's machine, or its Ray cluster; while
            it waits, where its launcher chose. None where nobody chose yet, or it was launched by hand.
        slots: workers or slots of a cluster that train it and are there now; None while nothing is trained.
        nodes: nodes of the cluster that they are on; None where they are on the machine of its run.
    """

    name: str
    state: ServiceState
    phase: str
    wanted: Literal["run", "stop", "archived"] | None
    total: int
    ended: int
    counts: Mapping[str, int]
    best: float | None
    epochs_per_second: float
    seconds_left: float | None
    unit: Literal["epochs", "steps"]
    detail: str
    waiting: int
    message: str
    attempts: int
    place: int | None
    created_at: float
    by: str
    tags: tuple[str, ...]
    note: str
    executor: Literal["processes", "ray"] | None
    slots: int | None = None
    nodes: int | None = None


class StudyPage(Answer):
    """A page of the list of studies.

    Attributes:
        studies: in the order asked for.
        total: studies that fit what was asked for, on all pages.
    """

    studies: tuple[StudyItem, ...]
    total: int


class StudyDetail(Answer):
    """One study, with its declaration and answer.

    Attributes:
        item: as in the list.
        spec_text: the space file as it was handed in, or as it is recorded.
        answer: None before the study is recorded.
    """

    item: StudyItem
    spec_text: str
    answer: StudyAnswer | None


class TrialItem(Answer):
    """A trial in a page of trials.

    Attributes:
        number: counted from 0.
        state: running, complete, pruned, failed, infeasible.
        value: best validation loss so far.
        best_epoch: the epoch of it.
        epochs: epochs measured.
        params: the hyperparameters in use; None for those that are not active.
        reason: one sentence for a trial that ended in any state but complete.
        measures: what its code is worth beside the loss.
        seconds: from the beginning of its first segment to its end.
    """

    number: int
    state: str
    value: Loss | None
    best_epoch: int | None
    epochs: int
    params: Mapping[str, str | float | int | bool | None]
    reason: str
    measures: Mapping[str, float]
    seconds: float | None


class TrialPage(Answer):
    """A page of a study's trials.

    Attributes:
        trials: in the order asked for.
        total: trials that fit what was asked for, on all pages.
    """

    trials: tuple[TrialItem, ...]
    total: int


class CurveItem(Answer):
    """A trial's losses after each epoch (or interval) measured; those that are not finite are null.

    Attributes:
        number: the trial.
        epochs: as measured, ascending.
        before: validation loss before the first epoch, of a trial that starts at a solution; else None.
        train: training loss, one for each of `epochs`.
        validation: validation loss, one for each of `epochs`.
    """

    number: int
    epochs: tuple[int, ...]
    before: Loss | None
    train: tuple[Loss, ...]
    validation: tuple[Loss, ...]


class CurveList(Answer):
    """Curves of a study's trials.

    Attributes:
        curves: by the trial's number.
    """

    curves: tuple[CurveItem, ...]


class EventItem(Answer):
    """Something that happened to a study.

    Attributes:
        seq: grows with every event of the ledger.
        at: Unix time in seconds.
        kind: run, budget, length, speed, stop, ...
        body: by kind.
    """

    seq: int
    at: float
    kind: str
    body: Mapping[str, object]


class Mistake(Answer):
    """A mistake in a space file.

    Attributes:
        line: counted from 1; None where there is none.
        key: dotted path; empty for the file as a whole.
        message: what was expected and what came.
    """

    line: int | None
    key: str
    message: str


class Checked(Answer):
    """A space file that can be launched, and what it would cost.

    Attributes:
        name: the study's.
        trials: in all; None where the time decides.
        epochs: of a trial at the most, in words, such as `50 epochs` or `until flat`.
        rows: training rows; like what follows, None where the data was not read.
        features: numbers a row.
        largest_parameters: of the largest model of the space.
        seconds: a rough estimate of one core's time; None where none can be made.
        notes: what the user should know of the data.
    """

    name: str
    trials: int | None
    epochs: str
    rows: int | None
    features: int | None
    largest_parameters: int | None
    seconds: float | None
    notes: tuple[str, ...]


class DatasetItem(Answer):
    """Data that a space file may name as `dataset:NAME`.

    Attributes:
        name: its name.
        size: bytes.
        at: when it was registered, Unix time in seconds.
        by: who registered it.
    """

    name: str
    size: int
    at: float
    by: str


class DatasetList(Answer):
    """All registered data.

    Attributes:
        datasets: by name.
        may_upload: whether there is a data root to store more below.
    """

    datasets: tuple[DatasetItem, ...]
    may_upload: bool


class Scored(Answer):
    """Rows that a study's model scored.

    Attributes:
        scores: each row's reconstruction error; null for rows that have none, for a value of theirs is missing.
        anomalies: whether each is above the threshold, null for rows without a score; None where the model has none.
        threshold: that.
        codes: each row's code.
        notes: what the user should know of the rows, a sentence each.
    """

    scores: tuple[Loss, ...]
    anomalies: tuple[bool | None, ...] | None
    threshold: float | None
    codes: tuple[tuple[Loss, ...], ...]
    notes: tuple[str, ...]


class Refusal(Answer):
    """A study that a bulk action did not change.

    Attributes:
        name: the study.
        message: why.
    """

    name: str
    message: str


class BulkAnswer(Answer):
    """What came of an action on many studies.

    Attributes:
        done: the studies that it changed.
        refused: those that it did not.
    """

    done: tuple[str, ...]
    refused: tuple[Refusal, ...]


class AuditItem(Answer):
    """Who asked the service for what.

    Attributes:
        seq: grows with every line.
        at: Unix time in seconds.
        actor: the name of the token, or the process, that asked.
        action: submit, run, stop, archived, delete, rename, note, token, revoke, dataset.
        subject: the study, token or data set.
        body: what was asked, without secrets.
    """

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    body: Mapping[str, object]


class AuditList(Answer):
    """The newest lines, the newest first.

    Attributes:
        lines: each a request that changed something.
    """

    lines: tuple[AuditItem, ...]


class TokenItem(Answer):
    """A token without its secret.

    Attributes:
        id: in this ledger.
        kind: token, session or login.
        name: whose it is.
        role: read, launch or admin.
        created_at, expires_at, used_at, revoked_at: Unix time in seconds; None where it never was.
    """

    id: int
    kind: Literal["token", "session", "login"]
    name: str
    role: Literal["read", "launch", "admin"]
    created_at: float
    expires_at: float
    used_at: float | None
    revoked_at: float | None


class TokenList(Answer):
    """Tokens and sessions, oldest first.

    Attributes:
        tokens: without their secrets.
    """

    tokens: tuple[TokenItem, ...]


class NewToken(Answer):
    """A token that was just made.

    Attributes:
        secret: shown this once.
        token: what is kept of it.
    """

    secret: str
    token: TokenItem
