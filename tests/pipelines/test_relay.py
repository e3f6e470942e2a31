"""Rings between machines, through a real Redis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import doorbell, relay
from tests import redis_server


def skip_without_redis() -> None:
    if redis_server.program() is None:
        pytest.skip(redis_server.INSTALL)


@pytest.fixture
def redis(short_folder: Path, settings: Any) -> Iterator[redis_server.Server]:
    skip_without_redis()
    with redis_server.server(short_folder) as one:
        settings.REDIS_URL = one.url
        forget()
        yield one
    forget()


@pytest.fixture
def short_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The path of a socket has at most 107 characters."""
    folder = Path("/tmp") / f"burger-redis-{os.getpid()}"
    folder.mkdir(mode=0o700)
    yield folder
    folder.rmdir()


def forget() -> None:
    """As a process that has just begun."""
    for known in (relay._channel, relay._here, relay._client):
        known.cache_clear()
    relay._not_before, relay._away = 0.0, False


def on_another_machine(settings: Any, folder: Path) -> None:
    """What is called from now on, as if it were called there; bells and their ears stay where they are."""
    settings.RUN_DIR = folder
    forget()


def connected(bell: doorbell.Bell) -> None:
    assert bell.ear is not None
    assert bell.ear.connected.wait(20)
    bell.wait(1)  # rung once for what may have been missed before


def test_a_ring_reaches_another_machine(redis: redis_server.Server, settings: Any, tmp_path: Path) -> None:
    settings.RUN_DIR = tmp_path / "here"
    with doorbell.Bell(doorbell.WORK) as bell:
        connected(bell)
        on_another_machine(settings, tmp_path / "there")
        doorbell.ring(doorbell.EVENTS)
        assert not bell.wait(0.3), "another kind of ring"
        doorbell.ring(doorbell.WORK)
        assert bell.wait(20)


def test_a_ring_of_this_machine_comes_once(redis: redis_server.Server, settings: Any, tmp_path: Path) -> None:
    settings.RUN_DIR = tmp_path / "here"
    forget()
    with doorbell.Bell(doorbell.WORK) as bell:
        connected(bell)
        doorbell.ring(doorbell.WORK)
        assert bell.wait(20)
        assert not bell.wait(0.5)


def test_installations_on_one_server_do_not_hear_each_other(
    redis: redis_server.Server, settings: Any, tmp_path: Path
) -> None:
    settings.RUN_DIR = tmp_path / "here"
    with doorbell.Bell(doorbell.WORK) as bell:
        connected(bell)
        settings.SECRET_KEY = "the key of another installation, long enough"
        on_another_machine(settings, tmp_path / "there")
        doorbell.ring(doorbell.WORK)
        assert not bell.wait(0.5)


def test_a_server_that_is_gone_costs_a_moment_and_its_return_is_heard(
    redis: redis_server.Server, settings: Any, tmp_path: Path
) -> None:
    settings.RUN_DIR = tmp_path / "here"
    with doorbell.Bell(doorbell.WORK) as bell:
        connected(bell)
        redis.kill()
        began = time.monotonic()
        for _ in range(100):
            doorbell.ring(doorbell.WORK)
        assert time.monotonic() - began < 5, "each ring would wait for the server"
        while bell.wait(0.2):  # the rings of this machine itself
            pass
        redis.start()
        assert bell.wait(20), "whoever comes back looks once"
        on_another_machine(settings, tmp_path / "there")
        doorbell.ring(doorbell.WORK)
        assert bell.wait(20)


def test_an_outage_is_said_once(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    monkeypatch.setattr(relay, "SPARE", 0.0)
    monkeypatch.setattr(relay, "LOOK", 0.02)
    forget()
    ear = relay.Ear(doorbell.WORK, lambda: None)
    for _ in range(5):
        relay.ring(doorbell.WORK)
        time.sleep(0.05)
    ear.close()
    said = [record.message.partition(":")[0] for record in caplog.records if record.name == relay.log.name]
    assert sorted(said) == [
        "Redis cannot be heard, trying again every 0.02 s", "Redis takes no ring, so other machines look by themselves",
    ]  # fmt: skip
    forget()
