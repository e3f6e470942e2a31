"""An engine of the tests' own, and a state folder that names it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.build_helpers import Site
from tests.cluster.facts import Facts
from tests.cluster.own_engine import OwnEngine


@pytest.fixture(scope="module")
def engine(cluster: Facts) -> Iterator[OwnEngine]:
    """An engine without any network, with one local base image."""
    with tempfile.TemporaryDirectory(prefix="be-", dir="/tmp") as folder:
        own = OwnEngine(Path(folder, "e"), cluster.docker, cluster.registry.ca)
        own.folder.mkdir()
        own.start()
        yield own
        own.stop()


@pytest.fixture
def site(engine: OwnEngine, tmp_path: Path) -> Site:
    return Site(tmp_path / "var", engine.host)
