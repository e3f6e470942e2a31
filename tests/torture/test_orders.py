"""A shop that sells out while its server is killed again and again: exactly what there was is sold, no order is lost
after its confirmation, nobody is charged twice."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bench import postgres
from tests.ordering.served import MANAGE, Shop, environment, migrated_database, run

from . import count

ITEM = "apple-pie"
AT_ONCE = 200
REPEATED = 0.3
PATIENCE = 1800.0  # seconds, for everything
PAYMENTS = {"PAYMENT_PROVIDER": "sandbox", "PAYMENT_PATIENCE": "3", "PAYMENT_DEADLINE": "8", "SANDBOX_DELAY": "0.05"}
# What customers pay with, and how often.
WAYS: dict[str, int] = {"counter": 50, "approve": 30, "decline": 8, "done-timeout": 10, "timeout": 2}


@dataclass
class Rush:
    """What the customers were told: `confirmed` maps keys to the tokens of orders that are received, `refused` counts
    why not, `again` counts answers that made somebody ask again."""

    shop: Shop
    requests: list[str]
    way: dict[str, str]
    answered: int = 0
    confirmed: dict[str, set[str]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)

    async def customers(self) -> None:
        """So many at once, until every request has its answer."""
        waiting = iter(self.requests)
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        async with httpx.AsyncClient(base_url=self.shop.url, timeout=60, limits=limits) as client:
            await asyncio.gather(*(self._customer(client, waiting) for _ in range(AT_ONCE)))

    async def _customer(self, client: httpx.AsyncClient, waiting: Any) -> None:
        for key in waiting:
            await self.buy(client, key)
            self.answered += 1

    async def buy(self, client: httpx.AsyncClient, key: str) -> None:
        """Ask with one key until the answer is final, as a good client does."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                answer = await client.post("/api/orders", json=_order(self.way[key]), headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                self.again[type(error).__name__] += 1
            else:
                if answer.status_code in (200, 201):
                    self.confirmed.setdefault(key, set()).add(answer.json()["token"])
                    return
                if answer.status_code in (402, 422):
                    self.refused[_why(answer)] += 1
                    return
                assert answer.status_code in (202, 503), answer.text
                self.again[str(answer.status_code)] += 1
            await asyncio.sleep(random.uniform(0.1, 0.4))
        raise AssertionError(f"{key} has no final answer: {self.again}")

    async def killer(self, kills: int) -> None:
        """Kill the server in the middle of it, evenly spread over the requests, and start it anew."""
        for done in range(1, kills + 1):
            while self.answered < len(self.requests) * done / (kills + 1):
                await asyncio.sleep(0.02)
            await asyncio.to_thread(self.shop.kill_and_restart)


def _order(way: str) -> dict[str, Any]:
    payment = {"method": "counter"} if way == "counter" else {"method": "online", "source": way}
    return {"name": "Ada", "lines": [{"item": ITEM, "quantity": 1}], "payment": payment, "email": "ada@example.com"}


def _why(answer: httpx.Response) -> str:
    body = answer.json()
    return body["error"]["code"] if "error" in body else body["problems"][0]["code"]


def _rush(shop: Shop, number: int) -> Rush:
    """So many requests, of which some ask with a key that another has used."""
    keys = [str(uuid.uuid4()) for _ in range(round(number * (1 - REPEATED)))]
    requests = keys + random.choices(keys, k=number - len(keys))
    random.shuffle(requests)
    ways = random.choices(list(WAYS), weights=list(WAYS.values()), k=len(keys))
    return Rush(shop, requests, dict(zip(keys, ways, strict=True)))


