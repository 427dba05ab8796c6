"""Claims about memory that runs out, in processes whose memory is really limited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from studies import fresh_folder, tiny

import tuner

# A network of these sizes takes some gigabytes to train, the others some kilobytes.
SPACE = {"width": {"type": "categorical", "choices": [8, 65_536]}, "depth": 2, "learning_rate": 0.01, "bottleneck": 2}
LIMITED = """
import json, resource, sys
import tuner
import tuner.orchestration.launch, tuner.search.loop, tuner.data.prepare
import tuner.analysis.baselines, tuner.tracking.direct

def run(**changes):
    spec = json.load(open("spec.json"))
    spec["search"].update(changes)
    return tuner.run(spec, workers=0).outcome

size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + 700_000_000,) * 2)
print(run(timeout=0.001), run())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process' memory like this")
def test_a_trial_that_does_not_fit_ends_alone_and_stays_ended(
    tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 0.7 GB to be had, the small trials complete, the large ones are infeasible with their reason, whatever packs
    they shared; a stop between changes nothing, and a later run with all the memory there is finds nothing left."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    spec = tiny(space=SPACE, search={"trials": 8, "pruner": "none", "sampler": "random", "epochs": 2})
    (folder / "spec.json").write_text(json.dumps(spec))
    ran = subprocess.run([sys.executable, "-c", LIMITED], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["timeout", "finished"], ran.stderr[-2000:]
    monkeypatch.chdir(folder)
    study = tuner.Study.open("tiny")
    states = {
        record.point.width: {r.state for r in study.records if r.point.width == record.point.width}
        for record in study.records
    }
    assert states == {8: {"complete"}, 65_536: {"infeasible"}}
    reasons = {record.reason for record in study.records if record.state == "infeasible"}
    assert all("GB to be trained" in reason and "on cpu" in reason for reason in reasons)
    assert study.best.point.width == 8
    before = study.trials.to_csv()
    again = tuner.run(spec, workers=0)
    assert again.outcome == "nothing-left"
    assert again.trials.to_csv() == before
    assert len(again.optuna_study.trials) == 8
