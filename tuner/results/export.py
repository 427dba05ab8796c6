"""The folder to take away: the best configuration and its model, ready to run."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuner.data.preprocess import Preprocessor
from tuner.learning.inference import Network
from tuner.results.card import CONFIG, METRICS, MODEL, PREPROCESS, Baselines, Card, Confirmed, Losses, digest
from tuner.results.folder import write_folder
from tuner.spec.canonical import to_yaml
from tuner.spec.space import SearchSpace
from tuner.spec.study import SearchSpec, StudySpec
from tuner.spec.work import Trial, TrialEnd

SUFFIX = "-best"
NAME_LENGTH = 100  # the longest name that a declaration may give
LIBRARIES = ("autoencoder-tuner", "torch", "numpy", "optuna", "scikit-learn", "pandas", "safetensors")


def write_export(  # noqa: PLR0913 - all by name; a class for them would be made here and nowhere else
    folder: Path,
    *,
    spec: StudySpec,
    base: Path,
    trial: Trial,
    end: TrialEnd,
    network: Network,
    preprocessor: Preprocessor,
    metrics: Mapping[str, Any],
    force: bool = False,
) -> Path:
    """Write `config.yaml`, `model.safetensors`, `preprocess.json` and `metrics.json`, all or none.

    Args:
        folder: where to.
        spec: the study's declaration.
        base: the folder that its `data.source` is relative to.
        trial: the trial that is exported.
        end: how it ended.
        network: its best epoch's weights.
        preprocessor: fitted on its training rows.
        metrics: what is known beside: `best` (with `test_loss`), `final` (the summary's), `baselines` (of the test
            split), `validation_baselines`, `fingerprint` and `device`; any of them may be missing.
        force: replace an export that stands there.

    Returns:
        The folder's absolute path.

    Raises:
        ExportError: the place is taken, or the disk refuses; no part of an export is left behind.
    """
    config = HEADER.format(study=spec.name, number=trial.number) + to_yaml(
        exported_spec(spec, base, trial, end.epochs, metrics.get("device"))
    )
    preprocess = preprocessor.to_json()
    facts = {**_identity(spec, trial, end, metrics), **_architecture(network)}

    def fill(new: Path) -> None:
        (new / CONFIG).write_text(config, encoding="utf-8", newline="\n")
        (new / PREPROCESS).write_text(preprocess, encoding="utf-8", newline="\n")
        network.save(new / MODEL)
        files = {name: digest((new / name).read_bytes()) for name in (MODEL, PREPROCESS)}
        card = Card(**facts, files=files, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
        (new / METRICS).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8", newline="\n")

    return write_folder(folder, fill, force)


HEADER = """\
# The configuration of trial {number} of study {study}, with every value fixed.
#     tuner train config.yaml
# trains this model again: to the same bits on the same CPU with the same versions (see metrics.json).
# data.source is where the data stood when this was exported; change it if the data has moved.
"""


def exported_spec(spec: StudySpec, base: Path, trial: Trial, epochs: int, device: str | None) -> StudySpec:
    """A declaration of one trial alone: same data, split, seed and epochs, nothing searched."""
    search = SearchSpec(
        sampler="random", pruner="none", trials=1, epochs=epochs, seed=spec.search.seed, trial_seed=trial.seed
    )
    return StudySpec(
        name=spec.name.removesuffix(SUFFIX)[: NAME_LENGTH - len(SUFFIX)] + SUFFIX,
        data=spec.data.model_copy(update={"source": _absolute(spec.data.source, base)}),
        space=SearchSpace(**trial.point.as_dict()),
        loss=spec.loss,
        search=search,
        final=spec.final,
        device=device or spec.device,
        precision=spec.precision,
    )


def _absolute(source: str, base: Path) -> str:
    return source if source.startswith("sklearn:") else str(base.absolute() / Path(source).expanduser())


def _identity(spec: StudySpec, trial: Trial, end: TrialEnd, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "study": spec.name,
        "trial": trial.number,
        "seed": trial.seed,
        "best_epoch": end.best_epoch,
        "epochs": end.epochs,
        "losses": _losses(end, metrics),
        "final": _confirmed(trial, metrics.get("final")),
        "params": trial.point.as_dict(),
        "fingerprint": metrics.get("fingerprint"),
        "device": metrics.get("device"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def _losses(end: TrialEnd, metrics: Mapping[str, Any]) -> Losses:
    best = metrics.get("best") or {}
    return Losses(
        validation=_finite(end.value),
        test=_finite(best.get("test_loss")),
        baselines=Baselines(
            validation=_all_finite(metrics.get("validation_baselines")), test=_all_finite(metrics.get("baselines"))
        ),
    )


def _confirmed(trial: Trial, final: Mapping[str, Any] | None) -> Confirmed | None:
    if final is None or final["winner"] != trial.number:
        return None
    (winner,) = (one for one in final["configurations"] if one["trial"] == trial.number)
    return Confirmed(
        mean=winner["mean"],
        low=winner["low"],
        high=winner["high"],
        losses=tuple(winner["losses"]),
        exported=final["exported"],
        mean_test_loss=_finite(final["mean_test_loss"]),
        method=final["method"],
        sentence=final["sentence"],
    )


def _all_finite(losses: Mapping[str, float] | None) -> dict[str, float | None] | None:
    return None if losses is None else {name: _finite(value) for name, value in losses.items()}


def _finite(value: float | None) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return value if value is not None and math.isfinite(value) else None


def _architecture(network: Network) -> dict[str, Any]:
    return {
        "parameters": network.parameters,
        "sizes": network.sizes,
        "activation": network.activation,
        "loss": network.loss,
    }
