"""The winner in MLflow's registry: a model of MLflow's own, under the study's name, as its champion."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.errors import TrackingError
from tuner.tracking.store import absolute, quieten, sentence

ALIAS: Final = "champion"
_MARK: Final = "tuner.weights"
_URI: Final = "MLFLOW_TRACKING_URI"


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
        module: a torch module, raw rows (N, *shape) float64 to their reconstructions.
        example: some raw rows, more than one.
        mark: what tells these weights from others: registered twice, they stay one version.
        tags: of the version.
    """

    name: str
    run_id: str
    module: Any
    example: NDArray[np.float64]
    mark: str
    tags: Mapping[str, str]


def register(champion: Champion, uri: str) -> Registered:
    """Log the module on the study's run and make it the registered model's champion; once for the same weights.

    It is stored as torch.export writes it, without a pickle.

    Raises:
        TrackingError: MLflow cannot be reached or refuses.
    """
    quieten()
    try:
        with _tracked_by(absolute(uri)):
            found, is_new = _registered(champion)
    except Exception as error:  # what MLflow's stores and transports raise
        raise TrackingError(sentence(uri, error)) from None
    return Registered(champion.name, str(found.version), f"models:/{champion.name}@{ALIAS}", is_new)


@contextmanager
def _tracked_by(uri: str) -> Iterator[None]:
    """Models are logged to the one tracking uri that MLflow knows in a process: lent to us, and given back."""
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri  # noqa: PLC0415  (1.7 s)

    given = os.environ.get(_URI)
    try:
        with _use_tracking_uri(uri):
            yield
    finally:
        if given is not None:
            os.environ[_URI] = given


def _registered(champion: Champion) -> tuple[Any, bool]:
    """The version that is the champion, and whether it is new."""
    import mlflow  # noqa: PLC0415

    found = _champion(champion.name)
    if found is not None and found.tags.get(_MARK) == champion.mark:
        return found, False
    with redirect_stderr(io.StringIO()):  # MLflow tells of it there
        tags = {**champion.tags, _MARK: champion.mark}
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
