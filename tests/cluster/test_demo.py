"""What `make demo-cluster` and `make demo-argo` show, as a newcomer calls them: the whole way, a canary taken back, a
roll back, no request lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.place import free_port
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT, claimed, home_of
from tests.torture import FULL

pytestmark = [pytest.mark.cluster, pytest.mark.long]


def test_the_demo_on_a_cluster(cluster: Facts, tmp_path: Path) -> None:
    told = demonstrated(tmp_path, "tests.cluster.demo")
    assert "has all traffic" in told
    assert "requests were lost" not in told


@pytest.mark.torture
def test_the_same_pipeline_on_argo_is_one_workflow_a_push(cluster: Facts, tmp_path: Path) -> None:
    told = demonstrated(tmp_path, "tests.cluster.demo_argo", *([] if FULL else ["--first"]))
    assert "promote                  ✓ succeeded" in told
    assert "requests were lost" not in told


def demonstrated(tmp_path: Path, *module: str) -> str:
    """What it said, once it has ended well."""
    if claimed(home_of()) is None:
        pytest.skip("KUBECONFIG names another cluster, whose gateway has no listeners for the demo's namespaces")
    given = {"BURGER_HOME": str(tmp_path / "var"), "BURGER_PORT_BASE": str(free_port()), "APPROVE": "auto"}
    kept = {name: value for name, value in os.environ.items() if name.startswith("BURGER_CLUSTER")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BURGER_")}
    told = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=CHECKOUT, env=plain | kept | given, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    return told.stdout
