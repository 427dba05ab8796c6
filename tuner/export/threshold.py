"""Where a score begins to be unusual, on which rows that was set, and what it comes to on rows that did not set it.

A score is unusual when it is above the ceil((n + 1) q)-th smallest of n others (split conformal prediction, Vovk et al.
2005, Lei et al. 2018): of fresh rows like those, a share of 1 - ceil((n + 1) q) / (n + 1), which is at most 1 - q, is
above it on average, whatever the scores' distribution. This holds for rows that chose nothing. The validation rows
chose the epoch and, in a study, the configuration, so their scores are a little too low and more fresh rows than that
are above.

Legend: N rows, F features.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tuner.data.rows import Matrix, Rows, SplitLabels
from tuner.export.model_card import Anomaly, Checked, Faults
from tuner.spec.work import derive_seed

if TYPE_CHECKING:
    from tuner.learning.inference.network import Network

HEADROOM: Final = 1e-3  # of the threshold above the score that sets it, at most
Values = NDArray[np.float64]


def anomaly(
    network: Network, rows: Rows, quantile: float, seed: int, on_test: bool, labels: SplitLabels | None = None
) -> Anomaly:
    """The threshold, set on half of the test rows where that may be and is enough, else on the validation rows.

    Half of the test rows is enough where it has at least 1 / (1 - quantile) rows, 100 for 0.99: with fewer there is no
    such smallest score. The other half gives the share that is above the threshold. Of too few validation rows the
    highest score is taken, and `expected` says what that comes to.

    Args:
        network: gives the scores.
        rows: scaled rows.
        quantile: share of fresh rows that are not to count as anomalies.
        seed: the study's; the halves are drawn by it.
        on_test: whether the test rows may be used, for the study is settled or nothing was compared.
        labels: the rows' classes: of two, the rarer one are faults, which set no threshold; what it finds of those
            among the validation rows is told.
    """
    if labels is None or labels.anomaly is None or (labels.validation == labels.anomaly).all():
        return _of_rows(network, rows, quantile, seed, on_test)
    fault, tested = labels.validation == labels.anomaly, labels.test == labels.anomaly
    normal = Rows(rows.train, rows.validation[~fault], rows.test[~tested])
    known = _of_rows(network, normal, quantile, seed, on_test)
    limit = math.inf if known.threshold is None else known.threshold
    above = ~(network.losses(rows.validation) <= limit)
    found, alarms = int(above[fault].sum()), int(above[~fault].sum())
    faults = Faults(rows=int(fault.sum()), found=found, normal=len(normal.validation), alarms=alarms)
    return known.model_copy(update={"faults": faults})


def _of_rows(network: Network, rows: Rows, quantile: float, seed: int, on_test: bool) -> Anomaly:
    if not on_test or len(rows.test) // 2 < _enough(quantile):
        return _set(network.losses(rows.validation), quantile, "validation")
    first, second = halves(rows.test, seed)
    known = _set(network.losses(first), quantile, "test")
    if known.threshold is None:
        return known
    above = ~(network.losses(second) <= known.threshold)  # NaN is above
    return known.model_copy(update={"checked": Checked(rows=len(second), above=int(above.sum()))})


def halves(rows: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    """Rows (N, F) in two halves drawn by chance, the second one larger by one where N is odd."""
    order = np.random.default_rng(derive_seed(seed, "threshold")).permutation(len(rows))
    half = len(rows) // 2
    return rows[np.sort(order[:half])], rows[np.sort(order[half:])]


def described(known: Anomaly) -> str:
    """On which rows a threshold was set, and what is to be expected of it; without a capital and a full stop."""
    return _expected(known) + ("" if known.faults is None else f"; {_found(known.faults)}")


def _found(faults: Faults) -> str:
    if faults.recall is None:
        return "no validation row is a labelled fault, so what it finds is not known"
    words = f"of {faults.rows} labelled faults among the validation rows it finds {faults.found}"
    words += f" (recall {100 * faults.recall:.0f} %)"
    if faults.precision is None:
        return words
    alarms = f"{faults.alarms} of {faults.normal} normal ones are above it"
    return f"{words}, and {alarms} (precision {100 * faults.precision:.0f} %)"


def _expected(known: Anomaly) -> str:
    if known.expected is None:  # an export of an earlier version
        return f"{known.quantile:.4g} of the {known.rows} validation rows score at most that"
    few = f", too few for {_percent(1 - known.quantile)}" * (known.expected > 1 - known.quantile + 1e-9)
    normal = "" if known.faults is None else "normal "
    words = f"set on {known.rows} {normal}{known.split} rows{few}: {_percent(known.expected)} of fresh rows like them"
    if known.checked is not None:
        other = f"{known.checked.above} of the other {known.checked.rows} {normal}test rows"
        return f"{words} are expected above it, and {other} are ({_percent(known.checked.share)})"
    if known.split == "test":
        return f"{words} are expected above it"
    return f"{words} would be above it had these rows not chosen the model, so expect more"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _enough(quantile: float) -> float:
    rest = 1 - Fraction(repr(quantile))
    return math.ceil(1 / rest) if rest else math.inf


def _set(scores: Values, quantile: float, split: Literal["validation", "test"]) -> Anomaly:
    threshold, rank = conformal(scores, quantile)
    return Anomaly(
        quantile=quantile,
        threshold=threshold if math.isfinite(threshold) else None,
        rows=len(scores),
        split=split,
        expected=1 - rank / (len(scores) + 1),
    )


def conformal(scores: Values, quantile: float) -> tuple[float, int]:
    """The threshold that scores (N,) set, and the rank of the score that sets it, counted from 1.

    It is a little above that score and below the next one: on the score itself rounding would decide about its own row,
    for onnxruntime's last bits are not PyTorch's. Infinite where that score is.
    """
    known = np.sort(np.where(np.isnan(scores), np.inf, scores))
    # In fractions, for 0.07 * 100 is 7.000000000000001 and its ceiling 8.
    rank = min(math.ceil(Fraction(repr(quantile)) * (len(known) + 1)), len(known))
    reached = float(known[rank - 1])
    above = float(known[known > reached].min(initial=np.inf))
    return min((reached + above) / 2, reached * (1 + HEADROOM)), rank
