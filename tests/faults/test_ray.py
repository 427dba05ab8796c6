"""A study on two nodes of a Ray cluster, whose parts are killed: it ends as on one machine that nothing happens to."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from disturbed import disagreements, is_worker, left_behind, run_tuner, start_tuner, table
from ray_nodes import Node, Nodes, nodes
from studies import fresh_folder, tiny
from supervised import hand_in, opened, rest, supervisor_process

SPACES = Path(__file__).parents[2] / "search_spaces"
LONGER = tiny(search={"trials": 90, "epochs": 243, "cohort": 30, "seed": 5}, final={"top": 2, "seeds": 3})
# Of one model, with Adam's moments and the best weights, some 14 MB.
LARGE = tiny(
    space={
        "width": 2048,
        "depth": 3,
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": 64,
        "activation": "relu",
        "bottleneck": 2,
    },
    search={"trials": 6, "epochs": 4, "pruner": "none", "sampler": "random", "seed": 5},
    final="none",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes() as started:
        yield started


def segments(folder: Path) -> Counter[str]:
    """How many each node trained."""
    with closing(sqlite3.connect(folder / "tuner.db")) as ledger:
        return Counter(worker.split(",")[0] for (worker,) in ledger.execute("SELECT worker FROM tuner_segment"))


def lost(folder: Path) -> list[str]:
    """Why segments were lost that ran."""
    with closing(sqlite3.connect(folder / "tuner.db")) as ledger:
        bodies = ledger.execute("SELECT body FROM tuner_event WHERE kind = 'worker'").fetchall()
    found = [json.loads(body) for (body,) in bodies]
    assert not any(body["own"] for body in found)
    return [body["cause"] for body in found]


@pytest.mark.parametrize("name", ["digits", "kinds"])
def test_two_nodes_give_the_table_of_one_worker(name: str, cluster: Nodes, tmp_path: Path, mlflow_store: Path) -> None:
    """Byte for byte, and each node trained at least a quarter of the segments."""
    few = ["--set", "search.trials=27", "--set", "final=none"]
    local, far = fresh_folder(tmp_path / "local", mlflow_store), fresh_folder(tmp_path / "far", mlflow_store)
    alone = run_tuner(local, "run", str(SPACES / f"{name}.yaml"), *few, "--workers", "1")
    both = run_tuner(
        far, "run", str(SPACES / f"{name}.yaml"), *few, "--address", cluster.address, **cluster.environment
    )
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    assert table(far, name) == table(local, name)
    trained = segments(far)
    assert len(trained) == 2
    assert min(trained.values()) >= trained.total() / 4
    assert run_tuner(far, "doctor", name).returncode == 0


def test_a_node_with_other_versions_is_not_used(cluster: Nodes, tmp_path: Path, mlflow_store: Path) -> None:
    """It is named with what it has, once, and the study goes on with the others."""
    other = tmp_path / "other" / "numpy-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n")
    folder, odd = fresh_folder(tmp_path / "study", mlflow_store), cluster.another("odd", other.parent)
    (folder / "study.yaml").write_text(json.dumps(tiny()))
    odd.start()
    try:
        run = run_tuner(folder, "run", "study.yaml", "--address", cluster.address, **cluster.environment)
    finally:
        odd.kill()
    assert run.returncode == 0, run.stderr
    (refused,) = set(
        re.findall(r"node (\w+) has numpy 0\.1, and the driver other versions.*; the node is not used", run.stderr)
    )
    assert run.stderr.count("the node is not used") == 1
    assert segments(folder)
    assert f"node {refused}" not in segments(folder)


def test_large_states_lie_where_all_nodes_reach_them(cluster: Nodes, tmp_path: Path, mlflow_store: Path) -> None:
    """The table is that of one worker; without the cluster the study goes on from them; with it they are deleted."""
    local, far = fresh_folder(tmp_path / "local", mlflow_store), fresh_folder(tmp_path / "far", mlflow_store)
    for folder in (local, far):
        (folder / "study.yaml").write_text(json.dumps(LARGE))
    shared = tmp_path / "shared"
    where = ["--address", cluster.address, "--checkpoints", str(shared)]
    few = ["--set", "search.trials=3"]
    for more in (few, []):
        assert run_tuner(local, "run", "study.yaml", *more, "--workers", "1").returncode == 0
    began = run_tuner(far, "run", "study.yaml", *where, *few, **cluster.environment)
    assert began.returncode == 0, began.stderr
    assert all(path.stat().st_size > 4 * 2**20 for path in shared.glob("*/*"))
    with closing(sqlite3.connect(far / "tuner.db")) as ledger:
        paths = [path for (path,) in ledger.execute("SELECT path FROM tuner_checkpoint")]
    assert paths
    assert all(path.startswith(f"file://{shared}/") for path in paths)
    assert not list(far.rglob("*epoch*.safetensors"))
    assert run_tuner(far, "prune-files").returncode == 0
    assert len(list(shared.glob("*/*"))) == 1  # the best one's
    went_on = run_tuner(far, "run", "study.yaml", "--workers", "1")
    assert went_on.returncode == 0, went_on.stderr
    assert table(far) == table(local)
    assert run_tuner(far, "doctor", "tiny").returncode == 0
    assert run_tuner(far, "delete", "tiny", "--yes").returncode == 0
    assert not list(shared.glob("*/*"))


def test_any_kill_leaves_the_same_study(
    cluster: Nodes,
    tmp_path: Path,
    mlflow_store: Path,
    undisturbed: Callable[..., str],
    chance: random.Random,
    scale: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    """A node, an actor, a worker, the driver, its bridge, and the head with all nodes: run again where the driver is
    gone, each study has the undisturbed table and the exact budget, and no process is left."""
    expected, wanted, kills = undisturbed(LONGER), scale(6, 200), Counter[str]()
    causes: list[str] = []
    while kills.total() < wanted:
        folder = fresh_folder(tmp_path / f"study-{kills.total()}", mlflow_store)
        (folder / "study.yaml").write_text(json.dumps(LONGER))
        while not disturbed_run(folder, cluster, chance, kills):
            pass
        assert table(folder) == expected
        assert disagreements(folder) == []
        assert "Traceback" not in (folder / "out.txt").read_text()
        assert left_behind(folder) == []
        causes += lost(folder)
        shutil.rmtree(folder)
    told = ", ".join(f"{count} x {what}" for what, count in sorted(kills.items()))
    tell(f"killed: {told}; {len(causes)} segments lost, every table the undisturbed one")
    assert any("was lost with its actor or its node" in cause for cause in causes)


def disturbed_run(folder: Path, cluster: Nodes, chance: random.Random, kills: Counter[str]) -> bool:
    """Run the study, and kill something now and then, everything equally often; true where it came to its end."""
    run = start_tuner(folder, "run", "study.yaml", "--address", cluster.address, **cluster.environment)
    while True:
        try:
            code = run.wait(chance.uniform(0.5, 3.0))
        except subprocess.TimeoutExpired:
            least = min(kills[what] for what in KILLS)
            what = chance.choice([what for what in KILLS if kills[what] == least])
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended before it could be killed
                kills[what] += KILLS[what](cluster, run, chance)
            if what == "driver" and run.returncode is not None:
                return False
        else:
            assert code == 0, (folder / "out.txt").read_text()[-2000:]
            return True


def busy(node: Node) -> list[psutil.Process]:
    """The node's workers that train at this moment."""
    return [process for process in node.processes() if is_worker(process) and is_at_work(process)]


