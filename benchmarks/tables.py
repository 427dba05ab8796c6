"""How many real tables end with an answer: `tuner init` and `tuner run` over every file of a folder.

    python benchmarks/tables.py FOLDER [--trials 12] [--epochs 5] [--jobs 2] [--json FILE]

Every table that a reader knows by its ending goes through what `tuner init FILE > s.yaml && tuner run s.yaml` does,
unedited but for the number of trials and epochs. It counts as answered only if every column is modelled except
identifiers, prose and constants, and if pandas agrees: a column that was left out as text, of which pandas reads more
than half of the cells as numbers or dates, is missed. What was left out is listed with the reasons, and 30 tables drawn
by seed are printed for the eye.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

LEAVABLE = ("identifier", "text", "constant")
AS_TEXT = ("it names rows", "it holds prose")  # why: what numbers rows is left out whatever pandas reads
LOOKED_AT = 2000  # cells of a column


@dataclass
class Result:
    """What became of a table."""

    table: str
    outcome: str  # answered, refused, or broken: a traceback
    seconds: float
    words: str = ""
    rows: int = 0
    types: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    loss: str = ""
    test: float | None = None
    pca: float | None = None


def one(job: tuple[str, int, int]) -> Result:
    """A table in a folder and a ledger of its own."""
    file, trials, epochs = job
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    folder, start = Path(tempfile.mkdtemp(prefix="table-")), time.monotonic()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return _run(Path(file), folder, (trials, epochs), start)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(file: Path, folder: Path, budget: tuple[int, int], start: float) -> Result:
    import tuner
    from tuner.data.initial import space_file
    from tuner.data.inspection import inspect
    from tuner.data.sources import Sources
    from tuner.errors import TunerError
    from tuner.spec.data import DataSpec

    made = Result(file.name, "answered", 0.0)
    try:
        found = inspect(DataSpec(source=str(file)), Sources(folder))
        made.rows = found.rows
        made.types = dict(Counter(column.type for column in found.columns if column.modelled))
        made.left_out = {column.name: column.type for column in found.columns if not column.modelled}
        made.reasons = {c.name: " ".join(c.notes).removeprefix("left out: ") for c in found.columns if not c.modelled}
        made.missed = [name for name, kind in made.left_out.items() if kind not in LEAVABLE]
        made.missed += read_by_pandas(file, folder, made.reasons)
        (folder / "s.yaml").write_text(space_file(found))
        overrides = [f"search.trials={budget[0]}", f"search.epochs={budget[1]}"]
        place = tuner.workspace(folder, mlflow=os.environ["TABLES_MLFLOW"])
        study = tuner.run(folder / "s.yaml", overrides=overrides, workers=0, workspace=place)
        made.loss = study.spec.loss
        answer = study.summary
        if answer.winner is None:
            made.outcome, made.words = "refused", "no answer"
        else:
            made.test = answer.winner.test_loss
            made.pca = answer.winner.baselines.pca if answer.winner.baselines else None
    except TunerError as error:
        made.outcome, made.words = "refused", str(error)
    except Exception:
        made.outcome, made.words = "broken", traceback.format_exc()
    made.seconds = time.monotonic() - start
    return made


def read_by_pandas(file: Path, folder: Path, reasons: dict[str, str]) -> list[str]:
    """Columns that were left out as text, although pandas reads more than half of their cells."""
    import pandas as pd

    from tuner.data.load_tables import load_table
    from tuner.data.sources import Sources
    from tuner.spec.data import DataSpec

    doubted = [name for name, why in reasons.items() if any(words in why for words in AS_TEXT)]
    source = load_table(DataSpec(source=str(file)), Sources(folder)) if doubted else None
    missed = []
    for name in doubted if source is not None else ():
        cells = pd.Series(source.table.column(name).slice(0, LOOKED_AT).to_pylist(), dtype=object).dropna().astype(str)
        cells = cells[cells.str.strip() != ""]
        dates = cells.where(cells.str.fullmatch(r"[\w\s:./,+-]*\d[\w\s:./,+-]*") & cells.str.contains(r"[-/.: ]"))
        shares = (
            pd.to_numeric(cells, errors="coerce").notna().mean(),
            pd.to_datetime(dates, format="mixed", errors="coerce", utc=True).notna().mean(),
        )
        if len(cells) and max(shares) > 0.5:
            missed.append(name)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    files = sorted(str(file) for file in given.folder.iterdir() if file.is_file() and not file.name.startswith("."))
    results = []
    shared = (
        Path(tempfile.mkdtemp(prefix="tables-")) / "mlflow.db"
    )  # making a store takes seconds, and users do it once
    os.environ["TABLES_MLFLOW"] = f"sqlite:///{shared}"
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=25) as pool:
        for result in pool.imap_unordered(one, [(file, given.trials, given.epochs) for file in files]):
            results.append(result)
            print(f"\r{len(results)}/{len(files)} {result.table[:60]:<60}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    results.sort(key=lambda result: result.table)
    report(results, given.seed)
    if given.json:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return int(any(result.outcome == "broken" for result in results))


def report(results: list[Result], seed: int) -> None:
    answered = [result for result in results if result.outcome == "answered" and not result.missed]
    print(f"{len(answered)} of {len(results)} tables end with an answer ({100 * len(answered) / len(results):.1f} %)")
    for result in results:
        for name in result.missed:
            print(f"  missed: {result.table}: {name}: {result.reasons.get(name, result.left_out[name])}"[:300])
    for outcome in ("refused", "broken"):
        for result in results:
            if result.outcome == outcome:
                print(f"  {outcome}: {result.table}: {result.words.strip().splitlines()[-1][:300]}")
    better = [result for result in answered if result.test is not None and result.pca is not None]
    won = sum(result.test < result.pca for result in better)
    print(f"test loss below PCA's: {won} of {len(better)} (12 trials of 5 epochs are few)")
    print("left out:", dict(Counter(kind for result in answered for kind in result.left_out.values())))
    print(f"seconds: {sum(result.seconds for result in results):.0f} in all, the longest:")
    for result in sorted(results, key=lambda result: -result.seconds)[:3]:
        print(f"  {result.seconds:6.1f}  {result.table}")
    print("30 drawn by seed:")
    for result in random.Random(seed).sample(results, min(30, len(results))):
        left = ", ".join(f"{name} ({kind}: {result.reasons[name]})" for name, kind in result.left_out.items())
        print(
            f"  {result.table}: {result.rows} rows, {result.types}, loss {result.loss}; left out: {left[:400] or '-'}"
        )


if __name__ == "__main__":
    sys.exit(main())
