"""A collector of the test's own, and tokens to report to it with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.performance import tokens
from pipelines.performance.collect import Collector

KEY = b"0123456789abcdef0123456789abcdef"


class Clock:
    """Time that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = time.time() // 60 * 60 + 5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def collector(db: None, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """One that writes when it is told to."""
    monkeypatch.setattr(Collector, "_wake", lambda _: None)
    return Collector(lambda: KEY, clock)


@pytest.fixture
def page(clock: Clock) -> Callable[..., str]:
    """The token of a page: page("menu", release="shop-1")."""

    def _page(route: str = "menu", release: str = "shop-1", environment: str = "production") -> str:
        return tokens.narrow(tokens.mint(KEY, environment, release), route=route, until=clock() + 3600)

    return _page


@pytest.fixture
def beacon(page: Callable[..., str]) -> Callable[..., bytes]:
    """A browser's report: beacon({"LCP": 800}, route="menu", release="shop-1")."""

    def _beacon(values: dict[str, Any], device: str = "phone", navigation: str = "navigate", **place: str) -> bytes:
        return json.dumps({"t": page(**place), "d": device, "n": navigation, "m": values}).encode()

    return _beacon
