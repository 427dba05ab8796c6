"""Claims about the anomaly threshold: the share that was asked for, of rows that it has never seen."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tuner.data.rows import Rows, SplitLabels
from tuner.export.apply import Request, apply
from tuner.export.model import load_model
from tuner.export.model_card import Anomaly
from tuner.export.threshold import anomaly, conformal, described, halves
from tuner.learning.inference.network import Network

STUDIES = 1500


class Identity:
    """A network whose score of a row is the row's one value."""

    def losses(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return rows[:, 0].astype(np.float64)


NETWORK = cast(Network, Identity())


def of_study(seed: int, test: int = 400) -> Rows:
    """Rows of a study, whose validation rows chose the model for being low there: their scores are 10 % lower."""
    draw = np.random.default_rng(seed)
    scores = [draw.lognormal(sigma=0.8, size=(size, 1)).astype(np.float32) for size in (1, 300, test)]
    return Rows(scores[0], np.float32(0.9) * scores[1], scores[2])


def fresh_share(threshold: float) -> float:
    """The share of fresh rows above it, exactly."""
    return 0.5 * math.erfc(math.log(threshold) / 0.8 / math.sqrt(2))


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
def test_of_fresh_rows_the_nominal_share_is_above(quantile: float) -> None:
    """Over many studies the mean share is what the export says, within three standard errors, and at most the one that
    was asked for; so is the share of the other half. A quantile of validation rows would flag more."""
    made = [anomaly(NETWORK, of_study(seed), quantile, seed, True) for seed in range(STUDIES)]
    fresh = np.array([fresh_share(known.threshold) for known in made if known.threshold is not None])
    other = np.array([known.checked.share for known in made if known.checked is not None])
    assert {(known.split, known.rows) for known in made} == {("test", 200)}
    assert len(fresh) == len(other) == STUDIES
    expected = made[0].expected
    assert expected is not None
    assert 1 - quantile - 1 / 200 < expected <= 1 - quantile + 1e-12
    for shares in (fresh, other):
        assert shares.mean() == pytest.approx(expected, abs=3 * shares.std() / math.sqrt(STUDIES) + expected / 500)
    on_validation = [anomaly(NETWORK, of_study(seed), quantile, seed, False).threshold for seed in range(STUDIES)]
    assert np.mean([fresh_share(known) for known in on_validation if known is not None]) > 1.1 * (1 - quantile)


@pytest.mark.parametrize(("n", "quantile", "rank"), [(99, 0.99, 99), (98, 0.99, 98), (99, 0.07, 7), (9, 0.5, 5)])
def test_the_threshold_is_the_conformal_quantile(n: int, quantile: float, rank: int) -> None:
    """The ceil((n + 1) q)-th smallest score, in exact fractions, or the highest where there is no such one: a little
    above it, and below the next."""
    scores = np.random.default_rng(n).permutation(n) + 1.0
    threshold, found = conformal(scores, quantile)
    assert found == rank
    assert rank < threshold < rank + 0.5


@pytest.mark.parametrize(("test", "split", "rows"), [(200, "test", 100), (201, "test", 100), (199, "validation", 300)])
def test_half_of_the_test_rows_is_enough_from_a_hundred_on(test: int, split: str, rows: int) -> None:
    """1 / (1 - quantile) rows; with fewer the validation rows set it, and the words say so."""
    known = anomaly(NETWORK, of_study(1, test), 0.99, 1, True)
    assert (known.split, known.rows) == (split, rows)
    assert (known.checked is None) is (split == "validation")
    assert f"set on {rows} {split} rows: " in described(known)
    assert ("had these rows not chosen the model" in described(known)) is (split == "validation")


def test_too_few_rows_say_what_they_come_to() -> None:
    """Nothing below 1 of 21 can be told from 20 rows."""
    rows = of_study(1)
    known = anomaly(NETWORK, replace(rows, validation=rows.validation[:20]), 0.99, 1, False)
    assert known.threshold == pytest.approx(rows.validation[:20].max(), rel=2e-3)
    assert described(known).startswith("set on 20 validation rows, too few for 1 %: 4.8 % of fresh rows like them")


def test_all_of_the_rows_may_be_usual() -> None:
    """A quantile of 1 puts the threshold above every validation row."""
    rows = of_study(1)
    known = anomaly(NETWORK, rows, 1.0, 1, True)
    assert (known.split, known.rows) == ("validation", 300)
    assert known.threshold is not None
    assert known.threshold > rows.validation.max()


def test_the_halves_are_drawn_by_seed_and_share_no_row() -> None:
    """Every row is in one of them, for the same seed in the same one, and not in the order of the data."""
    rows = np.arange(401, dtype=np.float32)[:, None]
    first, second = halves(rows, 5)
    assert (len(first), len(second)) == (200, 201)
    assert sorted([*first[:, 0], *second[:, 0]]) == rows[:, 0].tolist()
    np.testing.assert_array_equal(halves(rows, 5)[0], first)
    assert (halves(rows, 6)[0] != first).any()
    assert 50 < (first < 200).sum() < 150


@pytest.mark.parametrize(("infinite", "known"), [(3, False), (1, True)])
def test_rows_that_score_infinity_count_as_the_highest(infinite: int, known: bool) -> None:
    """As many as the threshold would let pass leave a threshold; more do not."""
    rows = of_study(1)
    rows.test[halves(np.arange(400)[:, None].astype(np.float32), 1)[0][:infinite, 0].astype(int)] = np.inf
    made = anomaly(NETWORK, rows, 0.99, 1, True)
    assert (made.threshold is not None) is known
    assert made.split == "test"


def test_an_export_says_on_which_rows_its_threshold_was_set(winner: Any, tmp_path: Path) -> None:
    """In metrics.json, README.md and what `apply` answers; an export of the form before keeps its own words."""
    folder = winner.export(tmp_path / "best")
    card = json.loads((folder / "metrics.json").read_text())
    assert card["format"] == 5
    assert card["anomaly"]["split"] == "validation"
    assert card["anomaly"]["expected"] == pytest.approx(1 / 11)
    np.save(tmp_path / "rows.npy", winner.rows)
    words = "set on 10 validation rows, too few for 1 %: 9.1 % of fresh rows like them would be above it"
    assert words in (folder / "README.md").read_text()
    assert words in apply(folder, Request("score", tmp_path / "s.npy", str(tmp_path / "rows.npy"))).set_on
    card["format"] = 2
    for name in ("split", "expected", "checked"):
        del card["anomaly"][name]
    (folder / "metrics.json").write_text(json.dumps(card))
    assert load_model(folder).card.anomaly == Anomaly(quantile=0.99, threshold=card["anomaly"]["threshold"], rows=10)
    done = apply(folder, Request("score", tmp_path / "s.npy", str(tmp_path / "rows.npy")))
    assert done.set_on == "0.99 of the 10 validation rows score at most that"


def labelled(seed: int) -> tuple[Rows, SplitLabels]:
    """Of validation and test rows every tenth is a fault, which scores five times as much."""
    rows, fault = of_study(seed), np.arange(400) % 10 == 0
    for part in (rows.validation, rows.test):
        part[fault[: len(part)]] *= 5
    labels = SplitLabels(np.zeros(1, np.int32), fault[:300].astype(np.int32), fault.astype(np.int32), 2, 1)
    return rows, labels


@pytest.mark.parametrize("on_test", [False, True])
def test_faults_set_no_threshold_and_are_counted(on_test: bool) -> None:
    """It is the one of the normal rows alone; recall and precision are those of the validation rows, recomputed."""
    rows, labels = labelled(3)
    known = anomaly(NETWORK, rows, 0.95, 3, on_test, labels)
    fault, tested = labels.validation == 1, labels.test == 1
    alone = anomaly(NETWORK, Rows(rows.train, rows.validation[~fault], rows.test[~tested]), 0.95, 3, on_test)
    assert known.model_copy(update={"faults": None}) == alone
    assert known.threshold is not None and known.faults is not None
    above = rows.validation[:, 0] > known.threshold
    assert known.faults.recall == pytest.approx(above[fault].mean())
    assert known.faults.precision == pytest.approx(fault[above].mean())
    unlabelled = anomaly(NETWORK, rows, 0.95, 3, on_test)
    assert unlabelled.threshold is not None
    assert unlabelled.threshold > 1.5 * known.threshold
    text = described(known)
    assert "normal test rows" in text if on_test else "normal validation rows" in text
    assert f"of 30 labelled faults among the validation rows it finds {above[fault].sum()} (recall" in text
    assert f"{above[~fault].sum()} of 270 normal ones are above it (precision" in text


def test_more_classes_and_faults_alone_set_it_as_before() -> None:
    """There is no fault among three classes, and no normal row to set it on."""
    rows, labels = labelled(4)
    plain = anomaly(NETWORK, rows, 0.95, 4, False)
    assert anomaly(NETWORK, rows, 0.95, 4, False, replace(labels, classes=3, anomaly=None)) == plain
    only = replace(labels, validation=np.ones(300, np.int32))
    assert anomaly(NETWORK, rows, 0.95, 4, False, only) == plain
    none = anomaly(NETWORK, rows, 0.95, 4, False, replace(labels, validation=np.zeros(300, np.int32)))
    assert described(none).endswith("no validation row is a labelled fault, so what it finds is not known")
