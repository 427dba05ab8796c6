"""Claims about studies whose split has a seed of its own: what searching varies by, on fixed rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import tiny

import tuner
from tuner.api.listing import compare
from tuner.errors import StudyError
from tuner.spec.canonical import to_yaml
from tuner.spec.reader import read_spec


def declared(name: str, search_seed: int, **data: int) -> dict[str, Any]:
    search = {"trials": 3, "epochs": 3, "cohort": 3, "seed": search_seed}
    return tiny(name=name, data={"source": "sklearn:iris", **data}, search=search, final={"top": 1, "seeds": 2})


def test_studies_with_other_search_seeds_are_compared_on_the_same_rows(workspace: Path) -> None:
    """Other trials, the same prepared rows, a fair comparison; without the key they are refused as before."""
    one, two = (tuner.run(declared(f"s{seed}", seed, seed=8), workers=0) for seed in (1, 2))
    assert [record.point for record in one.records] != [record.point for record in two.records]
    assert len(list(Path(".tuner/prepared").glob("*.npy"))) == 1
    found = compare(["s1", "s2"])
    assert found.fair, found.differences
    tuner.run(declared("other", 1), workers=0)
    differences = compare(["s1", "other"]).differences
    assert list(differences) == [
        "the seed that draws the split (data.seed, by default search.seed) differs: s1 has 8, other has 1."
    ]


def test_an_export_keeps_the_rows(workspace: Path) -> None:
    """Its configuration names the split's seed, and trains to the loss that the study gave; the study goes on."""
    study = tuner.run({**declared("s", 1, seed=8), "final": "none"}, workers=0)
    study.export("best")
    assert read_spec("best/config.yaml").data.seed == 8
    again = tuner.train("best/config.yaml")
    assert again.value == study.best.value
    with pytest.raises(StudyError, match=r"data\.seed was 8 and is now 9"):
        tuner.run({**declared("s", 1, seed=9), "final": "none"}, workers=0)


def test_the_default_may_be_written_out(workspace: Path) -> None:
    """A study that was begun without the key takes the seed that it has; written down again it leaves it out."""
    study = tuner.run({**declared("s", 1), "final": "none"}, workers=0)
    assert "seed" not in to_yaml(study.spec).partition("space:")[0]
    assert tuner.run({**declared("s", 1, seed=1), "final": "none"}, workers=0).csv() == study.csv()
