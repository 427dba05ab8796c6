"""How long `tuner list` takes over 200 studies of 500 trials, in a process of its own.

    python benchmarks/listing.py [--studies 200] [--trials 500] [--epochs 5] [--repeat 5] [--database URL]

The ledger is made by SQL, as studies that ran would have left it. Printed: seconds of `tuner list`, of an empty list
(what starting Python and importing SQLAlchemy takes), and of the query alone, the median of the repeats each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine, insert

from tuner.ledger.ledger import Ledger
from tuner.ledger.schema import cohort, measurement, trial
from tuner.ledger.schema import study as studies
from tuner.spec.reader import spec_from_mapping

SPEC = {
    "name": "s",
    "data": {"source": "sklearn:digits"},
    "space": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}, "bottleneck": 8},
    "search": {"trials": 500, "epochs": 50},
}
POINT = {"learning_rate": 0.01, "batch_size": 64, "depth": 2, "width": 128, "activation": "gelu", "bottleneck": 8}
MEASURES = {"effective_dims": 6.5, "dead_units": 0, "trustworthiness": 0.97}


def fill(url: str, count: int, trials: int, epochs: int) -> None:
    """Make the ledger."""
    Ledger.open(url).close()
    engine, now = create_engine(url), time.time()
    for number in range(count):
        spec = spec_from_mapping({**SPEC, "name": f"study-{number}"}).model_dump_json()
        row = {"key": f"{number:032x}", "name": f"study-{number}", "spec_json": spec, "source": "s.yaml"}
        row |= {"fingerprint": "f" * 64, "state": "finished", "created_at": now, "changed_at": now, "versions": "{}"}
        with engine.begin() as connection:
            study_id = connection.execute(insert(studies).values(**row)).inserted_primary_key[0]
            connection.execute(insert(cohort), [{"study_id": study_id, "number": 0, "position": 0}])
            connection.execute(insert(trial), [trial_row(study_id, each, epochs, now) for each in range(trials)])
            connection.execute(insert(measurement), list(epoch_rows(study_id, trials, epochs, now)))
    engine.dispose()


def trial_row(study_id: int, number: int, epochs: int, now: float) -> dict[str, object]:
    """A trial that is complete."""
    return {
        "study_id": study_id, "number": number, "cohort": 0, "point": json.dumps(POINT), "seed": number,
        "state": "complete" if number % 3 == 0 else "pruned", "value": 0.01 + number / 1e4, "best_epoch": epochs,
        "epochs": epochs, "reason": "" if number % 3 == 0 else "it was the 12th of 27 after 6 epochs",
        "asked_at": now, "started_at": now, "ended_at": now, "measures": json.dumps(MEASURES),
    }  # fmt: skip


def epoch_rows(study_id: int, trials: int, epochs: int, now: float):
    """What they measured."""
    for number in range(trials):
        for epoch in range(1, epochs + 1):
            losses = {"train_loss": 1 / epoch, "val_loss": 1 / epoch}
            yield {"study_id": study_id, "trial": number, "epoch": epoch, **losses, "at": now}


def median(repeat: int, act: Callable[[], object]) -> float:
    """Seconds."""
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def listed(url: str) -> int:
    """`tuner list` as it is typed."""
    environment = {**os.environ, "TUNER_DATABASE_URL": url}
    words = [sys.executable, "-m", "tuner", "list"]
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return len(ran.stdout.splitlines())


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("studies", 200), ("trials", 500), ("epochs", 5), ("repeat", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url, empty = (
            given.database or f"sqlite:///{Path(folder) / 'tuner.db'}",
            f"sqlite:///{Path(folder) / 'empty.db'}",
        )
        fill(url, given.studies, given.trials, given.epochs)
        Ledger.open(empty).close()
        assert listed(url) == given.studies
        with closing(Ledger.look(url)) as ledger:
            query = median(given.repeat, ledger.tallies)
        whole, start = median(given.repeat, lambda: listed(url)), median(given.repeat, lambda: listed(empty))
    print(
        f"{given.studies} studies of {given.trials} trials: tuner list {whole:.2f} s, of which {start:.2f} s to start;"
    )
    print(f"the query alone {query * 1000:.0f} ms")


if __name__ == "__main__":
    main()
