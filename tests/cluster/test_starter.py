"""The starter itself, in a folder of its own beside whatever else runs: warm, over remains, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import cgroups, clean, network
from tests.cluster.facts import Facts, read
from tests.cluster.layout import CHECKOUT, CLAIMS, Layout, build_of, claimed, home_of
from tests.cluster.processes import recorded, run

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster's folder of this test's own, with the programs that are built already; `make down` is done last."""
    build = build_of(home_of())
    folder = Path(tempfile.mkdtemp(prefix="burger-cluster-", dir="/tmp"))
    monkeypatch.setenv("BURGER_CLUSTER_HOME", str(folder))
    monkeypatch.setenv("BURGER_CLUSTER_BUILD", str(build))
    yield folder
    starter("down")
    shutil.rmtree(folder)


def starter(command: str) -> float:
    """Run it as `make` does; the seconds that it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster", command], cwd=CHECKOUT, capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - began


def layout_of(home: Path) -> Layout:
    layout = claimed(home)
    assert layout is not None
    return layout


def pids(home: Path) -> dict[str, int]:
    return {name: process.pid for name, process in recorded(home).items() if process}


def nodes_are_ready(facts: Facts) -> bool:
    listed = run([facts.kubectl, "--kubeconfig", facts.kubeconfig, "get", "nodes", "-o", "json"])
    conditions = [item["status"]["conditions"] for item in json.loads(listed)["items"]]
    return len(conditions) == 2 and all(
        any(condition["type"] == "Ready" and condition["status"] == "True" for condition in each) for each in conditions
    )


def left_of(layout: Layout, silent: set[str]) -> dict[str, list[str]]:
    """All that is on this machine of a cluster, but for the sockets that were `silent` before it began."""
    name, routes = layout.name, run(["ip", "-4", "route"]).splitlines()
    saved = run(["iptables-save"]).splitlines()
    found = {
        "links": network.links(layout),
        "namespaces": network.namespaces(layout),
        "rules": [line for line in saved if name in line.split() or layout.network in line],
        "routes": [line for line in routes if line.startswith(layout.network.removesuffix("0.0/16"))],
        "mounts": clean.mounts(layout),
        "groups": [str(hierarchy) for hierarchy in cgroups.roots() if (hierarchy / name).exists()],
        "processes": [str(pid) for pid in psutil.pids() if _is_of(pid, layout)],
        "folders": [str(path) for path in (layout.run, CLAIMS / str(layout.slot)) if path.exists()],
        "sockets": sorted(_silent_sockets() - silent),
    }
    return {what: those for what, those in found.items() if those}


def _is_of(pid: int, layout: Layout) -> bool:
    """Whether a process names one of the cluster's folders."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return pid != os.getpid() and any(f"{folder}/" in words for folder in (layout.home, layout.run))


def _silent_sockets() -> set[str]:
    """Of shims that ended; of all containerds, as they do not say whose they were."""
    return {str(path) for path in clean.CONTAINERD_SOCKETS.glob("*") if not _somebody_listens(path)}


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except FileNotFoundError:
            return True  # gone in the meantime, so not left
        except ConnectionRefusedError:
            return False
    return True


def test_a_cluster_beside_others_is_found_warm_survives_a_kill_and_leaves_nothing(another: Path) -> None:
    silent = _silent_sockets()
    starter("up")
    layout, facts = layout_of(another), read(another / "facts.json")
    assert nodes_are_ready(facts)
    first = pids(another)

    assert starter("up") < 10
    assert pids(another) == first, "a second start found the first one's processes"

    for pid in first.values():
        os.kill(pid, signal.SIGKILL)
    # The pods' processes go on, and mounts, links and rules stand.
    assert {"processes", "mounts", "links", "namespaces", "rules", "groups"} <= set(left_of(layout, silent))
    starter("up")
    assert nodes_are_ready(read(another / "facts.json"))
    assert not set(first.values()) & set(pids(another).values())
    assert set(pids(another).values()) <= cgroups.members(layout.name)

    starter("down")
    assert left_of(layout, silent) == {}
    assert sorted(path.name for path in another.iterdir()) == ["lock"]


def test_a_start_that_was_killed_half_way_is_started_over(another: Path) -> None:
    starting = subprocess.Popen([sys.executable, "-m", "tests.cluster", "up"], cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while "node1-containerd" not in recorded(another):
        assert time.monotonic() < deadline
        assert starting.poll() is None
        time.sleep(0.05)
    starting.kill()
    starting.wait()
    starter("up")
    assert nodes_are_ready(read(another / "facts.json"))
