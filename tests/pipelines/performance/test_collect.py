"""What comes in is counted once, under the release of its token, or dropped and counted as that."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from pipelines.performance import collect, selectors, tokens
from pipelines.performance.cells import Cells
from pipelines.performance.collect import BEACON, REPORT, Collector, Intake
from pipelines.performance.models import Measurement
from pipelines.performance.selectors import Counts

from .conftest import KEY


def around(clock) -> tuple[datetime, datetime]:
    now = datetime.fromtimestamp(clock(), UTC)
    return now - timedelta(hours=1), now + timedelta(hours=1)


def test_views_are_counted_by_release_route_and_device(collector, beacon, clock):
    for value in (700, 900, 1100, 1300):
        collector.beacon(beacon({"LCP": value, "CLS": 0}))
    collector.beacon(beacon({"LCP": 5000}, device="desktop"))
    collector.beacon(beacon({"LCP": 400}, release="shop-2", route="cart", navigation="reload"))
    collector.flush()
    phone = selectors.sketch("production", "shop-1", "LCP", *around(clock), device="phone")
    assert phone.count == 4
    assert phone.quantile(0.75) == pytest.approx(1100, rel=0.01)
    assert selectors.sketch("production", "shop-1", "CLS", *around(clock)).quantile(0.75) == 0
    assert selectors.sketch("production", None, "LCP", *around(clock)).count == 6
    assert selectors.sketch("production", None, "LCP", *around(clock), route="cart").count == 1
    assert selectors.known("production", "release", *around(clock)) == ["shop-1", "shop-2"]
    assert selectors.known("production", "device", *around(clock)) == ["desktop", "phone"]
    views = selectors.over_time("production", "view.reload", *around(clock), timedelta(hours=2))
    assert [point.count for point in views[""]] == [1]
    assert selectors.dropped(*around(clock)) == {}


def test_a_servers_report_is_counted_with_what_it_passes_on(collector, beacon, clock):
    body = {
        "routes": {
            "menu": {"statuses": {"2xx": 97, "5xx": 3}, "ms": [[12.5, 90], [250, 10]], "visits": 40},
            "checkout": {"statuses": {"3xx": 8}, "ms": [[30, 8]], "orders": 8},
        },
        "beacons": [beacon({"LCP": 900}).decode(), "nonsense"],
        "dropped": {"no_room": 7},
    }
    assert collector.report(tokens.mint(KEY, "production", "shop-1"), json.dumps(body).encode())
    collector.flush()
    found = selectors.counts("production", "shop-1", *around(clock))
    assert found == Counts(requests=108, errors=3, sessions=40, orders=8)
    assert selectors.counts("production", "shop-1", *around(clock), route="menu").orders == 0
    assert selectors.sketch("production", "shop-1", "duration", *around(clock), route="menu").quantile(0.95) == (
        pytest.approx(250, rel=0.01)
    )
    assert selectors.sketch("production", "shop-1", "LCP", *around(clock)).count == 1
    assert selectors.dropped(*around(clock), "production") == {"malformed": 1, "no_room": 7}
    assert selectors.dropped(*around(clock)) == {}, "whose server it was is known"


def test_the_release_is_the_tokens_and_nobody_elses(collector, beacon, page, clock):
    said = json.loads(beacon({"LCP": 1}))
    collector.beacon(json.dumps({**said, "release": "shop-9"}).encode())
    collector.beacon(json.dumps({**said, "t": said["t"][:-2] + "AA"}).encode())
    # A page's token is no server's, and a server's is on no page.
    collector.report(page(), b'{"routes": {"menu": {"orders": 1000}}}')
    collector.beacon(json.dumps({**said, "t": tokens.mint(KEY, "production", "shop-1")}).encode())
    # An environment's token alone says of no release.
    collector.report(tokens.mint(KEY, "production"), b'{"routes": {"menu": {"orders": 1000}}}')
    collector.flush()
    assert selectors.known("production", "release", *around(clock)) == []
    assert selectors.dropped(*around(clock)) == {
        "malformed": 1, "forged": 1, "not_for_servers": 1, "not_for_pages": 1, "no_release": 1,
    }  # fmt: skip


def test_a_page_that_was_open_for_too_long_counts_no_more(collector, beacon, clock):
    body = beacon({"LCP": 1})
    clock.now += 4000
    collector.beacon(body)
    collector.flush()
    assert selectors.dropped(*around(clock)) == {"expired": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"m": {"LCP": "1"}}, {"m": {"LCP": True}}, {"m": {"LCP": -1}}, {"m": {"LCP": 10**9}}, {"m": {"XYZ": 1}},
        {"m": []}, {"d": "fridge"}, {"n": ""}, {"t": 7}, {"more": 1}, {"m": {"CLS": float("nan")}},
        {"m": {"LCP": float("inf")}}, {"d": ["phone"]}, {"n": {}}, {"m": {"LCP": None}}, {"m": {"LCP": 10**400}},
        {"m": {"LCP": -(10**400)}}, {"t": "\ud800"}, {"n": "\ud800"},
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_dropped_whole(collector, beacon, clock, change):
    collector.beacon(json.dumps({**json.loads(beacon({"LCP": 1})), **change}).encode())
    collector.flush()
    assert not Measurement.objects.exclude(environment="").exists()
    assert selectors.dropped(*around(clock)) == {"malformed": 1}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"t":' * 500, b"[" * 2000])
def test_what_is_no_report_is_dropped(collector, clock, body):
    collector.beacon(body)
    collector.report("x", body)
    collector.flush()
    assert sum(selectors.dropped(*around(clock)).values()) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"routes": {"menu": {"ms": [[10**400, 1]]}}}, {"routes": {"menu": {"ms": [[1, 10**400]]}}},
        {"routes": {"menu": {"orders": 10**400}}}, {"routes": {"\ud800": {"orders": 1}}}, {"beacons": ["\ud800"]},
        {"dropped": {"forged": 1}}, {"dropped": {"no_room": -1}}, {"dropped": []},
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_true_takes_no_other_with_it(collector, beacon, clock, body):
    collector.report(tokens.mint(KEY, "production", "shop-1"), json.dumps(body).encode())
    collector.beacon(beacon({"LCP": 900}))
    collector.flush()
    assert selectors.dropped(*around(clock), "production") == {"malformed": 1}
    assert selectors.sketch("production", "shop-1", "LCP", *around(clock)).count == 1


def test_what_breaks_the_reader_is_counted_and_told_once(collector, beacon, clock, monkeypatch, caplog):
    read = collect.reports.beacon

    def broken(body: bytes, reader: Any) -> Any:
        return 1 / 0 if b"desktop" in body else read(body, reader)

    monkeypatch.setattr(collect.reports, "beacon", broken)
    for device in ("desktop", "phone", "desktop"):
        collector.beacon(beacon({"LCP": 900}, device=device))
    collector.flush()
    assert selectors.dropped(*around(clock)) == {"malformed": 2}
    assert selectors.sketch("production", "shop-1", "LCP", *around(clock)).count == 1
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("breakage", [OSError("the key cannot be read"), SystemExit()])
def test_the_thread_that_writes_outlives_what_breaks_it_or_another_takes_over(beacon, clock, monkeypatch, breakage):
    """What is raised where no single report is to blame; the second ends the thread."""
    views, broken = [], threading.Event()

    def write(cells: Cells) -> None:
        views.extend(cell.count for key, cell in cells._cells.items() if key.metric == "LCP")
        cells._cells.clear()

    monkeypatch.setattr(collect, "FLUSH", 0.05)
    monkeypatch.setattr(collect, "LOOK", 0.01)
    monkeypatch.setattr(Cells, "write", write)

    def secret() -> bytes:
        if not broken.is_set():
            broken.set()
            raise breakage
        return KEY

    collector = Collector(secret, clock)
    try:
        collector.beacon(beacon({"LCP": 900}))
        assert broken.wait(10)
        first = collector._thread
        deadline = time.monotonic() + 10
        while isinstance(breakage, SystemExit) and first.is_alive() and time.monotonic() < deadline:
            first.join(0.1)
        collector.beacon(beacon({"LCP": 900}))
        while sum(views) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sum(views) == 2
    finally:
        collector.close()


def test_what_comes_faster_than_it_is_read_is_dropped_and_counted(collector, beacon, clock, monkeypatch):
    monkeypatch.setattr(collect, "MOST_BEACONS", 10)
    monkeypatch.setattr(collect, "MOST_REPORTS", 2)
    for _ in range(25):
        collector.beacon(beacon({"LCP": 1}))
    assert [collector.report("token", b"{}") for _ in range(3)] == [True, True, False]
    collector.flush()
    assert selectors.sketch("production", "shop-1", "LCP", *around(clock)).count == 10
    assert selectors.dropped(*around(clock))["no_room"] == 15


def test_more_series_than_fit_are_dropped_and_counted(collector, beacon, clock, monkeypatch):
    monkeypatch.setattr("pipelines.performance.cells.MOST", 3)
    for number in range(5):
        collector.beacon(beacon({"LCP": 1}, route=f"r{number}"))
    collector.flush()
    assert sum(selectors.dropped(*around(clock)).values()) == 7
    assert Measurement.objects.exclude(environment="").count() == 3


def test_a_database_that_is_away_loses_nothing(collector, beacon, clock, monkeypatch):
    def away(self: Cells) -> int:
        raise OperationalError("database is locked")

    collector.beacon(beacon({"LCP": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(Cells, "write", away)
        with pytest.raises(OperationalError):
            collector.flush()
    collector.beacon(beacon({"LCP": 1}))
    collector.flush()
    assert selectors.sketch("production", "shop-1", "LCP", *around(clock)).count == 2


def test_nothing_stored_tells_who_it_was(collector, beacon):
    """No address, no query string, no cookie, no user agent: the rows hold what the columns say, and no more."""
    asyncio.run(ask(Intake(nobody, collector), BEACON, beacon({"LCP": 900}), headers=TELLTALES))
    collector.flush()
    assert {field.name for field in Measurement._meta.fields} == {
        "id", "level", "start", "environment", "release", "route", "device", "metric", "count", "sketch",
    }  # fmt: skip
    stored = repr(list(Measurement.objects.values())).lower()
    for secret in ("mozilla", "203.0.113.9", "cookie", "sessionid", "utm_source", "http"):
        assert secret not in stored


# --- over HTTP ------------------------------------------------------------------------------------

TELLTALES = [
    (b"user-agent", b"Mozilla/5.0 (X11)"),
    (b"cookie", b"sessionid=abc; shop_cart=def"),
    (b"referer", b"https://shop.example/menu?utm_source=x"),
    (b"x-forwarded-for", b"203.0.113.9"),
]


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not here"})


async def ask(app: Any, path: str, body: bytes, *, method: str = "POST", headers: Any = (), piece: int = 1000) -> Any:
    """(status, headers, body) of the answer; the request comes in pieces, as from a network."""
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers), "client": ("203.0.113.9", 1)}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


def asked(collector: Collector, path: str, body: bytes, **more: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    return asyncio.run(ask(Intake(nobody, collector), path, body, **more))


def test_the_answer_is_204_whatever_came(collector, beacon):
    for body in (beacon({"LCP": 1}), b"nonsense", b""):
        status, headers, content = asked(collector, BEACON, body)
        assert (status, content) == (204, b"")
        assert b"set-cookie" not in headers
        assert not any(name.startswith(b"access-control") for name in headers)
    assert asked(collector, REPORT, b"{}")[0] == 204


def test_a_body_of_more_than_2_kb_is_refused_and_counted(collector, clock):
    assert asked(collector, BEACON, b"x" * 2048)[0] == 204
    assert asked(collector, BEACON, b"x" * 2049)[0] == 413
    collector.flush()
    assert selectors.dropped(*around(clock)) == {"malformed": 1, "too_large": 1}


def test_only_post_and_only_there(collector):
    for method in ("GET", "OPTIONS", "PUT", "HEAD"):
        assert asked(collector, BEACON, b"", method=method)[0] == 405
    assert asked(collector, "/measure/beacon/", b"")[2] == b"not here"
    assert asked(collector, "/", b"")[2] == b"not here"


def test_a_server_is_told_when_there_is_no_room(collector, monkeypatch):
    monkeypatch.setattr(collect, "MOST_REPORTS", 0)
    status, headers, _ = asked(collector, REPORT, b"{}")
    assert (status, headers[b"retry-after"]) == (503, b"5")


def test_the_portal_answers_at_these_addresses(home):
    """Before Django: a browser's beacon costs no session, no middleware and no database."""
    from portal.asgi import requests

    assert isinstance(requests, Intake)
