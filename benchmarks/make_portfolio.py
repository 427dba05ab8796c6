"""Makes `tuner/search/portfolio.json` of the tables that `benchmarks/loss_tables.py` recorded.

    python benchmarks/make_portfolio.py [--count 12] [--print]

All tables have the same configurations. The first chosen is the one with the lowest mean regret over the tables, each
next one that which lowers the mean of the best chosen's regret the most; regret is the logarithm of the loss over the
table's lowest, at most MOST, the mean of EPOCHS. Tables of one family count as one. Only configurations with the skip
that a space has by default are chosen, for most spaces leave it at that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from loss_tables import EPOCHS as RECORDED
from loss_tables import Table, drawn, tables
from numpy.typing import NDArray
from shipped import SETS

FILE = Path(__file__).resolve().parent.parent / "tuner/search/portfolio.json"
COUNT = 12
EPOCHS = (50, 100)
MOST = 1.0  # how bad it is where nothing fits: beyond a factor of e no difference counts
SKIP = "pca"
ALONE = 0.1  # how much a configuration's own mean regret counts: where the others say nothing, the robust one is taken
DIGITS = 3  # of a number that is written down


def regrets(known: Sequence[Table]) -> NDArray[np.float64]:
    """(S tables, C configurations)."""
    places = [RECORDED.index(epoch) for epoch in EPOCHS]
    losses_SCE = np.stack([table.losses_CE[:, places].astype(np.float64) for table in known])
    return np.minimum(np.log(losses_SCE / losses_SCE.min(axis=1, keepdims=True)), MOST).mean(axis=2)


def greedy(known: Sequence[Table], count: int) -> list[int]:
    """The chosen configurations' places, in the order in which they were chosen."""
    regrets_SC = regrets(known)
    families = [SETS[table.name].family for table in known]
    weights_S = np.array([1 / families.count(family) for family in families])
    others_C = np.array([point.get("skip", SKIP) != SKIP for point in known[0].points])
    best_S, chosen = np.full(len(known), MOST), list[int]()
    for _ in range(count):
        means_C = weights_S @ (np.minimum(regrets_SC, best_S[:, None]) + ALONE * regrets_SC)
        means_C[chosen], means_C[others_C] = np.inf, np.inf
        chosen.append(int(means_C.argmin()))
        best_S = np.minimum(best_S, regrets_SC[:, chosen[-1]])
    return chosen


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--print", action="store_true", help="Only print it.")
    asked = parser.parse_args()
    known = tables()
    points = drawn(len(known[0].points))
    chosen = [{name: _rounded(value) for name, value in points[place].items()} for place in greedy(known, asked.count)]
    made = {"format": 1, "made_of": [table.name for table in known], "configurations": chosen}
    text = json.dumps(made, indent=1) + "\n"
    sys.stdout.write(text)
    if not asked.print:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
