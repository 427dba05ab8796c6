"""The folder to take away: the best configuration and its model, ready to run."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuner.answers.parts import BaselineLosses, FinalStage, ModelLosses
from tuner.data.preprocess import Preprocessor
from tuner.data.rows import Rows, SplitLabels
from tuner.errors import ExportError, HelperError
from tuner.export.density import Density
from tuner.export.folder import check_free, write_folder
from tuner.export.model_card import (
    CONFIG,
    DENSITY,
    FILES,
    METRICS,
    MODEL,
    ONNX,
    PREPROCESS,
    PT2,
    README,
    Baselines,
    Card,
    Confirmed,
    Losses,
    digest,
)
from tuner.export.readme import readme
from tuner.export.threshold import anomaly
from tuner.helper import Helper
from tuner.learning.inference.network import Network
from tuner.spec.canonical import to_yaml
from tuner.spec.final import is_final
from tuner.spec.length import INTERVALS
from tuner.spec.rules import NEWEST
from tuner.spec.space import SearchSpace
from tuner.spec.study import SearchSpec, StudySpec
from tuner.spec.work import TrainingPlan, Trial, TrialEnd

SUFFIX = "-best"
NAME_LENGTH = 100  # the longest name that a declaration may give
LIBRARIES = (
    "autoencoder-tuner",
    "torch",
    "numpy",
    "onnxruntime",
    "onnxscript",
    "optuna",
    "scikit-learn",
    "pandas",
    "safetensors",
)
QUANTILE = 0.99
CHECK_ROWS = 256  # validation rows that the ONNX graph is checked with


@dataclass(frozen=True, slots=True)
class Origin:
    """What a model was made from and by; None or empty where that is not known.

    Attributes:
        fingerprint: SHA-256 of the data and of its declaration.
        device: where it was trained.
        step: what trained it: a build of the compiled step, or `torch`.
        source_note: what became of the data's source since, in a sentence or two; empty where it is as it was.
        rules: by which the declaration was settled.
    """

    fingerprint: str | None = None
    device: str | None = None
    step: str | None = None
    source_note: str = ""
    rules: int = NEWEST


def write_export(  # noqa: PLR0913 - all by name; a class for them would be made here and nowhere else
    folder: Path,
    *,
    spec: StudySpec,
    base: Path,
    trial: Trial,
    plan: TrainingPlan,
    end: TrialEnd,
    network: Network,
    preprocessor: Preprocessor,
    rows: Rows,
    losses: ModelLosses,
    origin: Origin,
    labels: SplitLabels | None = None,
    quantile: float = QUANTILE,
    force: bool = False,
    on_step: Callable[[str], object] | None = None,
) -> Path:
    """Write the model and all that describes it into one folder, whole or not at all.

    `config.yaml`, `model.safetensors`, `preprocess.json`, `density.json`, `metrics.json`, the graphs `model.onnx`
    (compared with the model, by onnxruntime) and `model.pt2`, and `README.md`.

    Args:
        folder: where to.
        spec: the study's declaration.
        base: the folder that its `data.source` is relative to.
        trial: the trial that is exported.
        plan: of its training.
        end: how it ended.
        network: its best epoch's weights.
        preprocessor: fitted on its training rows.
        rows: what it was trained on and compared by, scaled.
        losses: what is known of its losses beside its validation loss.
        origin: what it was made from and by.
        labels: the rows' classes; of two, the rarer one are faults, which set no threshold.
        quantile: share of fresh rows that are not to count as anomalies.
        force: replace an existing export.
        on_step: called with what is being done, for it takes seconds.

    Returns:
        The folder's absolute path.

    Raises:
        ExportError: the place is taken, the disk refuses, or the ONNX graph does not give the model's numbers; no part
            of an export is left behind.
    """
    report = on_step or (lambda _: None)
    check_free(folder, force)
    config = configuration(spec, base, trial, plan, end, origin)
    facts = {
        **_identity(spec, trial, end, origin),
        **_architecture(network),
        "losses": _losses(end, losses),
        "columns": losses.columns,
        "final": _confirmed(trial, losses.final),
        "anomaly": anomaly(network, rows, quantile, spec.search.seed, losses.threshold_on_test, labels),
    }

    def fill(new: Path) -> None:
        _write(new / CONFIG, config)
        _write(new / PREPROCESS, preprocessor.to_json())
        network.save(new / MODEL)
        with _helper(folder) as helper:
            report("fitting the density of the codes")
            _write(new / DENSITY, _density(helper, network, rows, trial, spec.search.seed).to_json())
            report("writing model.onnx and model.pt2")
            helper.call(_write_graphs, new, network, preprocessor, _checked(rows))
        made = datetime.now(UTC).isoformat(timespec="seconds")
        _write(new / README, readme(Card(**facts, files={}, created_at=made), preprocessor))
        files = {name: digest((new / name).read_bytes()) for name in sorted(FILES - {CONFIG, METRICS})}
        card = Card(**facts, files=files, created_at=made)
        _write(new / METRICS, card.model_dump_json(indent=2) + "\n")

    return write_folder(folder, fill, force)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _helper(folder: Path) -> Iterator[Helper]:
    """A process for libraries that change the one they run in: PyTorch's exporters, scikit-learn."""
    try:
        with Helper() as helper:
            yield helper
    except HelperError as error:
        raise ExportError(f"{folder}: the export cannot be written, for {error}.") from None


