"""Cookies know hosts and no ports: no release ever sees one of the portal's, nor gives the portal one."""

from __future__ import annotations

import http.client
import json
import time

import pytest

from pipelines.executors.rollout.local.control import configure, ensure_keeper
from pipelines.performance import tokens
from tests.executors.rollout_helpers import installation, until

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"
COLLECTOR = "http://127.0.0.1:9"
SESSION = "burger_session_8400=abc"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with installation(tmp_path_factory.mktemp("hosts")) as made:
        configure(made.home, None, None, {"portal": "127.0.0.1", "environments": "localhost", "collector": COLLECTOR})
        ensure_keeper(made.home, made.workplace.environment_ports)
        made.rolled(made.spec("first"))
        yield made


def ask(place, path="/", method="GET", **headers) -> tuple[int, str]:
    """(status, where to)"""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["Location"] or ""
    finally:
        connection.close()


def test_a_browser_under_the_portals_host_is_sent_on_before_a_release_sees_its_cookies(place):
    own = f"http://localhost:{place.port}"
    portal = f"127.0.0.1:{place.port}"
    assert ask(place, "/menu?a=b", Host=portal, User_Agent=CHROME) == (302, f"{own}/menu?a=b")
    assert ask(place, "/", Host=portal, Cookie=f"other=1; {SESSION}") == (302, f"{own}/")
    assert ask(place, "/order", "POST", Host=portal, User_Agent=CHROME, Cookie=SESSION) == (307, f"{own}/order")
    assert ask(place, "/", Host="127.0.0.1", User_Agent=CHROME) == (302, "http://localhost/")


def test_everybody_else_is_served(place):
    own = f"localhost:{place.port}"
    assert ask(place, "/", Host=own, User_Agent=CHROME, Cookie="shop_cart_8401=x")[0] == 200
    assert ask(place, "/")[0] == 200, "a program, with the address it was given"
    measuring = {"User_Agent": CHROME, "X_Burger_Release": place.status()["release"]}
    assert ask(place, "/", **measuring)[0] == 200


def test_a_replica_knows_where_to_report_and_may_for_its_own_release_only(place):
    release = place.status()["release"]
    told = json.loads(place.get("/environ", {"X-Burger-Release": release})[2])
    assert told["MEASURE_URL"] == COLLECTOR
    claims = tokens.read(tokens.key(place.home), told["MEASURE_TOKEN"], time.time())
    assert (claims.environment, claims.release) == ("staging", release)


def test_a_change_of_the_hosts_reaches_the_router(place):
    configure(place.home, None, None, {"portal": "elsewhere.example", "environments": "localhost"})
    until(lambda: ask(place, "/", User_Agent=CHROME)[0] == 200, "the new rule")
    configure(place.home, None, None, {"portal": "127.0.0.1", "environments": "localhost"})
    until(lambda: ask(place, "/", User_Agent=CHROME)[0] == 302, "the old rule")
