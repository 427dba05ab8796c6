"""A registered model belongs to the study that registered it: another one of its name replaces it only by force."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from tuner.errors import StudyError
from tuner.ledger.ledger import Ledger
from tuner.ledger.records import StudyRecord
from tuner.tracking.publisher import publish_once
from tuner.tracking.registry import Champion, register

ROWS = np.ones((2, 3))


class Double(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows * 2


@pytest.fixture
def studies(store: str, tmp_path: Path, story: Any) -> Iterator[list[Champion]]:
    """Two people's studies `digits`, each in a ledger of its own, published to one MLflow."""
    found = []
    for name in ("first", "second"):
        ledger = Ledger.open(f"sqlite:///{tmp_path / name}.db")
        study = story.begin(ledger, "digits")
        story.finish(ledger, study.id)
        publish_once(ledger, study.id, store)
        found.append(champion(ledger, study, f"weights of {name}"))
        ledger.close()
    return iter(found)


def champion(ledger: Ledger, study: StudyRecord, mark: str) -> Champion:
    return Champion("digits", ledger.outbox.run_id(study.id, None) or "", study.key, Double(), ROWS, mark, {})


def forget_key(client: MlflowClient) -> None:
    """As the version before this one registered it."""
    version = client.get_model_version_by_alias("digits", "champion")
    client.delete_model_version_tag("digits", version.version, "tuner.key")


@pytest.mark.parametrize("old", [False, True], ids=["marked", "by its run"])
def test_another_studys_champion_is_replaced_by_force_alone(store: str, studies: Iterator[Champion], old: bool) -> None:
    """The sentence names the study, its run and the time; the owner goes on replacing its own, and force is enough."""
    (mine, theirs), client = studies, MlflowClient(store)
    assert register(mine, store).version == "1"
    if old:
        forget_key(client)
    with pytest.raises(StudyError) as refused:
        register(theirs, store)
    said = str(refused.value)
    assert f"has version 1, of another study of that name (key {mine.key}), since 20" in said
    assert f"run {mine.run_id}; `tuner register digits --force`" in said
    assert str(client.get_model_version_by_alias("digits", "champion").version) == "1"
    assert not register(mine, store).is_new
    made = register(theirs, store, force=True)
    assert str(client.get_model_version_by_alias("digits", "champion").version) == made.version
    assert client.get_model_version("digits", made.version).tags["tuner.key"] == theirs.key


def test_a_model_that_no_study_registered_is_left_alone(store: str, studies: Iterator[Champion]) -> None:
    """Somebody's own model of the same name, which has no champion."""
    mine, client = next(studies), MlflowClient(store)
    client.create_registered_model("digits")
    client.create_model_version("digits", "file:///nowhere")
    with pytest.raises(StudyError, match=re.escape("version 1, that no study of the tuner registered, since 20")):
        register(mine, store)
    assert len(client.search_model_versions("name = 'digits'")) == 1


def test_a_registered_model_follows_a_folder_that_was_moved(
    make_store: Callable[[str], str], ledger: Ledger, study: StudyRecord, tmp_path: Path
) -> None:
    """Its files are found in the new folder, by MLflow alone."""
    import mlflow

    publish_once(ledger, study.id, make_store("old"))
    register(champion(ledger, study, "weights"), f"sqlite:///{tmp_path / 'old' / 'mlflow.db'}")
    (tmp_path / "old").rename(tmp_path / "new")
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    publish_once(ledger, study.id, uri)
    client = MlflowClient(uri)
    place = client.get_model_version_download_uri("digits", "1")
    assert place.startswith((tmp_path / "new").as_uri())
    assert mlflow.pyfunc.load_model(place).predict(ROWS).tolist() == (2 * ROWS).tolist()
