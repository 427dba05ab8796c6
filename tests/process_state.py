"""All that a library could change in the process that calls it, and that the caller would notice."""

from __future__ import annotations

import gc
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any


def snapshot() -> dict[str, Any]:
    """Each part by its name, in values that can be compared."""
    state = {**_process(), **_interpreter()}
    for library, part in (("numpy", _numpy), ("torch", _torch), ("mlflow", _mlflow), ("optuna", _optuna)):
        if library in sys.modules:
            state |= part()
    return state


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs of what both have: a library that was imported meanwhile has no state of before."""
    both = {name: (before[name], after[name]) for name in before.keys() & after.keys()}
    return {name: _difference(*pair) for name, pair in both.items() if pair[0] != pair[1]}


def _difference(before: Any, after: Any) -> Any:
    """Of lists what is gone and what is new, unless they differ in order or number alone."""
    if isinstance(before, list) and isinstance(after, list):
        parts = [each for each in before if each not in after], [each for each in after if each not in before]
        return parts if any(parts) else (before, after)
    return before, after


def _process() -> dict[str, Any]:
    mask = os.umask(0o22)
    os.umask(mask)
    variables = {f"environment: {name}": value for name, value in os.environ.items()}
    limits = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        **variables,
        "environment": sorted(os.environ),
        "signal handlers": {str(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
        "signal mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "wakeup": signal.set_wakeup_fd(-1),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "folder": os.getcwd(),  # noqa: PTH109
        "umask": mask,
        "cores": sorted(os.sched_getaffinity(0)),
        "limits": [resource.getrlimit(number) for number in limits],
        "children": sorted(_children()),
        "open files": sorted(_open_files()),
    }


def _children() -> list[str]:
    tasks = Path("/proc/self/task")
    return [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def _open_files() -> list[str]:
    found = []
    for file in os.listdir("/proc/self/fd"):  # noqa: PTH208 - their names are read below, where one may be gone
        try:
            found.append(os.readlink(f"/proc/self/fd/{file}"))  # noqa: PTH115
        except OSError:  # the listing's own
            continue
    return [name for name in found if not name.startswith("/proc/")]


def _interpreter() -> dict[str, Any]:
    root = logging.getLogger()
    loggers = {"root": root, **root.manager.loggerDict}
    known = {name: _logger(logger) for name, logger in loggers.items() if isinstance(logger, logging.Logger)}
    return {
        **{f"logger: {name}": state for name, state in known.items()},
        "logging": (root.manager.disable, logging.raiseExceptions, str(logging.getLoggerClass())),
        "warnings": [str(each) for each in warnings.filters],
        "showing warnings": str(warnings.showwarning),
        "random": random.getstate(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "locale": locale.setlocale(locale.LC_ALL),
        "path": list(sys.path),
        "hooks": [str(hook) for hook in (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)],
        "streams": [id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "recursion": sys.getrecursionlimit(),
        "switching": sys.getswitchinterval(),
        "garbage": (gc.isenabled(), gc.get_threshold()),
    }


def _logger(logger: logging.Logger) -> tuple[Any, ...]:
    """A handler that does nothing is what the logging module itself adds where it finds none."""
    handlers = [str(handler) for handler in logger.handlers if not isinstance(handler, logging.NullHandler)]
    return logger.level, logger.disabled, logger.propagate, handlers, [str(each) for each in logger.filters]


def _numpy() -> dict[str, Any]:
    import numpy as np

    kind, keys, *rest = np.random.get_state()
    return {"numpy": (kind, keys.tobytes(), rest), "numpy errors": np.geterr(), "printing": str(np.get_printoptions())}


def _torch() -> dict[str, Any]:
    import torch

    return {
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch subnormals": bool((torch.tensor([1e-40]) * 1).item()),
        "torch modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), str(torch.get_default_dtype())),
        "torch determinism": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "torch precision": (torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32),
    }


def _mlflow() -> dict[str, Any]:
    import mlflow
    from mlflow import environment_variables as variables

    known = (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), str(mlflow.active_run()))
    waited = (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get(), variables.MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    return {"mlflow": known, "mlflow's requests": waited}


def _optuna() -> dict[str, Any]:
    import optuna

    return {"optuna": optuna.logging.get_verbosity()}
