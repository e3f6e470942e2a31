"""One installation on two machines: PostgreSQL, Redis, and a state folder that both see.

A machine here is a process id and host name namespace of its own: no process of it can be looked up, signalled or
woken by a named pipe from the other, as if it were another computer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.redis_server import Server

from .installation import ROOT, SUPERVISE, Installation, _end_with_parent, environment, eventually, free_port

ROLES = ("web", "sweeper", "main", "sentinel", "child")


class Machine:
    """`run` is the command's supervisor with everything below it."""

    def __init__(self, name: str, home: Path, env: dict[str, str]) -> None:
        self.name, self.home = name, home
        self.env = env | {"BURGER_RUN_DIR": str(home.parent / f"run-{name}"), "BURGER_PORT_BASE": str(free_port())}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        apart = ["unshare", *user, "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
        named = ["sh", "-c", f'hostname {self.name}; exec "$@"', "sh"]
        with (self.home / f"supervisor-{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*apart, *named, sys.executable, "-c", SUPERVISE], cwd=ROOT, env=self.env, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip

    def turn_off(self) -> None:
        """All its processes end at once, what they started too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def supervisor(self) -> psutil.Process | None:
        if self.process is not None:
            with suppress(psutil.Error):
                return next(iter(psutil.Process(self.process.pid).children()), None)
        return None


class Fleet(Installation):
    def __init__(self, home: Path, database: str, redis: Server) -> None:
        super().__init__(home)
        self.backstage.close()
        self.database = database
        self.redis = redis
        shared = {"BURGER_DATABASE_URL": database, "BURGER_REDIS_URL": redis.url}
        self.env = environment(
            self.home, self.port, BURGER_LEASE="3", BURGER_WORKERS="2", BURGER_LOG_LEVEL="WARNING", **shared
        )
        self.machines = [Machine(name, self.home, self.env) for name in ("north", "south")]
        self.backstage = type(self.backstage)(self.env | {"BURGER_RUN_DIR": str(home / "run-desk")})

    def start(self) -> None:
        self.tokens = self.backstage.set_up(repository=str(self.repository))
        for machine in self.machines:
            machine.start()
        for machine in self.machines:
            eventually(lambda machine=machine: len(self._roles(machine)["child"]) == 4, 60, self.logs)

    def close(self) -> None:
        for machine in self.machines:
            machine.turn_off()
        super().close()

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.database)) as connection:
            found = connection.execute(query.replace("?", "%s"), arguments).fetchall()
        # As SQLite gives it.
        return [tuple(json.dumps(cell) if isinstance(cell, dict) else cell for cell in row) for row in found]

    def _roles(self, machine: Machine) -> dict[str, list[psutil.Process]]:
        self.supervisor = machine.supervisor()  # type: ignore[assignment]
        try:
            return super().processes() if self.supervisor else {role: [] for role in ROLES}
        except psutil.Error:  # it has just been turned off
            return {role: [] for role in ROLES}
        finally:
            self.supervisor = None

    def processes(self) -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {}
        for machine in self.machines:
            for role, members in self._roles(machine).items():
                found.setdefault(role, []).extend(members)
        return found

    def workers_of(self, run: int) -> set[str]:
        """The host names of those who did a run's stages."""
        found = self.rows(
            "SELECT DISTINCT a.worker FROM pipelines_attempt a JOIN pipelines_stage s ON s.id = a.stage_id "
            "WHERE s.run_id = ? AND a.worker != ''", run)  # fmt: skip
        return {worker.split(":")[0] for (worker,) in found}
