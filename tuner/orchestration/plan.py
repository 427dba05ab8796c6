"""What a run of a study is to do and where, settled before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tuner.execution.choice import ExecutorChoice
from tuner.execution.context import Workplace
from tuner.execution.executors import sized
from tuner.learning import device as devices
from tuner.learning.checkpoint_store import CheckpointFolder
from tuner.learning.packs import step_name
from tuner.search.minutes import Planned
from tuner.settings import Workspace
from tuner.spec.continuing import as_planned
from tuner.spec.defaults import completed, rules_of
from tuner.spec.length import Length
from tuner.spec.rules import NEWEST
from tuner.spec.study import StudySpec

if TYPE_CHECKING:
    from tuner.data.prepare import Prepared
    from tuner.ledger.records import StudyRecord


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """One run of one study.

    Attributes:
        spec: the declaration.
        origin: the file that it is from; paths in it are relative to that file's folder.
        workspace: where everything lies.
        device: a resolved device.
        step: what trains there, as it is recorded.
        gpus: those that the workers are dealt, where there are several.
        executor: where segments run, with its number of workers.
        warm_from: a study or an exported folder whose best configurations a new study begins with.
        data: a table or array that was given in Python.
        planned: what a new study does with its minutes; None where it has none, or goes on.
        rules: what the declaration leaves open is settled by them.
        begun: whether the study is recorded already.
    """

    spec: StudySpec
    origin: Path
    workspace: Workspace
    device: str
    step: str
    gpus: tuple[str, ...]
    executor: ExecutorChoice
    warm_from: str | Path | None = None
    data: object = field(default=None, compare=False, repr=False)
    rules: int = NEWEST
    planned: Planned | None = None
    begun: bool = False

    @classmethod
    def of(
        cls,
        declared: tuple[StudySpec, Path],
        workspace: Workspace,
        executor: ExecutorChoice,
        warm_from: str | Path | None = None,
        data: object = None,
    ) -> Self:
        """The plan for a declaration on this machine.

        Raises:
            DeviceError: the device is not there, or cannot train like that.
        """
        spec, origin = declared
        device = devices.resolve(spec.device)
        devices.check_precision(spec.precision, device)
        step, gpus = step_name(device, spec.step), devices.gpus(spec.device)
        return cls(spec, origin, workspace, device, step, gpus, sized(executor, device, gpus), warm_from, data)

    def by_rules(self, known: StudyRecord | None) -> Self:
        """The same by the rules that the study was begun by, or that a new one is to be, and as it was planned then.

        Raises:
            SpecError: these rules do not know what is declared.
            StudyError: the study would have to be planned anew.
        """
        rules = rules_of(self.spec) if known is None else known.rules
        spec = completed(self.spec, rules)
        if known is None:
            return replace(self, spec=spec, rules=rules)
        return replace(self, spec=as_planned(spec, known.spec), rules=rules, begun=True)

    def prepare(self, tick: Callable[[str], None]) -> Prepared:
        """The data; `tick` is called with what is being done, and what it raises ends it."""
        from tuner.data.prepare import prepare  # (pandas, while workers start)
        from tuner.data.sources import Sources

        sources = Sources(self.origin.parent, self.workspace.data_root, self.data)
        return prepare(self.spec, sources, self.workspace.work, self.rules, tick, self.begun)

    def on(self, prepared: Prepared) -> Self:
        """The same with the loss that the declaration's comes to on these data."""
        return replace(self, spec=self.spec.model_copy(update={"loss": prepared.loss}))

    def extended(self, spec: StudySpec) -> Self:
        """The same with another budget."""
        return replace(self, spec=spec)

    def states(self, key: str) -> CheckpointFolder:
        """Where the states of the study with that key are kept."""
        return CheckpointFolder.of_study(self.workspace.work, key)

    def workplace(self, key: str, prepared: Prepared, length: Length) -> Workplace:
        """What all segments of the study with that key share, whose trials train so long."""
        return Workplace(
            prepared.source,
            self.states(key),
            prepared.loss,
            self.device,
            length,
            self.spec.precision,
            self.spec.split_seed,
            "torch" if self.step == "torch" else "compiled",
        )
