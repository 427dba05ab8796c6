"""Tunes autoencoders: a declared search space in, the best autoencoder out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api.study import Study as Study
    from tuner.api.study import run as run
    from tuner.api.train import train as train
    from tuner.api.workspace import workspace as workspace
    from tuner.export.model import load_model as load_model
    from tuner.remote.server import connect as connect

__version__: str
__all__ = ["Study", "connect", "load_model", "run", "train", "workspace"]

_HOMES = {
    "Study": "tuner.api.study",
    "connect": "tuner.remote.server",
    "load_model": "tuner.export.model",
    "run": "tuner.api.study",
    "train": "tuner.api.train",
    "workspace": "tuner.api.workspace",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch alone takes seconds, and every worker imports this."""
    if name == "__version__":
        return import_module("importlib.metadata").version("autoencoder-tuner")
    if name not in _HOMES:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
