"""The winner in MLflow's registry: a model of MLflow's own, under the study's name, as its champion."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.errors import StudyError, TrackingError
from tuner.tracking.apart import Mlflow
from tuner.tracking.artifacts import open_store
from tuner.tracking.entries import KEY, StoreError, is_gone
from tuner.tracking.store import absolute, sentence

ALIAS: Final = "champion"
_MARK: Final = "tuner.weights"


@dataclass(frozen=True, slots=True)
class Registered:
    """A model in the registry.

    Attributes:
        name: the study's.
        version: of the registered model.
        uri: what `mlflow.pyfunc.load_model` takes.
        is_new: whether it was registered now.
        note: what the user is to know of the data that it was made from; empty where there is nothing.
    """

    name: str
    version: str
    uri: str
    is_new: bool
    note: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Champion:
    """A module to be registered.

    Attributes:
        name: the registered model's.
        run_id: MLflow's run of the study.
        key: the study's, which distinguishes it from another one of the same name.
        module: a torch module, raw rows (N, *shape) float64 to their reconstructions.
        example: some raw rows, more than one.
        mark: identifies these weights: registered twice, they stay one version.
        tags: of the version.
    """

    name: str
    run_id: str
    key: str
    module: Any
    example: NDArray[np.float64]
    mark: str
    tags: Mapping[str, str]


def register(champion: Champion, uri: str, force: bool = False) -> Registered:
    """Log the module on the study's run and make it the registered model's champion; once for the same weights.

    It is stored as torch.export writes it, without a pickle.

    Args:
        champion: the module.
        uri: MLflow's.
        force: also where the registered model of that name is another study's, or no study's.

    Raises:
        StudyError: it is another's, and `force` is not said.
        TrackingError: MLflow cannot be reached or refuses.
    """
    open_store(uri)
    try:
        with Mlflow(absolute(uri)) as mlflow:
            return mlflow.call(_register, champion, mlflow.uri, force)
    except StoreError as error:  # what MLflow's stores and transports raise
        raise TrackingError(sentence(uri, error)) from None


def _register(champion: Champion, uri: str, force: bool) -> Registered:
    """In the helper process, for models are logged to the one tracking uri that MLflow knows in a process."""
    import mlflow  # noqa: PLC0415  (1.7 s)

    mlflow.set_tracking_uri(uri)
    found, is_new = _registered(champion, force)
    return Registered(champion.name, str(found.version), f"models:/{champion.name}@{ALIAS}", is_new)


def _registered(champion: Champion, force: bool) -> tuple[Any, bool]:
    """The version that is the champion, and whether it is new."""
    import mlflow  # noqa: PLC0415

    found = _champion(champion.name)
    newest = found or _newest(champion.name)
    if newest is not None and not force:
        _check_ours(champion, newest)
    if found is not None and found.tags.get(_MARK) == champion.mark and _key(found) == champion.key:
        return found, False
    with redirect_stderr(io.StringIO()):  # MLflow prints it there
        tags = {**champion.tags, KEY: champion.key, _MARK: champion.mark}
        made = mlflow.register_model(_logged(champion), champion.name, tags=tags)
    mlflow.MlflowClient().set_registered_model_alias(champion.name, ALIAS, made.version)
    return made, True


def _champion(name: str) -> Any:
    """The registered version; None where there is none."""
    import mlflow  # noqa: PLC0415

    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, ALIAS)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def _newest(name: str) -> Any:
    """The last version of a registered model that has no champion; None where there is none."""
    import mlflow  # noqa: PLC0415

    versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    return max(versions, key=lambda version: int(version.version), default=None)


def _check_ours(champion: Champion, known: Any) -> None:
    """A study may replace what it registered itself.

    Raises:
        StudyError: it was registered by another study, or by hand.
    """
    key = _key(known)
    if key == champion.key:
        return
    since = datetime.fromtimestamp(known.creation_timestamp / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    whose = f"of another study of that name (key {key})" if key else "that no study of the tuner registered"
    raise StudyError(
        f"study {champion.name}: must not replace what it did not register, but MLflow's model {champion.name} has"
        f" version {known.version}, {whose}, since {since}{_made_by(known)};"
        f" `tuner register {champion.name} --force` makes this study's model the champion all the same."
    )


def _key(version: Any) -> str | None:
    """The key of the study that registered a version; before the tuner wrote it there, its run has it."""
    if KEY in version.tags:
        return str(version.tags[KEY])
    found = _run(version)
    return None if found is None else found.data.tags.get(KEY)


def _made_by(version: Any) -> str:
    """By whom, in which experiment and run, as far as MLflow knows."""
    found = _run(version)
    if found is None:
        return ""
    user = found.data.tags.get("mlflow.user", "unknown")
    return f", by {user} in experiment {found.info.experiment_id}, run {found.info.run_id}"


def _run(version: Any) -> Any:
    """The run that a version comes from; None where it comes from none, or from one that is gone."""
    import mlflow  # noqa: PLC0415

    try:
        return mlflow.MlflowClient().get_run(version.run_id) if version.run_id else None
    except mlflow.exceptions.MlflowException as error:
        if not is_gone(error):
            raise
        return None


def _logged(champion: Champion) -> str:
    """The model's uri, once it is logged on the study's run, whose state and times stay as they are."""
    import mlflow.pytorch  # noqa: PLC0415  (torch)
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415
    from mlflow.types.schema import Schema, TensorSpec  # noqa: PLC0415

    rows = Schema([TensorSpec(np.dtype(np.float64), (-1, *champion.example.shape[1:]))])
    logging.getLogger("torch.export").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = Model.log(
            artifact_path=None,
            name="model",
            flavor=mlflow.pytorch,
            run_id=champion.run_id,
            pytorch_model=champion.module,
            signature=ModelSignature(inputs=rows, outputs=rows),
            input_example=champion.example,
            pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "numpy", "mlflow")],
            serialization_format="pt2",
        )
    return str(info.model_uri)