def is_at_work(process: psutil.Process) -> bool:
    try:
        return process.cpu_percent(0.1) > 30
    except psutil.NoSuchProcess:
        return False


def kill_node(cluster: Nodes, _: subprocess.Popen[str], __: random.Random) -> bool:
    """The node that is not the head, in the middle of a segment; another one takes its place."""
    if not busy(cluster.others[0]):
        return False
    cluster.others[0].kill()
    cluster.others[0].start()
    return True


def kill_head(cluster: Nodes, run: subprocess.Popen[str], _: random.Random) -> bool:
    """All nodes, as the others end without their head; started again at the same place, the study goes on."""
    if not busy(cluster.head):
        return False
    cluster.kill()
    assert run.poll() in (None, 0)  # it waits for its cluster, unless that was the study's last segment
    cluster.start()
    return True


def kill_actor(cluster: Nodes, _: subprocess.Popen[str], chance: random.Random) -> bool:
    workers = [process for node in (cluster.head, *cluster.others) for process in busy(node)]
    return bool(workers) and killed(chance.choice(workers).parent())


def kill_worker(cluster: Nodes, _: subprocess.Popen[str], chance: random.Random) -> bool:
    workers = [process for node in (cluster.head, *cluster.others) for process in busy(node)]
    return bool(workers) and killed(chance.choice(workers))


