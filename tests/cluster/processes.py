"""Start the cluster's processes, record which they are, and wait for what they bring."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.cluster import cgroups
from tests.cluster.layout import ClusterError, Layout


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 60,
    given: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """The output of a command that must succeed; its error names the command and what it said last."""
    arguments = [str(part) for part in command]
    environment = {**os.environ, **env} if env else None
    try:
        done = subprocess.run(
            arguments, input=given, capture_output=True, text=True, timeout=timeout, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(arguments[:4])} ...` took longer than {timeout:.0f} s.") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ClusterError(f"`{' '.join(arguments[:6])}` ended with {done.returncode}: {said}")
    return done.stdout


def start(
    layout: Layout,
    name: str,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    among: str = "processes",
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, in the cluster's cgroup, with its output in log/NAME.log. It is recorded
    `among` those without which the cluster is not up, or others."""
    records = layout.home / among
    records.mkdir(parents=True, exist_ok=True)
    layout.log.mkdir(parents=True, exist_ok=True)
    group = cgroups.entries(f"{layout.name}/host")
    with (layout.log / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Before it runs, so that whatever it starts is found in the cgroup, too.
            preexec_fn=lambda: cgroups.enter(group),
            env={**os.environ, **(env or {})},
            cwd="/",
        )
    record = {"pid": child.pid, "started": psutil.Process(child.pid).create_time()}
    (records / f"{name}.json").write_text(json.dumps(record))
    return child


def recorded(home: Path, among: str = "processes") -> dict[str, psutil.Process | None]:
    """Each recorded process by its name; None where it has ended."""
    found: dict[str, psutil.Process | None] = {}
    for path in sorted((home / among).glob("*.json")):
        record = json.loads(path.read_text())
        found[path.stem] = None
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(record["pid"])
            if process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE:
                found[path.stem] = process
    return found


def forget(layout: Layout, name: str) -> None:
    (layout.home / "processes" / f"{name}.json").unlink(missing_ok=True)


def wait(layout: Layout, what: str, ready: Callable[[], bool], *, seconds: float = 60, log: str = "") -> None:
    """Wait until `ready`; an error of its own counts as not yet. Says what the log's end was when time is up."""
    deadline = time.monotonic() + seconds
    said = ""
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, ClusterError) as error:
            said = str(error)
        if log and recorded(layout.home).get(log, ...) is None:
            said = f"{log} has ended. {said}"
            break
        time.sleep(0.1)
    end = ""
    path = layout.log / f"{log}.log"
    if log and path.exists():
        end = f" The end of {path}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-12:])
    raise ClusterError(f"{what} was not ready within {seconds:.0f} s. {said}{end}")
