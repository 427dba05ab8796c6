"""One trial of a pack brings its worker down: it alone fails, with the reason, and costs the others nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from disturbed import FORM, disagreements, left_behind, table
from studies import tiny

import tuner
from tuner.errors import WorkerError
from tuner.execution.choice import ExecutorChoice, Processes, Ray
from tuner.learning.compiled.library import library

pytestmark = pytest.mark.skipif(library() is None, reason="the faults are put into the compiled step's pack")

# Random points and no pruning: what the others are and do does not depend on the guilty one.
SPEC = tiny(search={"trials": 12, "epochs": 4, "cohort": 12, "seed": 3, "sampler": "random", "pruner": "none"})
GUILTY = 5
FAULTS = {
    "segfault": ("import ctypes; ctypes.string_at(0)", "was ended by SIGSEGV"),
    "abort": ("import os; os.abort()", "was ended by SIGABRT"),
    "exit": ("import os; os._exit(3)", "ended with exit code 3"),
    "hang": ("while True: pass", "gave no sign of life"),
    "error": ("raise ValueError('no such thing')", "met ValueError: no such thing"),
}
# Every Python process runs `sitecustomize` at its start: the workers are the real ones, but for one trial's epoch.
PLANTED = """
import sys
if "-c" in sys.orig_argv and any("tuner.execution.processes" in word for word in sys.orig_argv):
    from tuner.learning.compiled.pack import CompiledPack
    real = CompiledPack.train_epoch
    def train_epoch(self):
        if {when}:
            {act}
        return real(self)
    CompiledPack.train_epoch = train_epoch
"""

pytestmark = pytest.mark.sample
NO_SAMPLE = pytest.mark.skipif(FORM == "sample", reason="`make faults` runs it: a cluster takes its time to start")


@pytest.fixture
def plant(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def plant(act: str, when: str = f"{GUILTY} in self.numbers and self.epoch == 2") -> None:
        folder = tmp_path_factory.mktemp("planted")
        (folder / "sitecustomize.py").write_text(PLANTED.format(when=when, act=act))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))

    return plant


@pytest.mark.parametrize(
    ("kind", "executor"), [*((kind, Processes(2)) for kind in FAULTS), pytest.param("segfault", Ray(), marks=NO_SAMPLE)]
)
def test_the_guilty_trial_fails_alone(
    kind: str,
    executor: ExecutorChoice,
    plant: Callable[..., None],
    workspace: Path,
    undisturbed: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever it does, it ends as failed with the reason and uses up its budget; every other trial is bit for bit as
    in the undisturbed study; a later run finds nothing left; the terminal shows no traceback."""
    act, reason = FAULTS[kind]
    expected = undisturbed(SPEC).splitlines()
    plant(act)
    monkeypatch.setattr("tuner.execution.planning.LEAST_PATIENCE", 1.0)
    monkeypatch.setattr("tuner.execution.planning.LATE_UNMEASURED", 50.0)
    study = tuner.run(SPEC, executor=executor)
    failed = [record for record in study.records if record.state == "failed"]
    assert [record.number for record in failed] == [GUILTY]
    assert reason in failed[0].reason
    found = table(workspace).splitlines()
    others = [line for line in range(len(expected)) if line != GUILTY + 1]
    assert [found[line] for line in others] == [expected[line] for line in others]
    assert tuner.run(SPEC, workers=0).outcome == "nothing-left"
    assert disagreements(workspace) == []
    assert left_behind(workspace) == []
    assert "Traceback" not in "".join(capfd.readouterr())


def test_where_nothing_can_be_trained_no_trial_is_accused(plant: Callable[..., None], workspace: Path) -> None:
    """If every trial fails, the machine does: the run ends with one sentence, and the next one trains them all."""
    plant("import os; os._exit(3)", when="True")
    with pytest.raises(WorkerError, match=r"not one trial could be trained.*ended with exit code 3"):
        tuner.run(SPEC, workers=2)
    plant("pass")
    assert tuner.run(SPEC, workers=2).counts == {"complete": 12}


def test_numbers_that_leave_the_numbers_end_their_trial_alone(
    plant: Callable[..., None], workspace: Path, undisturbed: Callable[..., str]
) -> None:
    """NaN and infinity in one trial of a pack: it ends as diverged, the others keep every bit."""
    for value in ("nan", "inf"):
        spec = {**SPEC, "name": f"tiny-{value}"}
        expected = undisturbed(SPEC).splitlines()
        plant(f"self._members[self.numbers.index({GUILTY})].state.parameters[:] = float('{value}')")
        study = tuner.run(spec, workers=2)
        assert [record.number for record in study.records if record.state == "diverged"] == [GUILTY]
        found = table(workspace, spec["name"]).splitlines()
        others = [line for line in range(len(expected)) if line != GUILTY + 1]
        assert [found[line] for line in others] == [expected[line] for line in others]


LIMITED = """
import sys
if any("tuner.execution.processes" in word for word in sys.orig_argv):
    import resource
    import tuner.execution.worker
    lines = open("/proc/self/status").read().splitlines()
    size = next(int(line.split()[1]) for line in lines if line.startswith("VmSize:"))
    resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + 700_000_000,) * 2)
"""


@pytest.mark.parametrize("executor", [Processes(2), pytest.param(Ray(), marks=NO_SAMPLE)])
def test_workers_with_little_memory_train_what_fits(
    executor: ExecutorChoice, tmp_path_factory: pytest.TempPathFactory, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 0.7 GB a worker, the large trials end as infeasible with their reason, and the small ones keep every bit."""
    width = {"type": "categorical", "choices": [8, 65_536]}
    spec = {**SPEC, "space": {"width": width, "depth": 2, "learning_rate": 0.01, "bottleneck": 2}}
    folder = tmp_path_factory.mktemp("limited")
    (folder / "sitecustomize.py").write_text(LIMITED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    study = tuner.run(spec, executor=executor)
    states = {record.point.width: set[str]() for record in study.records}
    for record in study.records:
        states[record.point.width].add(str(record.state))
    assert states == {8: {"complete"}, 65_536: {"infeasible"}}
    small = {record.number: record.value for record in study.records if record.point.width == 8}
    alone = tuner.run({**spec, "name": "small", "space": {**spec["space"], "width": 8}}, workers=0)
    for number, value in small.items():
        assert value == alone.records[number].value


def test_a_guilty_run_of_the_final_stage_is_lost_alone(plant: Callable[..., None], workspace: Path) -> None:
    """The winner's second run ends its worker: it is lost with the reason, the others are complete, the trials do not
    notice, and the answer says so; run again, nothing is left."""
    staged = {**SPEC, "final": {"top": 2, "seeds": 3}}
    plant(FAULTS["exit"][0], "any(n >= 10**9 and n % 1000 == 1 for n in self.numbers) and self.epoch == 2")
    study = tuner.run(staged, workers=2)
    final = study.summary.final
    assert study.counts == {"complete": 12}
    assert [[loss is None for loss in one.losses] for one in final.configurations] == [[False, True, False], []]
    reasons = [reason for one in final.configurations for reason in one.lost]
    assert reasons == ["run 1 failed: the worker that trained it ended with exit code 3"]
    assert "lost 1 of 3 runs" in final.sentence
    assert disagreements(workspace) == []
    assert tuner.run(staged, workers=2).outcome == "nothing-left"