class Books:
    """What the shop's database says, whatever it is; questions have `?` for values."""

    def __init__(self, connect: Callable[[], Any], mark: str = "?") -> None:
        self._connect, self._mark = connect, mark

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql.replace("?", self._mark), values)
            found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            connection.commit()
        return found

    def until_settled(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.ask("SELECT 1 FROM ordering_payment WHERE state = 'pending' LIMIT 1"):
            assert time.monotonic() < deadline, "payments are still pending"
            time.sleep(0.2)


@contextmanager
def _on_sqlite(folder: Path) -> Iterator[tuple[Shop, Books]]:
    with Shop(folder / "shop", database=migrated_database(folder), **PAYMENTS) as shop:
        yield shop, Books(lambda: sqlite3.connect(folder / "shop" / "shop.sqlite3", timeout=30))


@contextmanager
def _on_postgresql(folder: Path) -> Iterator[tuple[Shop, Books]]:
    import psycopg

    if postgres.program("initdb") is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.server() as address:
        url = address.replace("postgres://", "postgresql://")
        run([*MANAGE, "migrate", "--verbosity", "0"], environment(folder, DATABASE_URL=url))
        with Shop(folder / "shop", DATABASE_URL=url, **PAYMENTS) as shop:
            yield shop, Books(lambda: psycopg.connect(url), mark="%s")


@pytest.mark.parametrize(
    "served", [pytest.param(_on_sqlite, id="sqlite"), pytest.param(_on_postgresql, id="postgresql")]
)
def test_exactly_what_there_is_is_sold_while_the_server_is_killed(tmp_path, served):
    stock, number, kills = count(100, 1_000), count(1_000, 10_000), count(2, 20)
    with served(tmp_path) as (shop, books):
        books.ask("UPDATE ordering_menuitem SET stock = ? WHERE slug = ?", stock, ITEM)
        rush = _rush(shop, number)

        async def everything() -> None:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(rush.customers(), rush.killer(kills))

        asyncio.run(everything())
        books.until_settled()
        # What payments that failed late gave back is sold now.
        for _ in range(stock):
            if shop.order(shop.client, str(uuid.uuid4()), {ITEM: 1}).status_code == 422:
                break
        _judge(books, rush, stock)


def _judge(books: Books, rush: Rush, stock: int) -> None:
    assert len(rush.requests) == rush.answered
    sold = books.ask(
        "SELECT sum(line.quantity) FROM ordering_orderline line JOIN ordering_order o ON o.id = line.order_id "
        "WHERE o.status <> 'canceled'",
    )
    left = books.ask("SELECT stock FROM ordering_menuitem WHERE slug = ?", ITEM)
    assert (sold, left) == ([(stock,)], [(0,)]), f"{rush.refused} {rush.again}"
    # None lost: whoever was told that the order is received finds it, and always the same one.
    received = dict(books.ask("SELECT idempotency_key, token FROM ordering_order WHERE status = 'received'"))
    assert all(tokens == {received.get(key)} for key, tokens in rush.confirmed.items())
    # None charged twice, none for nothing, none that should have been is not.
    charges = books.ask(
        "SELECT o.status, o.total, o.payment_method, count(book.key), coalesce(sum(book.amount), 0) "
        "FROM ordering_order o LEFT JOIN ordering_payment p ON p.order_id = o.id AND p.kind = 'charge' "
        "LEFT JOIN ordering_sandboxentry book ON book.key = p.key AND book.state = 'done' GROUP BY o.id",
    )
    for status, total, method, times, amount in charges:
        paid = (1, total) if method == "online" and status == "received" else (0, 0)
        assert (times, amount) == paid, (status, method)
    book = books.ask("SELECT count(*) FROM ordering_sandboxentry WHERE state = 'done' AND kind = 'charge'")
    assert book == [(sum(times for *_order, times, _amount in charges),)]
    numbers = [number for (number,) in books.ask("SELECT number FROM ordering_order ORDER BY day, number")]
    assert len(set(numbers)) == len(numbers), "only around midnight may this be otherwise"
    owed = books.ask("SELECT count(*) FROM ordering_outboxmail WHERE kind = 'receipt'")
    mailed = books.ask("SELECT count(*) FROM ordering_order WHERE status = 'received' AND email <> ''")
    assert owed == mailed
