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
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from process_state import changes, snapshot
from studies import tiny

SHORT: Final = {"space": {"bottleneck": {"type": "int", "low": 1, "high": 2}}, "search": {"trials": 3, "epochs": 2}}


def of_frame() -> dict[str, Any]:
    """A study of a table in memory."""
    return tiny(name="frame", data={"source": "memory"}, space={"bottleneck": 1}, search={"trials": 3, "epochs": 2})


def calls(workers: int) -> list[tuple[str, Callable[[], Any]]]:
    """In an order in which each finds what it needs."""
    import tuner
    from tuner.api import champion, control, datasets, listing, maintenance, publishing, whole_studies
    from tuner.errors import StudyError
    from tuner.export.apply import Request, apply

    kept: dict[str, Any] = {}

    def keep(name: str, made: Any) -> None:
        kept[name] = made

    def use() -> None:
        model, rows = kept["model"], kept["study"].raw_rows(5)
        model.decode(model.encode(rows))
        model.score(rows), model.reconstruct(rows), model.sample(3), model.module()
        model.parts(rows), model.encoded(rows), list(model.samples(3))

    def trained() -> None:
        model = tuner.train("best/config.yaml", overrides=["search.epochs=2"])
        keep("trained", (model.best_at, model.step, model.beside_plain()))

    def frame() -> Any:
        import pandas as pd

        return pd.DataFrame({"a": [n % 7 for n in range(120)], "b": [n % 5 / 2 for n in range(120)], "c": range(120)})

    def look() -> None:
        study = kept["study"]
        keep("answers", (study.best, study.winner, study.planned, study.counts, study.awaits_score, study.summary))
        keep("tables", (study.trials, study.trials_with_times, study.csv(), study.json()))
        keep("data", (study.source_note, study.raw_rows(5)))

    def of_front() -> None:
        study = tuner.run(tiny(name="sizes", objective=["val_loss", "bottleneck"], **SHORT), workers=workers)
        keep("front", (study.front, study.front_points))

    def rows_file() -> str:
        import numpy as np

        np.save("rows.npy", kept["study"].raw_rows(5))
        return "rows.npy"

    def refused() -> None:
        with suppress(StudyError):  # no process trains it
            control.extend("sizes", trials=4)

    def applied(graph: bool) -> Any:
        return apply("best", Request("score", Path("scores.csv"), rows_file(), onnx=graph))

    return [
        ("run", lambda: tuner.run(tiny(), workers=workers)),
        ("run again", lambda: tuner.run(tiny(), workers=workers)),
        ("Study.open", lambda: keep("study", tuner.Study.open("tiny"))),
        ("the study's answers", look),
        ("Study.facts", lambda: kept["study"].facts),
        ("Study.optuna_study", lambda: kept["study"].optuna_study),
        ("Study.progress", lambda: keep("progress", kept["study"].progress())),
        ("Study.stop", lambda: keep("stopped", kept["study"].stop())),
        ("Study.report", lambda: kept["study"].report("report.html")),
        ("Study.export", lambda: kept["study"].export("best")),
        ("load_model", lambda: keep("model", tuner.load_model("best"))),
        ("the model's methods", use),
        ("train, Model.export", lambda: tuner.train("best/config.yaml").export("trained")),
        ("Model.beside_plain", trained),
        ("apply", lambda: applied(False)),
        ("apply with onnx", lambda: applied(True)),
        ("register", lambda: champion.register("tiny")),
        ("sync", publishing.sync),
        ("doctor", maintenance.doctor),
        ("list", listing.studies),
        ("workspace", lambda: tuner.workspace(".")),
        ("Study.configuration", lambda: keep("configuration", kept["study"].configuration())),
        ("run with data", lambda: tuner.run(of_frame(), data=frame(), workers=workers)),
        ("Study.front", of_front),
        ("compare", lambda: listing.compare(["tiny", "sizes"])),
        ("progress", lambda: control.progress("tiny")),
        ("watch", lambda: list(control.watch("tiny"))),
        ("stop", lambda: control.stop("tiny")),
        ("extend", refused),
        ("disk", maintenance.disk),
        ("prune_files", lambda: maintenance.prune_files(dry_run=True)),
        ("migrate", maintenance.migrate),
        ("data add", lambda: datasets.add("rows", rows_file())),
        ("data list", datasets.registered),
        ("data remove", lambda: datasets.remove("rows")),
        ("rename", lambda: whole_studies.rename("sizes", "other")),
        ("remains", lambda: whole_studies.remains("other")),
        ("delete", lambda: whole_studies.delete("other")),
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
