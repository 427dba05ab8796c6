"""Whether the stated interval of an answer holds what fresh seeds give.

    python benchmarks/intervals.py [--sets mri ...] [--seeds 8] [--fresh 30] [--json FILE]

A study is run as it is declared, and its answer's mean and 95 % interval are noted. Then the same study is continued
with `final.seeds` larger by 30: the winner stays, and these runs had no part in anything. Said are the share of studies
whose interval holds their mean (an exact one would hold 94.5 % of them, for a mean of 30 is not the truth itself), how
far their mean lies from the stated one, and how far above the exported run's loss, which is the lowest of its seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from answers import SETS, SPACE, data_set
from sklearn import datasets

import tuner

BUNDLED = ("iris", "wine", "breast_cancer", "diabetes")
TRIALS = 27


def rows_of(name: str) -> Any:
    """A set's rows, (N, F)."""
    return data_set(name) if name in SETS else getattr(datasets, f"load_{name}")().data.astype(np.float32)


def declared(name: str, seed: int, seeds: int | None) -> dict[str, Any]:
    """The study, perhaps with so many runs of its winner."""
    final = {} if seeds is None else {"final": {"seeds": seeds}}
    return {
        "name": f"{name}-{seed}",
        "data": {"source": "rows.npy"},
        "space": {
            **SPACE,
            "batch_size": {"type": "categorical", "choices": [16, 32, 64]},
            "bottleneck": min(8, rows_of(name).shape[1] // 2),
        },
        "search": {"trials": TRIALS, "seed": seed},
        "device": "cpu",
        **final,
    }


def measured(name: str, seed: int, fresh: int) -> dict[str, Any]:
    """One study, in the current folder."""
    first = tuner.run(declared(name, seed, None), workers=0).summary.final
    stated = first.configurations[0]
    more = tuner.run(declared(name, seed, first.seeds + fresh), workers=0).summary.final
    after = more.configurations[0]
    if after.trial != stated.trial:
        raise RuntimeError(f"{name}, seed {seed}: more runs of the winner made another configuration win")
    losses = np.array(after.losses[first.seeds :])
    return {
        "set": name,
        "seed": seed,
        "seeds": first.seeds,
        "holds": bool(stated.low <= losses.mean() <= stated.high),
        "side": int(np.sign(losses.mean() - stated.mean)),
        "fresh mean / stated mean": float(losses.mean() / stated.mean),
        "fresh mean / exported loss": float(losses.mean() / min(stated.losses)),
        "half width / mean": float((stated.high - stated.mean) / stated.mean),
    }


def summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """All studies, in a few figures."""
    holds = np.array([each["holds"] for each in found])
    missed = [each["side"] for each in found if not each["holds"]]
    ratios = np.array([each["fresh mean / stated mean"] for each in found])
    return {
        "studies": len(found),
        "hold": int(holds.sum()),
        "share": float(holds.mean()),
        "missed, fresh mean above the interval": sum(side > 0 for side in missed),
        "fresh mean / stated mean": float(ratios.mean()),
        "its standard error": float(ratios.std(ddof=1) / len(ratios) ** 0.5) if len(ratios) > 1 else None,
        "fresh mean / exported loss": float(np.mean([each["fresh mean / exported loss"] for each in found])),
        "half width / mean, median": float(np.median([each["half width / mean"] for each in found])),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=[*SETS, *BUNDLED], choices=[*SETS, *BUNDLED])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--fresh", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    target = None if args.json is None else args.json.resolve()
    os.environ |= {"TUNER_DATABASE_URL": "sqlite:///tuner.db", "MLFLOW_TRACKING_URI": "none"}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="intervals-", ignore_cleanup_errors=True) as folder:
        for seed in range(args.seeds):
            for name in args.sets:
                here = Path(folder, f"{name}-{seed}")
                here.mkdir()
                os.chdir(here)
                np.save("rows.npy", rows_of(name))
                found.append(measured(name, seed, args.fresh))
                sys.stdout.write(f"{json.dumps(found[-1])}\n")
                sys.stdout.flush()
                if target is not None:
                    target.write_text(json.dumps({"summed": summed(found), "studies": found}, indent=1))
    sys.stdout.write(f"{json.dumps(summed(found), indent=1)}\n")


if __name__ == "__main__":
    main()
