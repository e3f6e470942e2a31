"""The stage of canaries that customers judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.executors.rollout.local.control import configure
from pipelines.executors.verify import customers
from pipelines.performance import tokens
from pipelines.performance.collect import Collector
from tests.engines.measured_site import Site, door
from tests.executors.rollout_helpers import installation


@pytest.fixture
def collector(db: None, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """One that writes when it is told to, in the test's own transaction."""
    monkeypatch.setattr(Collector, "_wake", lambda _: None)
    return Collector(lambda: b"")


@pytest.fixture
def site(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(customers, "LOOK_EVERY", 0.5)
    with door(collector) as address, installation(tmp_path) as made:
        key = tokens.key(made.home)
        monkeypatch.setattr(collector, "_secret", lambda: key)
        configure(made.home, {"staging": made.port}, None, {"collector": address})
        yield Site(made.home, made.port, collector=collector)
