"""Many buyers at the same moment, in threads over one database and through a real server."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.bench import postgres
from tests.ordering.served import MANAGE, ROOT, environment, run

Race = Callable[[str], dict[str, Any]]


def _race(kind: str, env: dict[str, str]) -> dict[str, Any]:
    done = run([sys.executable, str(ROOT / "tests" / "ordering" / "race.py"), kind], env)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server without the database's name; its database `shop` is migrated."""
    import psycopg

    if postgres.program("initdb") is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.server() as url:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE DATABASE shop")
        base = url.rpartition("/")[0]
        run([*MANAGE, "migrate", "--verbosity", "0"], environment(ROOT, DATABASE_URL=f"{base}/shop"))
        yield base


@pytest.fixture(params=["sqlite", "postgresql"])
def race(request: pytest.FixtureRequest, tmp_path: Any, database: Any) -> Race:
    """Runs a race on a migrated database of its own."""
    if request.param == "sqlite":
        shutil.copy(database, tmp_path / "shop.sqlite3")
        return lambda kind: _race(kind, environment(tmp_path))
    import psycopg

    base, name = request.getfixturevalue("server"), f"race_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE shop")
    return lambda kind: _race(kind, environment(tmp_path, DATABASE_URL=f"{base}/{name}"))


def kinds(result: dict[str, Any]) -> list[str]:
    return sorted(answer.split()[0] for answer in result["answers"])


def test_twenty_threads_with_one_key_place_one_order(race):
    result = race("same-key")
    assert kinds(result) == ["created"] + ["same"] * 19
    assert len({answer.split()[1] for answer in result["answers"]}) == 1
    assert (result["orders"], result["sold"], result["stock"]) == (1, 1, 4)


def test_twenty_threads_share_five_brownies(race):
    result = race("stock")
    assert kinds(result) == ["created"] * 5 + ["sold_out"] * 15
    assert (result["orders"], result["sold"], result["stock"]) == (5, 5, 0)
    assert result["numbers"] == [1, 2, 3, 4, 5]


def test_twenty_threads_share_a_slot_of_five(race):
    result = race("slot")
    assert kinds(result) == ["created"] * 5 + ["slot_full"] * 15
    assert (result["orders"], result["taken"]) == (5, 5)


def test_twenty_threads_share_a_code_that_counts_five_times(race):
    result = race("promo")
    assert kinds(result) == ["created"] * 5 + ["promo_used_up"] * 15
    assert (result["orders"], result["uses"], result["discounted"]) == (5, 5, 5)


def test_twenty_threads_of_one_customer_use_a_code_once(race):
    result = race("per-customer")
    assert kinds(result) == ["created"] + ["promo_used"] * 19
    assert (result["orders"], result["uses"], result["discounted"]) == (1, 1, 1)


def test_twenty_parallel_posts_with_one_key_place_one_order(shop):
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: shop.order(shop.client, key, {"apple-pie": 1}), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1