def _checked(rows: Rows) -> Rows:
    """Those that the graph is compared on."""
    return Rows(rows.train[:0], rows.validation[:CHECK_ROWS], rows.test[:0])


def _write_graphs(new: Path, network: Network, preprocessor: Preprocessor, rows: Rows) -> None:
    from tuner.learning.inference.graphs import check_onnx, write_graphs  # noqa: PLC0415 - torch's exporters, a second

    model = network.raw(preprocessor.offset, preprocessor.scale, preprocessor.clip, preprocessor.limit)
    about = {"columns": json.dumps(preprocessor.names), "shape": json.dumps(preprocessor.shape)}
    write_graphs(model, new / ONNX, new / PT2, about)
    raw = preprocessor.inverse(rows.validation[:CHECK_ROWS])
    check_onnx(new / ONNX, model, raw.reshape(len(raw), -1))


def _density(helper: Helper, network: Network, rows: Rows, trial: Trial, seed: int) -> Density:
    """A variational autoencoder's codes are pulled towards the prior; any other's are fitted."""
    if trial.point.kind == "variational":
        return Density.prior(network.sizes[len(network.sizes) // 2])
    return helper.call(Density.fit, network.encode(rows.train), seed)


HEADER = """\
# The configuration of trial {number} of study {study}, with every value fixed.
#     tuner train config.yaml
# trains this model again: to the same bits on the same CPU with the same versions (see metrics.json).
# data.source is where the data stood when this was exported; change it if the data has moved.
"""


def configuration(spec: StudySpec, base: Path, trial: Trial, plan: TrainingPlan, end: TrialEnd, origin: Origin) -> str:
    """The text of config.yaml, which trains a trial again; arguments as for `write_export`."""
    exported = exported_spec(spec, base, trial, _length(plan, trial, end), origin)
    return HEADER.format(study=spec.name, number=trial.number) + to_yaml(exported)


def _length(plan: TrainingPlan, trial: Trial, end: TrialEnd) -> dict[str, int]:
    """The keys under search that train a trial again as it was trained: as long, and measured as often."""
    if plan.steps is not None:
        often = {} if plan.intervals == min(INTERVALS, plan.steps) else {"intervals": plan.intervals}
        return {"steps": plan.steps, **often}
    # A training that diverged early was planned longer, and a schedule's rates follow from the plan. The final stage
    # has lengths of its own, and its complete runs have all of them.
    intervals = plan.intervals if trial.point.scheduled and not is_final(end.number) else end.epochs
    thirds = {"thirds": plan.thirds} if plan.thirds else {}
    return {"epochs": max(1, intervals - plan.thirds), **thirds}


def exported_spec(spec: StudySpec, base: Path, trial: Trial, length: Mapping[str, int], origin: Origin) -> StudySpec:
    """A declaration of one trial alone: same data, split, seed and length (keys under search), nothing searched."""
    search = SearchSpec.model_validate(
        {"sampler": "random", "pruner": "none", "trials": 1, **length, "seed": spec.search.seed}
        | {"trial_seed": trial.seed}
    )
    return StudySpec(
        name=spec.name.removesuffix(SUFFIX)[: NAME_LENGTH - len(SUFFIX)] + SUFFIX,
        rules=origin.rules,
        data=spec.data.model_copy(update={"source": _absolute(spec.data.source, base)}),
        space=SearchSpace(**trial.point.as_dict()),
        loss=spec.loss,
        search=search,
        final=spec.final,
        device=origin.device or spec.device,
        precision=spec.precision,
        step=spec.step,
    )


def _absolute(source: str, base: Path) -> str:
    return source if source.startswith("sklearn:") else str(base.absolute() / Path(source).expanduser())


def _identity(spec: StudySpec, trial: Trial, end: TrialEnd, origin: Origin) -> dict[str, Any]:
    return {
        "study": spec.name,
        "trial": trial.number,
        "seed": trial.seed,
        "best_epoch": end.best_epoch,
        "epochs": end.epochs,
        "params": trial.point.as_dict(),
        "fingerprint": origin.fingerprint,
        "device": origin.device,
        "step": origin.step,
        "source_note": origin.source_note,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def _losses(end: TrialEnd, known: ModelLosses) -> Losses:
    return Losses(
        validation=_finite(end.value),
        validation_is=known.validation_is,
        test=_finite(known.test),
        baselines=Baselines(validation=_all_finite(known.validation_baselines), test=_all_finite(known.baselines)),
    )


def _confirmed(trial: Trial, final: FinalStage | None) -> Confirmed | None:
    if final is None or final.winner != trial.number or final.best is None:
        return None
    winner = final.best
    if winner.mean is None or final.exported is None:  # a winner has both
        return None
    return Confirmed(
        mean=winner.mean,
        low=winner.low,
        high=winner.high,
        losses=winner.losses,
        exported=final.exported,
        mean_test_loss=_finite(final.mean_test_loss),
        method=final.method,
        sentence=final.sentence,
    )


def _all_finite(losses: BaselineLosses | None) -> dict[str, float | None] | None:
    return None if losses is None else {name: _finite(value) for name, value in losses}


def _finite(value: float | None) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return value if value is not None and math.isfinite(value) else None


def _architecture(network: Network) -> dict[str, Any]:
    return {
        "parameters": network.parameters,
        "bounded": network.bounded,
        "sizes": network.sizes,
        "activation": network.activation,
        "loss": network.loss,
    }
