"""Live events from a worker's transaction to a client's socket: real processes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .live_site import Backstage, Site, events_until, frame_of, live_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with live_site(tmp_path_factory.mktemp("home"), application="tests.portal.live_asgi:application") as site:
        yield site


@pytest.fixture(scope="module")
def ann(site: Site) -> str:
    return site.backstage.person(name="ann")


@pytest.fixture
def worker(site: Site) -> Iterator[Backstage]:
    worker = Backstage(site.env)
    yield worker
    worker.close()


def do(scenario: Any, seconds: float = 30) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, seconds))


def address(number: int, since: int | str = 0) -> str:
    return f"/ws/runs/demo/{number}/?since={since}"


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def append(worker: Backstage, **arguments: Any) -> int:
    return await asyncio.to_thread(worker.append, **arguments)


def test_a_client_gets_what_it_missed_and_then_follows(site, ann):
    pk, number = site.backstage.run()
    site.backstage.append(run=pk, count=1200, together=100)

    async def scenario() -> None:
        async with site.connect(address(number, since=10), ann) as socket:
            missed = await events_until(socket, 1200)
            assert numbers(missed) == list(range(11, 1201))
            assert (await frame_of(socket, "live"))["last"] == 1200
            await append(site.backstage, run=pk, count=3)
            assert numbers(await events_until(socket, 1203)) == [1201, 1202, 1203]

    do(scenario())


def test_an_event_says_what_happened(site, ann):
    pk, number = site.backstage.run()
    site.backstage.append(run=pk, count=1, size=0)

    async def scenario() -> dict[str, Any]:
        async with site.connect(address(number), ann) as socket:
            return (await events_until(socket, 1))[0]

    event = do(scenario())
    assert event.keys() == {"seq", "kind", "stage", "attempt", "at", "data"}
    assert (event["seq"], event["kind"], event["stage"], event["attempt"]) == (1, "log", None, None)
    assert event["data"]["text"].startswith("@")


def test_events_of_several_runs_and_writers_stay_apart_and_in_order(site, ann, worker):
    runs = [site.backstage.run() for _ in range(2)]

    async def follow(number: int) -> list[int]:
        async with site.connect(address(number), ann) as socket:
            return numbers(await events_until(socket, 400))

    async def scenario() -> list[list[int]]:
        followers = [asyncio.create_task(follow(number)) for _, number in runs for _ in range(2)]
        writers = [append(w, run=pk, count=200) for pk, _ in runs for w in (site.backstage, worker)]
        # Each process writes one after the other; the two processes write at the same time.
        await asyncio.gather(_both(writers[0], writers[2]), _both(writers[1], writers[3]))
        return await asyncio.gather(*followers)

    assert do(scenario()) == [list(range(1, 401))] * 4


async def _both(first: Any, second: Any) -> None:
    await first
    await second


def test_reconnecting_under_writes_loses_and_doubles_nothing(site, ann, worker):
    pk, number = site.backstage.run()
    total = 3000

    async def follow() -> list[int]:
        got: list[int] = []
        dice = random.Random(4)
        while len(got) < total:
            async with site.connect(address(number, since=got[-1] if got else 0), ann) as socket:
                for _ in range(dice.randint(1, 12)):
                    frame = json.loads(await socket.recv())
                    got += numbers(frame.get("events", []))
                    if len(got) >= total:
                        break
                if dice.random() < 0.5:
                    socket.transport.abort()
        return got

    async def scenario() -> list[list[int]]:
        followers = [asyncio.create_task(follow()) for _ in range(4)]
        await append(worker, run=pk, count=total, together=4)
        return await asyncio.gather(*followers)

    assert do(scenario(), 60) == [list(range(1, total + 1))] * 4


def test_a_client_goes_on_where_it_was_when_the_web_process_was_killed(site, ann, worker):
    pk, number = site.backstage.run()

    async def until_cut() -> list[int]:
        got: list[int] = []
        async with site.connect(address(number), ann) as socket:
            try:
                while True:
                    got += numbers(json.loads(await socket.recv()).get("events", []))
                    if len(got) > 50:
                        site.stop_web(kill=True)
            except ConnectionClosed:
                return got

    async def rest(since: int) -> list[int]:
        async with site.connect(address(number, since), ann) as socket:
            return numbers(await events_until(socket, 400))

    worker.begin("append", run=pk, count=400, every=0.003)
    got = do(until_cut())
    site.start_web()
    worker.answer()
    assert got + do(rest(got[-1])) == list(range(1, 401))


def test_a_client_that_does_not_read_costs_little_memory_and_gets_everything_later(site, ann, worker):
    pk, number = site.backstage.run()
    count, size = 600, 100_000
    web = psutil.Process(site.web.pid)

    async def scenario() -> tuple[list[int], list[int], int]:
        slow = await site.connect(address(number), ann, max_queue=1)
        async with slow, site.connect(address(number), ann) as quick:
            await frame_of(slow, "live")
            before = web.memory_info().rss
            following = asyncio.create_task(events_until(quick, count))
            await append(worker, run=pk, count=count, size=size)
            quickly = numbers(await following)
            grown = web.memory_info().rss - before
            return quickly, numbers(await events_until(slow, count)), grown

    quickly, slowly, grown = do(scenario(), 60)
    assert quickly == slowly == list(range(1, count + 1))
    assert grown < count * size / 2, f"the web process grew by {grown / 1e6:.0f} MB"


def test_list_pages_are_told_which_runs_changed(site, ann):
    pk, number = site.backstage.run()

    async def scenario() -> list[dict[str, Any]]:
        async with site.connect("/ws/portal/", ann) as socket:
            await frame_of(socket, "live")
            # The first look learns how things stand.
            await asyncio.sleep(1)
            await append(site.backstage, run=pk, count=5)
            await append(site.backstage, run=pk, count=5, kind="run")
            first = await frame_of(socket, "changed")
            await asyncio.to_thread(site.backstage.end, run=pk)
            return [first, await frame_of(socket, "changed")]

    first, second = do(scenario())
    assert first == {
        "type": "changed",
        "kinds": ["run"],
        "runs": [{"pk": pk, "pipeline": "demo", "number": number, "state": "running"}],
    }
    assert [run["state"] for run in second["runs"]] == ["succeeded"]


# --- who may watch ---


async def closed_with(connection: Any) -> tuple[int, str]:
    async with connection as socket:
        return await end_of(socket)


async def end_of(socket: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
    return socket.close_code or 0, socket.close_reason or ""


@pytest.mark.parametrize("path", [address(1), "/ws/portal/"])
def test_a_visitor_is_asked_to_sign_in(site, path):
    assert do(closed_with(site.connect(path))) == (4401, "Sign in first.")
    assert do(closed_with(site.connect(path, "made-up"))) == (4401, "Sign in first.")


@pytest.mark.parametrize("path", [address(1), "/ws/portal/"])
def test_somebody_in_no_team_may_not_watch(site, path):
    name = "eve" if "runs" in path else "eva"
    eve = site.backstage.person(name=name, team=None)
    code, reason = do(closed_with(site.connect(path, eve)))
    assert (code, reason) == (4403, "You are in no team. Ask an administrator to add you to one.")


@pytest.mark.parametrize("path", [address(1), "/ws/portal/"])
@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9", "null", ""])
def test_a_page_of_another_origin_may_not_watch_in_my_name(site, ann, path, origin):
    async def scenario() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with site.connect(path, ann, origin=origin):
                pass
        assert refused.value.response.status_code == 403

    do(scenario())


def test_an_unknown_run_or_number_is_refused_with_a_reason(site, ann):
    _, number = site.backstage.run()
    assert do(closed_with(site.connect(address(10_000), ann)))[0] == 4404
    for since in ("-1", "x", "9" * 30, "5"):
        code, reason = do(closed_with(site.connect(address(number, since), ann)))
        assert code == 4400, reason


def test_an_unknown_address_is_refused(site, ann):
    async def scenario() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with site.connect("/ws/elsewhere/", ann):
                pass
        assert refused.value.response.status_code == 403

    do(scenario())


def test_a_client_that_talks_is_closed(site, ann):
    async def talk() -> int:
        async with site.connect("/ws/portal/", ann) as socket:
            await socket.send("hello")
            return (await end_of(socket))[0]

    assert do(talk()) == 4400


def test_signing_out_closes_the_sockets_of_that_session_alone(site, ann):
    _, number = site.backstage.run()
    session = site.backstage.person(name="leaver")

    async def scenario() -> tuple[int, str]:
        async with site.connect("/ws/portal/", ann) as stays, site.connect(address(number), session) as socket:
            await frame_of(socket, "live")
            await asyncio.to_thread(site.backstage.sign_out, session=session)
            closed = await end_of(socket)
            await (await stays.ping())
            return closed

    assert do(scenario()) == (4401, "Sign in first.")


def test_leaving_the_last_team_closes_the_socket(site):
    session = site.backstage.person(name="mover")

    async def scenario() -> int:
        async with site.connect("/ws/portal/", session) as socket:
            await frame_of(socket, "live")
            await asyncio.to_thread(site.backstage.remove_from_teams, name="mover")
            return (await end_of(socket))[0]

    assert do(scenario()) == 4403


def test_a_web_process_that_ends_gives_its_bell_back(site, ann):
    bells = site.home / "run" / "bells" / "events"
    _, number = site.backstage.run()

    async def scenario() -> None:
        async with site.connect(address(number), ann) as socket:
            await frame_of(socket, "live")

    do(scenario())
    assert [bell for bell in bells.iterdir() if bell.name.startswith(f"{site.web.pid}-")]
    pid = site.web.pid
    site.stop_web()
    assert not [bell for bell in bells.iterdir() if bell.name.startswith(f"{pid}-")]
    site.start_web()
