"""The cluster's control groups, under cgroup v1 and v2. Whatever the cluster starts, directly or not, is in one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def roots(root: Path = ROOT) -> list[Path]:
    """Where hierarchies are mounted: the one of v2, or each of v1's (the unified one beside them included)."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted({path.resolve() for path in root.iterdir() if (path / "cgroup.procs").exists()})


def make(name: str, root: Path = ROOT) -> None:
    """Make the group in every hierarchy, ready to be a parent: v1's cpusets filled, v2's controllers passed on."""
    for hierarchy in roots(root):
        group = hierarchy
        for part in name.split("/"):
            _pass_on(group)
            group = group / part
            group.mkdir(exist_ok=True)
            for key in ("cpuset.cpus", "cpuset.mems"):
                file, above = group / key, group.parent / key
                if above.exists() and file.exists() and not file.read_text().strip():
                    file.write_text(above.read_text())


def _pass_on(group: Path) -> None:
    controllers = group / "cgroup.controllers"
    if controllers.exists():
        for controller in controllers.read_text().split():
            with contextlib.suppress(OSError):  # some cannot be passed on everywhere, such as cpuset in a container
                (group / "cgroup.subtree_control").write_text(f"+{controller}")


def entries(name: str) -> list[str]:
    """The files that a process writes itself into to join; for `enter`."""
    return [str(hierarchy / name / "cgroup.procs") for hierarchy in roots()]


def enter(files: list[str]) -> None:
    """Join, between fork and exec."""
    for file in files:
        handle = os.open(file, os.O_WRONLY)
        os.write(handle, b"0")
        os.close(handle)


def _groups(name: str) -> list[Path]:
    """The groups below and including `name`, in every hierarchy, deepest first."""
    found: list[Path] = []
    for hierarchy in roots():
        top = hierarchy / name
        if top.exists():
            found += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return found


def members(name: str) -> set[int]:
    """The pids of all processes in the group or below."""
    pids: set[int] = set()
    for group in _groups(name):
        with contextlib.suppress(OSError):
            pids |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    return pids


def kill(name: str, *, seconds: float = 20) -> set[int]:
    """Kill every process in the group or below, until none is left. Returns those that would not go."""
    deadline = time.monotonic() + seconds
    while (pids := members(name)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for group in _groups(name):
            with contextlib.suppress(OSError):  # a frozen process dies only once it is thawed
                (group / "freezer.state").write_text("THAWED")
        time.sleep(0.05)
    return pids


def remove(name: str, *, seconds: float = 5) -> list[Path]:
    """Remove the group and those below it. Returns those that could not be."""
    deadline = time.monotonic() + seconds
    while (left := _groups(name)) and time.monotonic() < deadline:
        for group in left:
            with contextlib.suppress(OSError):
                group.rmdir()
    return left
