"""This project, with one or two workers, and what its workers were busy with."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from workloads import Job, declaration

LIBRARIES = (
    *("optuna", "sqlalchemy"),
    *(
        "tuner.orchestration.launch",
        "tuner.api.study",
        "tuner.search.loop",
        "tuner.data.prepare",
        "tuner.tracking.direct",
    ),
)


def run(job: Job, variant: str) -> dict[str, Any]:
    """The study on so many workers; `reached` is when the ledger had recorded it, which is later than the epoch."""
    import tuner
    from tuner.ledger.ledger import Ledger

    study = tuner.run(declaration(job), workers=int(variant))
    if study.summary.mlflow.waiting:
        raise SystemExit("not everything was published")
    ledger = Ledger.open("sqlite:///tuner.db")
    record = ledger.study(job.workload)
    assert record is not None
    segments, curves = ledger.segments(record.id), ledger.curves(record.id)
    ledger.close()
    reached = [
        segment.at
        for segment in segments
        for number in segment.trials
        if min(curves[number].val_loss[segment.first : segment.last], default=math.inf) <= (job.load.target or -1)
    ]
    busy = sum(segment.seconds for segment in segments)
    return {"reached": min(reached, default=None), "busy": busy, **_work(job, study.records)}


def _work(job: Job, records: Any) -> dict[str, Any]:
    """What has to be done: `flop` and `moved`.

    Arithmetic of the layers' products, forward and backward, where nobody asks for the rows' own gradient, and forward
    over the validation rows after every epoch; and for each trial the bytes of its parameters, gradients and moments,
    with those that one-pass AdamW has to move.
    """
    import numpy as np

    from tuner.spec.architecture import layer_sizes, parameter_count

    shapes = [np.load(f"{job.folder}/{part}-{job.seed}.npy", mmap_mode="r").shape for part in ("train", "validation")]
    (rows, features), (held_out, _) = shapes
    products, moved = 0.0, []
    for trial in records:
        sizes = layer_sizes(features, trial.point)
        weights = sum(a * b for a, b in pairwise(sizes))
        products += ((6 * weights - 2 * sizes[0] * sizes[1]) * rows + 2 * weights * held_out) * trial.epochs
        count, steps = parameter_count(sizes), -(-rows // trial.point.batch_size) * trial.epochs
        moved.append((16 * count, 28 * count * steps))
    return {"flop": products, "moved": moved}
