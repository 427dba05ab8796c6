"""Every call of the library's interface, each with what it changed in this process: a script, for a fresh process.

    python api_calls.py ADDRESS [LIBRARY ...]

ADDRESS: MLflow's, or "" for the store in the current folder. The libraries are imported first, as a caller's own are.
Prints one JSON object: the calls' names, and what each changed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from process_state import changes, snapshot
from studies import tiny


def calls(workers: int) -> list[tuple[str, Callable[[], Any]]]:
    """In an order in which each finds what it needs."""
    import tuner
    from tuner.api import champion, listing, maintenance, publishing
    from tuner.export.apply import Request, apply

    kept: dict[str, Any] = {}

    def keep(name: str, made: Any) -> None:
        kept[name] = made

    def use() -> None:
        model, rows = kept["model"], kept["study"].raw_rows(5)
        model.decode(model.encode(rows))
        model.score(rows), model.reconstruct(rows), model.sample(3), model.module()

    def rows_file() -> str:
        import numpy as np

        np.save("rows.npy", kept["study"].raw_rows(5))
        return "rows.npy"

    def applied(graph: bool) -> Any:
        return apply("best", Request("score", Path("scores.csv"), rows_file(), onnx=graph))

    return [
        ("run", lambda: tuner.run(tiny(), workers=workers)),
        ("run again", lambda: tuner.run(tiny(), workers=workers)),
        ("Study.open", lambda: keep("study", tuner.Study.open("tiny"))),
        ("Study.trials", lambda: kept["study"].trials),
        ("Study.facts", lambda: kept["study"].facts),
        ("Study.optuna_study", lambda: kept["study"].optuna_study),
        ("Study.progress", lambda: keep("progress", kept["study"].progress())),
        ("Study.stop", lambda: keep("stopped", kept["study"].stop())),
        ("Study.report", lambda: kept["study"].report("report.html")),
        ("Study.export", lambda: kept["study"].export("best")),
        ("load_model", lambda: keep("model", tuner.load_model("best"))),
        ("the model's methods", use),
        ("train, Model.export", lambda: tuner.train("best/config.yaml").export("trained")),
        ("apply", lambda: applied(False)),
        ("apply with onnx", lambda: applied(True)),
        ("register", lambda: champion.register("tiny")),
        ("sync", publishing.sync),
        ("doctor", maintenance.doctor),
        ("list", listing.studies),
    ]


def main(address: str, libraries: list[str]) -> None:
    """Make the calls; see the module."""
    for library in libraries:
        importlib.import_module(library)
    if address:
        os.environ["MLFLOW_TRACKING_URI"] = address
    found = {}
    for name, call in calls(workers=0 if libraries else 1):
        before = snapshot()
        call()
        print(name, file=sys.stderr)  # noqa: T201 - where it stands, should it take too long
        found[name] = {part: repr(pair)[:1000] for part, pair in changes(before, snapshot()).items()}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
