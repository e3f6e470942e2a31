"""Live sockets on PostgreSQL: the same promises, also while the server goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.bench import postgres

from .live_site import Backstage, Site, events_until, live_site


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    if postgres.program("initdb") is None:
        pytest.skip(postgres.INSTALL)
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, server: postgres.Server) -> Iterator[Site]:
    with live_site(tmp_path_factory.mktemp("home"), database=server.url) as site:
        yield site


@pytest.fixture(scope="module")
def ann(site: Site) -> str:
    return site.backstage.person(name="ann")  # the only thing it does: a restart ends its connection


@pytest.fixture
def worker(site: Site) -> Iterator[Backstage]:
    worker = Backstage(site.env)
    yield worker
    worker.close()


@pytest.fixture
def far_worker(site: Site, tmp_path: Path) -> Iterator[Backstage]:
    """A worker whose rings do not reach the web process, as one on another machine."""
    worker = Backstage(site.env | {"BURGER_RUN_DIR": str(tmp_path)})
    yield worker
    worker.close()


def do(scenario: Any, seconds: float = 60) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, seconds))


def address(number: int, since: int = 0) -> str:
    return f"/ws/runs/demo/{number}/?since={since}"


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def opened(site: Site, path: str, session: str) -> ClientConnection:
    """A socket that has said that it is live. Right after a restart the first ones may be told to try again."""
    while True:
        socket = await site.connect(path, session)
        with contextlib.suppress(ConnectionClosed):
            while json.loads(await socket.recv())["type"] != "live":
                pass
            return socket
        await asyncio.sleep(0.1)


def test_what_two_workers_write_at_once_comes_in_order_and_once(site, ann, worker, far_worker):
    pk, number = worker.run()

    async def follow() -> list[int]:
        async with site.connect(address(number), ann) as socket:
            return numbers(await events_until(socket, 400))

    async def scenario() -> list[list[int]]:
        followers = [asyncio.create_task(follow()) for _ in range(3)]
        writers = [asyncio.to_thread(one.append, run=pk, count=200) for one in (worker, far_worker)]
        await asyncio.gather(*writers)
        return await asyncio.gather(*followers)

    assert do(scenario()) == [list(range(1, 401))] * 3


def test_a_ring_brings_an_event_at_once_and_without_one_it_comes_soon(site, ann, worker, far_worker):
    pk, number = worker.run()

    async def seconds(writer: Backstage, last: int) -> float:
        async with await opened(site, address(number, since=last - 1), ann) as socket:
            await asyncio.sleep(0.2)  # a look that was due anyway is over
            writer.begin("append", run=pk, count=1)
            (event,) = await events_until(socket, last)
            await asyncio.to_thread(writer.answer)
        written = int(event["data"]["text"].split("@")[1]) / 1e9
        return time.time() - written

    async def scenario() -> tuple[float, float]:
        return min([await seconds(worker, last) for last in range(1, 6)]), await seconds(far_worker, 6)

    rung, unheard = do(scenario())
    assert rung < 0.3
    assert unheard < 5


def test_an_open_socket_outlives_a_restart_of_the_server(site, ann, server):
    before, after = Backstage(site.env), None
    pk, number = before.run()

    async def scenario() -> list[int]:
        nonlocal after
        async with await opened(site, address(number), ann) as socket:
            await asyncio.to_thread(before.append, run=pk, count=50)
            got = numbers(await events_until(socket, 50))
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(1.5)  # longer than the web process waits between two looks
            await asyncio.to_thread(server.start)
            after = Backstage(site.env)
            await asyncio.to_thread(after.append, run=pk, count=50)
            return got + numbers(await events_until(socket, 100))

    try:
        assert do(scenario()) == list(range(1, 101))
    finally:
        before.close()
        if after:
            after.close()


def test_a_restart_in_the_middle_of_writing_loses_and_doubles_nothing(site, ann, server):
    writer = Backstage(site.env)
    pk, number = writer.run()

    async def follow(got: list[int], total: asyncio.Future[int]) -> None:
        """As a page does: whenever the socket closes, ask for what is behind the last number."""
        while not total.done() or (got[-1] if got else 0) < total.result():
            socket = await opened_behind(got)
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                async with socket, asyncio.timeout(3):
                    while True:
                        got += numbers(json.loads(await socket.recv()).get("events", []))

    async def opened_behind(got: list[int]) -> ClientConnection:
        return await site.connect(address(number, got[-1] if got else 0), ann)

    async def scenario() -> tuple[list[int], list[int]]:
        got: list[int] = []
        total: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        following = asyncio.create_task(follow(got, total))
        writer.begin("append", run=pk, count=5000, every=0.002)
        while len(got) < 100:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        again = Backstage(site.env)
        try:
            last = await asyncio.to_thread(again.append, run=pk, count=100)
            total.set_result(last)
            await following
            return got, await asyncio.to_thread(again.stored, run=pk)
        finally:
            again.close()

    try:
        got, stored = do(scenario())
    finally:
        writer.close()
    assert got == stored == list(range(1, len(stored) + 1))
    assert 200 <= len(stored) < 5000
