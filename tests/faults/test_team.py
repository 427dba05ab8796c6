"""kill -9 of all that a team's service consists of, Postgres and MLflow too: each study ends as if nothing happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from disturbed import LONG, left_behind, start_tuner, table
from postgres_server import PostgresServer, running_postgres
from ray_nodes import free_port
from studies import fresh_folder, tiny, working_in
from supervised import ENDED, PATIENCE, hand_in, killable, rests_within, until

from tuner.api.maintenance import doctor
from tuner.api.publishing import sync
from tuner.errors import TrackingError
from tuner.ledger.ledger import Ledger
from tuner.tracking.dashboard import Dashboard, serve

LONGER = tiny(search={"trials": 60, "epochs": 400, "cohort": 20, "seed": 5})
SERVE = ("serve", "--port", "0", "--workers", "1")
AHEAD = 1  # kills: Postgres is always there to be killed, and would let no server begin on a busy machine
KINDS = ("server", "supervisor", "driver", "worker", "postgres", "mlflow")


class Team:
    """Postgres, MLflow's server with a store of its own, and `tuner serve`, each of which is started again."""

    def __init__(self, folder: Path, postgres: PostgresServer, store: Path) -> None:
        self.folder, self._postgres = folder, postgres
        self._store = f"sqlite:///{store}"
        self._mlflow = serve(self._store, free_port(), PATIENCE)
        self.server = start_tuner(folder, *SERVE, MLFLOW_TRACKING_URI=self.mlflow)

    @property
    def mlflow(self) -> str:
        """MLflow's address."""
        return self._mlflow.url

    def see_to_server(self) -> None:
        """Start a server that ended by itself, as one does whose Postgres is away when it begins."""
        if self.server.poll() is not None:
            self.server = start_tuner(self.folder, *SERVE, MLFLOW_TRACKING_URI=self.mlflow)

    def kill(self, kind: str, there: dict[str, int]) -> None:
        """Kill one; Postgres and MLflow are started again here, the others by the service."""
        if kind == "postgres":
            self._postgres.kill()
            self._postgres.start()
        elif kind == "mlflow":
            port = self.mlflow.rpartition(":")[2]
            _end(self._mlflow, port)
            self._mlflow = until(lambda: _served(self._store, int(port)), f"port {port} to be free")
        else:
            os.kill(there[kind], signal.SIGKILL)
        if kind == "server":
            self.server.wait()

    def end(self) -> int:
        """End the service by its own door, and MLflow."""
        self.server.terminate()
        return self.server.wait(60)

    def leave(self) -> None:
        """End what is still there."""
        self.server.kill()
        self._mlflow.stop()


def _end(mlflow: Dashboard, port: str) -> None:
    there = [each for each in psutil.process_iter(["cmdline"]) if _is_mlflow(each.info["cmdline"] or [], port)]
    there += [child for each in there for child in each.children(recursive=True)]
    assert there
    for each in set(there):
        each.kill()
    psutil.wait_procs(there, PATIENCE)
    mlflow.stop()


def _served(store: str, port: int) -> Dashboard | None:
    """MLflow's server again; None where a client's connection has the port that it had."""
    try:
        return serve(store, port, PATIENCE)
    except TrackingError as error:
        if "must be free" not in str(error):
            raise
        return None


def _is_mlflow(words: list[str], port: str) -> bool:
    return "mlflow" in words and port in words


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """One of this test's own: others must not see it go."""
    with running_postgres() as made:
        yield made


@pytest.mark.skipif(not LONG, reason="minutes, and more than two cores at times: a part of make faults-long")
def test_any_kill_of_a_teams_service_leaves_the_same_study(
    tmp_path: Path,
    mlflow_store: Path,
    postgres: PostgresServer,
    undisturbed: Callable[..., str],
    chance: random.Random,
    scale: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    """Everything equally often, at random moments: the study that was handed in has the undisturbed table, the record
    is whole, MLflow holds it once it was brought what waits, and no process is left."""
    wanted, expected, kills = scale(6, 300), undisturbed(LONGER), dict.fromkeys(KINDS, 0)
    while sum(kills.values()) < wanted:
        number = sum(kills.values())
        folder = fresh_folder(tmp_path / f"study-{number}", mlflow_store)
        store = Path(shutil.copy(mlflow_store, tmp_path / f"mlflow-{number}.db"))
        with working_in(folder), pytest.MonkeyPatch.context() as patch:
            url = postgres.new_database(f"tuner{number}")
            patch.setenv("TUNER_DATABASE_URL", url)
            ledger = Ledger.open(url, folder=folder)
            hand_in(ledger, LONGER)
            team = Team(folder, postgres, store)
            try:
                while not (ended := rests_within(ledger, "tiny", chance.uniform(0.5, 4.0))):
                    there = {**killable(ledger, team.server.pid, "tiny"), "postgres": 0, "mlflow": 0}
                    due = [kind for kind in there if kills[kind] <= min(kills.values()) + AHEAD]
                    if due:
                        least = min(kills[kind] for kind in due)
                        kind = chance.choice([kind for kind in due if kills[kind] == least])
                        team.kill(kind, there)
                        kills[kind] += 1
                    team.see_to_server()
                assert (ended.outcome, ended.message) == ("finished", "")
                assert team.end() in ENDED
                patch.setenv("MLFLOW_TRACKING_URI", team.mlflow)
                assert [(done.waiting, done.error) for done in sync("tiny")] == [(0, None)]
                assert [found.problems for found in doctor("tiny")] == [(), ()]
            finally:
                team.leave()
                ledger.close()
            until(lambda: left_behind(Path.cwd()) == [], "all processes to end")
            assert table(folder, database=url) == expected
        assert "Traceback" not in (folder / "out.txt").read_text()
    tell(", ".join(f"{count} of {kind}" for kind, count in kills.items()) + " killed, every table the undisturbed one")
