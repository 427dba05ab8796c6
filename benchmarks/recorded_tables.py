"""Whether a change of the code changed what is trained: studies' tables and answers, byte for byte.

    python benchmarks/recorded_tables.py record FOLDER --code OLD    with another checkout's code, for example of a tag
    python benchmarks/recorded_tables.py compare FOLDER              with this code; exit code 1 where a byte differs

With `--rules N` in both where the codes' newest rules differ.

FOLDER gets one CSV of trials and one JSON of the final stage and test losses per study. They are the same bits on one
kind of CPU alone, so FOLDER is not committed: record it on the machine at hand. The space files are always this
checkout's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPACES = ROOT / "search_spaces"
# name of the record: space file and changes of it
STUDIES = {
    "digits": ("digits.yaml", ()),
    "kinds": ("kinds.yaml", ()),
    "digits_front": ("digits_front.yaml", ()),
    "breast_cancer": ("breast_cancer.yaml", ()),
    "smoke": ("smoke.yaml", ()),
    "hyperband": ("digits.yaml", ("search.pruner=hyperband", "search.trials=54", "search.epochs=27")),
    "patience": (
        "digits.yaml",
        ("search.patience=1", "search.min_improvement=0.2", "search.cohort=9", "search.epochs=20"),
    ),
    "median": ("digits.yaml", ("search.pruner=median", "search.trials=32", "search.epochs=12")),
}
# What answers had from the beginning: keys that a later version adds do not change what is trained.
KEPT = ("study", "counts", "best", "final", "front", "front_pca", "baselines")


def recorded(code: Path, space: str, changes: tuple[str, ...]) -> dict[str, str]:
    """The trials table (csv) and the answer (json) of one study, run by that code in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(code), "MLFLOW_DISABLE_TELEMETRY": "true"}
    sets = [word for change in changes for word in ("--set", change)]
    with tempfile.TemporaryDirectory() as folder:

        def tuner(*words: str) -> str:
            ran = subprocess.run(
                [sys.executable, "-m", "tuner", *words],
                check=False,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            if ran.returncode:
                raise SystemExit(f"tuner {' '.join(words)}: exit code {ran.returncode}: {ran.stderr}")
            return ran.stdout

        answer = json.loads(tuner("run", str(SPACES / space), "--json", *sets))
        table = tuner("trials", answer["study"])
    kept = {key: answer.get(key) for key in KEPT}
    return {"csv": table, "json": json.dumps(kept, indent=1, sort_keys=True) + "\n"}


def compared(path: Path, text: str) -> bool:
    """Whether a record is the text; what differs is put beside it."""
    same = path.read_text(encoding="utf-8") == text
    if not same:
        path.with_stem(f"{path.stem}.now").write_text(text, encoding="utf-8")
    print(f"{path.name}: {'the same' if same else 'DIFFERS'}", flush=True)
    return same


def main() -> int:
    """Record or compare; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--code", type=Path, default=ROOT, help="The checkout whose code runs. Default: this one.")
    parser.add_argument("--rules", type=int, help="By which the studies are settled. Default: each code's newest.")
    parser.add_argument("--only", choices=STUDIES, nargs="*", default=list(STUDIES))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    same = True
    for name in asked.only:
        space, changes = STUDIES[name]
        by_rules = () if asked.rules is None else (f"rules={asked.rules}",)
        for ending, text in recorded(asked.code.resolve(), space, (*changes, *by_rules)).items():
            path = asked.folder / f"{name}.{ending}"
            if asked.what == "record":
                path.write_text(text, encoding="utf-8")
                print(f"recorded {path.name}", flush=True)
            else:
                same = compared(path, text) and same
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
