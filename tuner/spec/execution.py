"""Where a study's trials train, as a space file may say; no part of what is recorded of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuner.spec.distributions import Frozen


class ExecutionSpec(Frozen):
    """Where trials train. The table does not depend on it, so it may change whenever the study goes on."""

    executor: Literal["inline", "processes", "ray"] = Field(
        description="inline: in the process that runs the study; processes: worker processes; ray: a Ray cluster."
    )
    workers: int | None = Field(
        None, ge=1, le=1024, description="With processes: how many. Default: one per core or GPU."
    )
    address: str | None = Field(
        None, min_length=1, description="With ray: auto or host:port of a cluster. Default: one of this machine."
    )
    slots: str | None = Field(
        None, description="With ray: what a slot takes of a node, like cpu=1 or gpu=0.25. Default: a core, or a GPU."
    )
    most: int | None = Field(None, ge=1, description="With ray: slots at most. Default: all that the cluster has.")
    checkpoints: str | None = Field(
        None,
        min_length=1,
        description="With ray: a folder or bucket that all nodes reach, for large states. Default: through the driver.",
    )
