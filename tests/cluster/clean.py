"""Take a cluster away, whatever state it is in: whole, half started, or what is left of one that was killed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import psutil

from tests.cluster import cgroups, machine, network
from tests.cluster.layout import ClusterError, Layout, alone, release
from tests.cluster.processes import recorded

# All that a cluster writes into its folder beside what was built. Nothing else is removed from there.
WRITTEN = ("data", "etc", "log", "pki", "processes", "added", "facts.json", "argo.json", "kubeconfig")

# containerd keeps its shims' sockets here, whatever its own folders are.
CONTAINERD_SOCKETS = Path("/run/containerd/s")


def down(layout: Layout) -> None:
    """Leave nothing of the cluster but what was built: no process, mount, bridge, rule, namespace, cgroup or file."""
    kill(layout)
    shims = _shim_sockets(layout)
    unmount(layout)
    network.down(layout)
    stuck = cgroups.remove(layout.name)
    _files(layout, shims)
    if alone(layout):
        machine.restore()
    release(layout)
    if stuck:
        raise ClusterError(f"Control groups could not be removed: {', '.join(map(str, stuck[:4]))}")


def kill(layout: Layout) -> None:
    """End every process that the cluster started, and all that those started."""
    for process in (*recorded(layout.home).values(), *recorded(layout.home, "added").values()):
        if process:
            with contextlib.suppress(psutil.Error):
                process.kill()
    left = cgroups.kill(layout.name)
    if left:
        raise ClusterError(f"Processes of the cluster would not end: {sorted(left)[:8]}")


def mounts(layout: Layout) -> list[str]:
    """Where something is mounted for the cluster, deepest first."""
    tops = [str(layout.home), str(layout.run), *(f"/run/netns/{name}" for name in network.namespaces(layout))]
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].replace("\\040", " ").removesuffix("//deleted")
        if any(point == top or point.startswith(f"{top}/") for top in tops):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def unmount(layout: Layout) -> None:
    for _ in range(10):
        points = [point for point in mounts(layout) if not point.startswith("/run/netns/")]
        if not points:
            return
        for point in points:
            subprocess.run(["umount", "--lazy", "--", point], check=False, capture_output=True)
    raise ClusterError(f"These could not be unmounted: {', '.join(points[:4])}")


def _shim_sockets(layout: Layout) -> list[Path]:
    """The sockets of the shims of this cluster's engine, which are among those of all others."""
    return [
        Path(file.read_text().strip().removeprefix("unix://"))
        for file in layout.run.glob("**/io.containerd.runtime.v2.task/*/*/address")
    ]


def _files(layout: Layout, shims: list[Path]) -> None:
    for socket in shims:
        socket.unlink(missing_ok=True)
    shutil.rmtree(layout.run, ignore_errors=True)
    for name in WRITTEN:
        path = layout.home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
