"""What `make demo-cluster` shows, as a newcomer calls it: the whole way, a canary taken back, a roll back, no request
lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.bench.place import free_port
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT, claimed, home_of

pytestmark = [pytest.mark.cluster, pytest.mark.long]


def test_the_demo_on_a_cluster(cluster: Facts, tmp_path) -> None:
    if claimed(home_of()) is None:
        pytest.skip("KUBECONFIG names another cluster, whose gateway has no listeners for the demo's namespaces")
    given = {"BURGER_HOME": str(tmp_path / "var"), "BURGER_PORT_BASE": str(free_port()), "APPROVE": "auto"}
    kept = {name: value for name, value in os.environ.items() if name.startswith("BURGER_CLUSTER")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BURGER_")}
    told = subprocess.run(
        [sys.executable, "-m", "tests.cluster.demo"],
        cwd=CHECKOUT, env=plain | kept | given, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert "has all traffic" in told.stdout
    assert "requests were lost" not in told.stdout
