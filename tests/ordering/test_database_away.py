"""A database that cannot be reached for a moment, and one that is away."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from ordering.site.postgresql.base import PATIENCE
from tests.bench import postgres
from tests.ordering.served import MANAGE, Shop, environment, run

# The menu is kept for a while; whether there is such an order is looked up.
ASKS = "/orders/no-such-order/"


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    if postgres.program("initdb") is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.running() as running:
        yield running


def test_customers_wait_for_a_database_that_starts_again_and_are_told_when_it_is_away(
    tmp_path: Path, server: postgres.Server
) -> None:
    run([*MANAGE, "migrate", "--verbosity", "0"], environment(tmp_path, DATABASE_URL=server.url))
    with Shop(tmp_path / "shop", DATABASE_URL=server.url) as shop, ThreadPoolExecutor(8) as pool:
        assert shop.client.get(ASKS).status_code == 404
        server.stop()
        coming = [pool.submit(lambda: shop.client.get(ASKS).status_code) for _ in range(8)]
        threading.Event().wait(1)
        assert not [one.result() for one in coming if one.done()], shop.log.read_text()
        server.start()
        assert {one.result() for one in coming} == {404}
        server.stop()
        began = time.monotonic()
        answer = shop.client.get(ASKS)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert time.monotonic() - began >= PATIENCE
        server.start()


def test_what_waiting_does_not_help_is_said_at_once(tmp_path: Path, server: postgres.Server) -> None:
    url = server.url.rpartition("/")[0] + "/nothing"
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    script = (
        "import time, django; django.setup(); from django.db import connection\n"
        "began = time.monotonic()\n"
        "try:\n    connection.connect()\n"
        "except Exception as error:\n    print(type(error).__name__, time.monotonic() - began)\n"
    )
    env = environment(tmp_path, DATABASE_URL=url, DJANGO_SETTINGS_MODULE="ordering.site.settings")
    name, seconds = run([sys.executable, "-c", script], env).stdout.split()
    assert name == "OperationalError"
    assert float(seconds) < PATIENCE