def killed(process: psutil.Process | None) -> bool:
    """Kill it with what it has started: children end with their parents."""
    if process is None:
        return False
    children = process.children(recursive=True)
    process.kill()
    assert not psutil.wait_procs([process, *children], timeout=20)[1]
    return True


def kill_driver(cluster: Nodes, run: subprocess.Popen[str], _: random.Random) -> bool:
    """The driver; its bridge and all its workers, which are other processes' children, end as well."""
    workers = [process for node in (cluster.head, *cluster.others) for process in busy(node)]
    if not workers:
        return False
    children = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    assert not psutil.wait_procs([*children, *workers], timeout=60)[1]
    return True


def kill_bridge(cluster: Nodes, run: subprocess.Popen[str], _: random.Random) -> bool:
    """The driver's process that speaks with Ray, while something is trained."""
    found = [
        each for each in psutil.Process(run.pid).children() if "tuner.execution.bridge" in " ".join(each.cmdline())
    ]
    return bool(found and busy(cluster.head)) and killed(found[0])


KILLS = {
    "node": kill_node,
    "actor": kill_actor,
    "worker": kill_worker,
    "driver": kill_driver,
    "bridge": kill_bridge,
    "head": kill_head,
}


@pytest.mark.parametrize("token", ["0" * 64, ""])
def test_a_wrong_token_is_refused_in_a_sentence(token: str, cluster: Nodes, tmp_path: Path, mlflow_store: Path) -> None:
    """Exit code 4, and no traceback; nothing was trained."""
    folder = fresh_folder(tmp_path / "study", mlflow_store)
    (folder / "study.yaml").write_text(json.dumps(LONGER))
    environment = {**cluster.environment, "RAY_AUTH_TOKEN": token}
    ended = run_tuner(folder, "run", "study.yaml", "--address", cluster.address, **environment)
    assert ended.returncode == 4
    assert "executor ray: a cluster must be reachable at" in ended.stderr
    assert "RAY_AUTH_TOKEN" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert segments(folder).total() == 0


def test_the_service_trains_on_the_cluster(
    cluster: Nodes, tmp_path: Path, mlflow_store: Path, undisturbed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tuner supervise --cluster`: what was handed in trains on the nodes, at most in so many slots, and its table is
    that of this machine."""
    folder = fresh_folder(tmp_path / "service", mlflow_store)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with opened(folder) as ledger:
        hand_in(ledger, tiny())
        with supervisor_process(folder, "--cluster", cluster.address, "--cluster-most", "1"):
            assert rest(ledger, "tiny").outcome == "finished"
    assert table(folder) == undisturbed(tiny())
    assert len(segments(folder)) == 1
    assert next(iter(segments(folder))).startswith("node ")
