"""Start and stop the keeper of an installation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.executors.rollout.local import processes
from pipelines.executors.rollout.local.keeper import Keeper, mark_of, pid_file, settings_file, sole_keeper
from pipelines.executors.rollout.local.place import read_json, ring, write_json
from pipelines.executors.rollout.local.traefik import IDENTITY

ROOT = Path(__file__).resolve().parents[4]
START_WITHIN = 15.0


class KeeperError(Exception):
    """The keeper does not do what it was asked; the message says where to look."""


def ensure_keeper(
    home: Path,
    ports: Mapping[str, int] | None = None,
    listen: str | None = None,
    hosts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """See that the keeper runs, with these entry points; returns {"pid", "started"}.

    `ports` maps environment to port, `listen` is the address for all of them (127.0.0.1 at first), `hosts` as in
    `configure`; None leaves either as it is, ports of other environments stay. Raises KeeperError when it does
    not come up.
    """
    configure(home, ports, listen, hosts)
    running = keeper(home)
    if running:
        ring(home)
        return running
    log = home / "run" / "keeper.log"
    with log.open("ab") as output:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pipelines.executors.rollout.local.keeper",
                "--home",
                str(home),
                "--detach",
            ],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=False,
        )
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        running = keeper(home)
        if running:
            return running
        time.sleep(0.02)
    raise KeeperError(f"The keeper did not start within {START_WITHIN:g} s. Its log is {log}.")


def stop_keeper(home: Path, *, leave: bool = False, timeout: float = 60.0) -> bool:
    """End the keeper and, unless `leave`, the router and all replicas, gracefully. Returns once they are
    gone; what a killed keeper left behind ends as well. Raises KeeperError when it takes longer than
    `timeout`."""
    running = keeper(home)
    ended = running is not None
    if running:
        number = signal.SIGHUP if leave else signal.SIGTERM
        processes.send(running["pid"], running["started"], number)
        deadline = time.monotonic() + timeout
        while processes.alive(running["pid"], running["started"]):
            if time.monotonic() > deadline:
                log = home / "run" / "keeper.log"
                raise KeeperError(f"The keeper (process {running['pid']}) does not end. Its log is {log}.")
            time.sleep(0.02)
    if leave or not (home / "run").is_dir():
        return ended
    with sole_keeper(home) as lock:
        if lock is not None:
            leftovers = Keeper(home)
            ended = ended or leftovers.busy
            leftovers.stop()
            leftovers.checker.close()
    return ended


def base_url(home: Path, port: int) -> str:
    """Where this machine reaches an environment's port."""
    listen = (read_json(settings_file(home)) or {}).get("listen", "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def keeper(home: Path) -> dict[str, Any] | None:
    """{"pid", "started"} of the running keeper, None when there is none."""
    found = read_json(pid_file(home))
    return found if found and processes.alive(found["pid"], found["started"]) else None


def serves(home: Path) -> bool:
    """Whether the keeper runs, or what one that was killed has left behind still takes customers in."""
    if keeper(home) is not None:
        return True
    mark = mark_of(home)
    return any(leads and identity == IDENTITY for _, _, identity, leads in processes.marked(mark))


def configure(
    home: Path, ports: Mapping[str, int] | None, listen: str | None, hosts: Mapping[str, str] | None = None
) -> None:
    """Tell the keeper that runs, or the next one. `hosts` is {"portal": HOST, "environments": HOST, "collector":
    ADDRESS}: browsers that come to an environment under the portal's host are sent to the other one, since cookies know
    no ports; replicas report what they measure to the collector."""
    before = read_json(settings_file(home)) or {}
    after = {
        "ports": {**before.get("ports", {}), **(ports or {})},
        "listen": listen or before.get("listen", "127.0.0.1"),
        "hosts": dict(before.get("hosts", {}) if hosts is None else hosts),
    }
    if after != before:
        write_json(settings_file(home), after)


def _environment() -> dict[str, str]:
    """What the keeper needs and nothing that its starter happens to know, except secrets given as
    variables."""
    kept = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV")
    chosen = {name: os.environ[name] for name in kept if name in os.environ}
    given = {name: value for name, value in os.environ.items() if name.startswith("BURGER_SECRET_")}
    return {**chosen, **given, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
