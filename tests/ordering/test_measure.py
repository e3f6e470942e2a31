"""What the shop counts of itself, and how it tells the collector."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
import timeit
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory

from ordering.measure import tokens
from ordering.measure.middleware import begins_a_visit
from ordering.measure.sending import Sender
from ordering.measure.tally import MOST_BEACONS, MOST_ROUTES, OTHER, Taken, Tally
from ordering.site import environment
from tests.ordering.served import Shop, free_port

# Of the environment "e", as a portal would have made it.
TOKEN = "eyJlIjoiZSJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


class Collector:
    """Takes reports as the portal does, and keeps them."""

    def __init__(self, port: int = 0) -> None:
        self.reports: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.status = 204
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.tokens.add(self.headers["Authorization"])
                outer.reports.append(json.loads(body))
                self.send_response(outer.status if self.path == "/measure/report" else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def totals(self) -> dict[str, Any]:
        """Everything reported, by route: {"requests", "visits", "orders"}, and the beacons under ""."""
        found: dict[str, Any] = {"": [one for report in self.reports for one in report["beacons"]]}
        for report in list(self.reports):
            for name, seen in report["routes"].items():
                route = found.setdefault(name, {"requests": 0, "visits": 0, "orders": 0})
                route["requests"] += sum(seen["statuses"].values())
                route["visits"] += seen["visits"]
                route["orders"] += seen["orders"]
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


# --- the tally ------------------------------------------------------------------------------------


def test_times_are_within_one_percent():
    tally = Tally()
    for seconds in (0.0004, 0.003, 0.0999, 1.5, 0.0):
        tally.request("menu", 200, seconds)
    times = json.loads(tally.take().next_report().body)["routes"]["menu"]["ms"]
    assert [count for _, count in times] == [1] * 5
    for told, true in zip([value for value, _ in times][1:], [0.4, 3, 99.9, 1500], strict=True):
        assert told == pytest.approx(true, rel=0.01)


def test_what_is_held_is_bounded():
    tally = Tally()
    for number in range(MOST_ROUTES + 50):
        tally.request(f"route-{number}", 200, 0.001)
    for _ in range(MOST_BEACONS + 10):
        tally.beacon(b"x" * 2000)
    taken = tally.take()
    assert len(taken.routes) == MOST_ROUTES + 1
    assert sum(taken.routes[OTHER].statuses.values()) == 50
    assert len(taken.beacons) == MOST_BEACONS
    assert taken.dropped == {"no_room": 10}


def all_of(taken: Taken) -> list[dict[str, Any]]:
    """Every report that it takes to say it, each of a size that the portal takes."""
    found = []
    while taken:
        report = taken.next_report()
        assert len(report.body) <= 256 * 1024
        found.append(json.loads(report.body))
        taken.forget(report)
    return found


@pytest.mark.parametrize(
    "body", [b"x" * 2048, b"\0" * 2048, b"\xff" * 2048, b'"\\' * 1024, "\U0001f354".encode() * 512]
)
def test_no_report_is_larger_than_the_portal_takes_whatever_browsers_send(body):
    """A byte may be six in JSON."""
    tally = Tally()
    for _ in range(300):
        tally.beacon(body)
    told = all_of(tally.take())
    assert len(told) > 1
    assert [one for report in told for one in report["beacons"]] == [body.decode("utf-8", "replace")] * 300


def test_counts_that_do_not_fit_into_one_report_come_in_several():
    tally = Tally()
    for number in range(MOST_ROUTES):
        for step in range(300):
            tally.request(f"a-page-with-a-name-{number}", 200, 0.0001 * 1.03**step)
    for _ in range(100):
        tally.beacon(b"x" * 2000)
    told = all_of(tally.take())
    assert len(told) > 1
    names = [name for report in told for name in report["routes"]]
    assert len(names) == len(set(names)) == MOST_ROUTES
    assert sum(sum(seen["statuses"].values()) for one in told for seen in one["routes"].values()) == MOST_ROUTES * 300
    assert sum(len(report["beacons"]) for report in told) == 100


def test_what_is_counted_together_is_taken_once():
    tally = Tally()

    def work() -> None:
        for _ in range(500):
            tally.request("menu", 200, 0.001, visit=True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    seen = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen += sum(route.visits for route in tally.take().routes.values())
    assert seen + sum(route.visits for route in tally.take().routes.values()) == 4000


# --- sending --------------------------------------------------------------------------------------


def test_a_collector_that_is_away_loses_nothing():
    port, tally = free_port(), Tally()
    sender = Sender(tally, f"http://127.0.0.1:{port}", TOKEN)
    tally.request("menu", 200, 0.01, visit=True)
    tally.beacon(b"{}")
    assert not sender.send()
    tally.request("menu", 500, 0.01)
    back = Collector(port)
    try:
        assert sender.send()
        assert back.totals() == {"": ["{}"], "menu": {"requests": 2, "visits": 1, "orders": 0}}
        assert back.tokens == {f"Bearer {TOKEN}"}
        assert sender.send(), "with nothing to say"
        assert len(back.reports) == 1
    finally:
        back.close()


def test_beacons_that_do_not_fit_into_one_report_come_in_several(collector):
    tally = Tally()
    for _ in range(500):
        tally.beacon(b"b" * 1000)
    tally.request("menu", 200, 0.01)
    assert Sender(tally, collector.url, TOKEN).send()
    assert len(collector.reports) > 1
    assert len(collector.totals()[""]) == 500
    assert collector.totals()["menu"]["requests"] == 1


def test_a_report_that_is_refused_is_counted_and_does_not_come_again(collector):
    tally = Tally()
    sender = Sender(tally, collector.url, TOKEN)
    collector.status = 413
    tally.beacon(b"a")
    assert sender.send(), "the collector is there"
    collector.status = 204
    tally.beacon(b"b")
    assert sender.send()
    assert sender.send(), "with nothing to say"
    assert [report["beacons"] for report in collector.reports] == [["a"], ["b"]]
    assert [report["dropped"] for report in collector.reports] == [{}, {"refused": 1}]


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_whoever_stands_before_the_collector_refuses_nothing_for_ever(collector, status):
    tally = Tally()
    collector.status = status
    tally.beacon(b"a")
    assert not Sender(tally, collector.url, TOKEN).send()
    collector.status = 204
    assert Sender(tally, collector.url, TOKEN).send()
    assert [(report["beacons"], report["dropped"]) for report in collector.reports] == [(["a"], {})] * 2


def test_what_does_not_fit_when_it_is_put_back_is_counted():
    tally = Tally()
    for _ in range(MOST_BEACONS):
        tally.beacon(b"old")
    taken = tally.take()
    for _ in range(3):
        tally.beacon(b"new")
    tally.put_back(taken)
    taken = tally.take()
    assert (len(taken.beacons), taken.dropped) == (MOST_BEACONS, {"no_room": 3})


# --- visits ---------------------------------------------------------------------------------------

TYPED = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("headers", "begins"),
    [
        (TYPED, True),
        ({**TYPED, "Sec-Fetch-Site": "cross-site"}, True),
        ({**TYPED, "Sec-Fetch-Site": "same-origin"}, False),
        ({**TYPED, "Cache-Control": "max-age=0"}, False),
        ({**TYPED, "Sec-Purpose": "prefetch"}, False),
        ({**TYPED, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, False),
        ({**TYPED, "Sec-Fetch-Dest": "iframe"}, False),
        ({"Accept": "text/html,*/*"}, True),
        ({"Accept": "text/html", "Referer": "http://testserver/menu"}, False),
        ({"Accept": "text/html", "Referer": "https://search.example/"}, True),
        ({"Accept": "text/html", "Referer": "http://[half an address"}, True),
        ({"Accept": "*/*"}, False),
        ({}, False),
    ],
)
def test_a_visit_begins_where_somebody_comes_from_elsewhere(headers, begins):
    request = RequestFactory(HTTP_HOST="testserver").get("/", headers=headers)
    assert begins_a_visit(request, 200) is begins
    assert begins_a_visit(request, 404) is False
    assert begins_a_visit(request, 503) is begins, "who meets an error came all the same"
    assert begins_a_visit(RequestFactory().post("/", headers=headers), 200) is False


# --- the shop -------------------------------------------------------------------------------------


def test_a_shop_without_a_collector_measures_nothing(shop):
    page = shop.client.get("/")
    assert "agent.js" not in page.text
    assert shop.client.post("/measure", content=b"{}").status_code == 404


def _answer_to_headers_alone(port: int, path: str, header: str, begin: str = "") -> int:
    """The status that comes while the body is still to come."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}\r\n\r\n{begin}".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_a_shop_reports_what_it_served(tmp_path, database, built, collector):
    measuring = {"MEASURE_URL": collector.url, "MEASURE_TOKEN": TOKEN, "MEASURE_SAMPLE": "0.5"}
    with Shop(tmp_path / "shop", database=database, built=built, **measuring) as shop:
        page = shop.client.get("/", headers=TYPED).text
        found = dict(part.split("=", 1) for part in page.split("agent.")[1].split(">")[0].split() if "=" in part)
        assert found["data-to"] == '"/measure"'
        assert found["data-sample"] == '"0.5"'
        claims = [json.loads(_plain(part)) for part in found["data-token"].strip('"').split(".")[:-1]]
        assert claims[:2] == [{"e": "e"}, {"r": "test-release"}]
        assert claims[2]["p"] == "menu"
        answer = shop.client.post("/measure", content=b'{"m": {}}', headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert not any(name == "set-cookie" for name in answer.headers)
        assert shop.client.post("/measure", content=b"x" * 2049).status_code == 413
        assert _answer_to_headers_alone(shop.port, "/measure", "Content-Length: 60000000") == 413
        assert _answer_to_headers_alone(shop.port, "/checkout/", "Content-Length: 60000000") == 413
        piece = f"{2049:x}\r\n" + 2049 * "x" + "\r\n"
        assert _answer_to_headers_alone(shop.port, "/measure", "Transfer-Encoding: chunked", piece) == 413
        assert shop.client.get("/measure").status_code == 405
        assert shop.client.get("/nowhere").status_code == 404
        shop.client.get("/", headers={"X-Burger-Release": "test-release"})
        order = {"name": "Ada", "lines": [{"item": "fries"}]}
        for _ in range(2):
            shop.client.post("/api/orders", json=order, headers={"Idempotency-Key": "one-order-12345678"})
        # Its last words are said when it ends.
        shop.terminate()
        assert shop.process.wait(30) == 0
    totals = collector.totals()
    assert totals.pop("") == ['{"m": {}}']
    assert totals.pop("other") == {"requests": 1, "visits": 0, "orders": 0}
    assert totals == {
        "menu": {"requests": 1, "visits": 1, "orders": 0},
        "api-orders": {"requests": 2, "visits": 0, "orders": 0},
        "checkout": {"requests": 0, "visits": 0, "orders": 1},
    }
    assert collector.tokens == {f"Bearer {tokens.of_release(TOKEN, 'test-release')}"}


def _plain(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(("name", "value"), [("MEASURE_SAMPLE", "2"), ("MEASURE_SAMPLE", "x"), ("MEASURE_URL", "here")])
def test_a_wrong_setting_stops_the_start(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        environment.share(name, "1") if "SAMPLE" in name else environment.collector(name)


def test_a_page_costs_the_agent_little(settings):
    """What it does to each request takes some ten microseconds; a page takes thousands."""
    from ordering.measure import agent as agents
    from ordering.measure.middleware import Measured

    settings.MEASURE_URL, settings.MEASURE_TOKEN, settings.RELEASE = "http://127.0.0.1:9", TOKEN, "test-release"
    request = RequestFactory().get("/", headers=TYPED)
    request.resolver_match = SimpleNamespace(url_name="menu")  # type: ignore[assignment]
    answer = HttpResponse()
    bare = lambda _: answer  # noqa: E731
    measured = Measured(bare)
    measured.agent.sender.ensure_running = lambda: None  # type: ignore[method-assign]
    took = min(timeit.repeat(lambda: measured(request), number=200, repeat=20)) / 200
    assert took < 0.0003
    agents._agent.cache_clear()
