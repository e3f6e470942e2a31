"""Placing an order: `python -m tests.bench.ordering sqlite|postgresql`.

Orders are placed through the shop's own door, one after the other, in turns with the floor: one transaction that writes
the same rows through the ORM, and asks and checks nothing. Then the same with a million stored orders.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from . import postgres
from .result import Result, median, tell

ROUNDS = 12
EACH = 25  # orders in a round
STORED = 1_000_000
GOAL, FLAT = 2.0, 1.2
LINES = {"classic-smash": 2, "fries": 1, "cola": 1, "brownie": 1}


@contextlib.contextmanager
def shop(kind: str) -> Iterator[None]:
    """The shop alone, set up in this process, over a migrated database of its own."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="burger-bench-"))
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "ordering.site.settings",
            "SECRET_KEY": "only-for-benchmarks-" * 2,
            "DATA_DIR": folder,
            "LOG_LEVEL": "WARNING",
        }
        if kind == "postgresql":
            os.environ["DATABASE_URL"] = stack.enter_context(postgres.server())
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        from ordering.models import MenuItem

        MenuItem.objects.filter(slug="brownie").update(stock=1_000_000_000)
        yield
        connection.close()


def ours() -> None:
    from ordering import orders
    from ordering.terms import Terms
    from ordering.wishes import Wish, plain_lines

    wish = Wish(plain_lines(LINES), name="Ada", note="no onions")
    orders.place(key=str(uuid.uuid4()), wish=wish, terms=Terms(email="ada@example.com", tip=100))


class Bare:
    """The same rows as one call of `ours` writes, in one transaction: the order with its lines and event, the mail that
    is owed, the stock and the day's counter. What to write is known before."""

    DAY = dt.date(2000, 1, 1)

    def __init__(self) -> None:
        from ordering.models import DayCounter, MenuItem, Order, OrderLine

        ours()
        like = Order.objects.latest("pk")
        fresh = {"id", "token", "idempotency_key", "day", "number"}
        self.order = {k: v for k, v in Order.objects.filter(pk=like.pk).values()[0].items() if k not in fresh}
        lines = OrderLine.objects.filter(order=like).values()
        self.lines = [{k: v for k, v in line.items() if k not in ("id", "order_id")} for line in lines]
        self.item = MenuItem.objects.get(slug="brownie").pk
        self.number = 0
        DayCounter.objects.create(day=self.DAY)

    def __call__(self) -> None:
        from django.db import transaction
        from django.db.models import F

        from ordering.models import DayCounter, MenuItem, Order, OrderEvent, OrderLine, OutboxMail

        self.number += 1
        with transaction.atomic():
            MenuItem.objects.filter(pk=self.item).update(stock=F("stock") - 1)
            DayCounter.objects.filter(day=self.DAY).update(last=self.number)
            order = Order.objects.create(
                idempotency_key=str(uuid.uuid4()), number=self.number, day=self.DAY, **self.order
            )
            OrderLine.objects.bulk_create(OrderLine(order=order, **line) for line in self.lines)
            OrderEvent.objects.create(order=order, kind="placed", to_status="received", at=order.placed_at)
            OutboxMail.objects.create(order=order, kind="receipt", due_at=order.placed_at)


def each(done: Callable[[], None]) -> float:
    """Milliseconds that one takes, of a round."""
    began = time.perf_counter()
    for _ in range(EACH):
        done()
    return (time.perf_counter() - began) * 1000 / EACH


def settle() -> None:
    """The kitchen has made all that came, so that its board is as long in each round."""
    from ordering.models import Order

    long_ago = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)
    Order.objects.filter(status="received").update(status="collected", status_since=long_ago)


def board() -> None:
    from ordering import board as boards

    boards.board()


def fill(number: int) -> None:
    """So many stored orders, with a line and an event each, by statements of the database's own."""
    from django.db import connection

    from ordering.models import Order, OrderEvent, OrderLine

    postgresql = connection.vendor == "postgresql"
    counted = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}) SELECT i FROM n"
    series = f"generate_series(1, {number}) AS n(i)" if postgresql else f"({counted}) AS n"
    stored = {"token": "'stored-' || n.i", "idempotency_key": "'stored-' || n.i", "number": "n.i"}
    stored |= {"day": "DATE '1990-01-01'" if postgresql else "'1990-01-01'", "status": "'collected'"}
    # One every ten seconds: no two at the same moment, as in life.
    then = "TIMESTAMPTZ '1990-01-01 12:00+00' + n.i * INTERVAL '10 seconds'"
    if not postgresql:
        then = "datetime('1990-01-01 12:00:00', '+' || (n.i * 10) || ' seconds')"
    stored |= {"status_since": then, "placed_at": then}
    like = Order.objects.latest("pk").pk
    with connection.cursor() as cursor:
        cursor.execute(copied(Order, stored, f"{series}, ordering_order old WHERE old.id = {like}"))
        for model in (OrderLine, OrderEvent):
            one = model.objects.filter(order=like).latest("pk").pk
            table = f"{model._meta.db_table} old, ordering_order o WHERE old.id = {one} AND o.day = {stored['day']}"
            cursor.execute(copied(model, {"order_id": "o.id"}, table))
        if postgresql:  # does so by itself, a little later and beside what is measured; nobody does it with SQLite
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")


def copied(model: Any, instead: dict[str, str], source: str) -> str:
    """A statement that copies a row as often as its source says, with some columns written anew."""
    columns = [field.column for field in model._meta.concrete_fields if not field.primary_key]
    values = [instead.get(column, f"old.{column}") for column in columns]
    return f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {source}"


def rounds(*sides: Callable[[], None]) -> list[float]:
    """The median of each side's rounds, in turns."""
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, found in zip(sides, figures, strict=True):
            found.append(each(side))
            settle()
    return [median(found) for found in figures]


def main() -> None:
    kind = sys.argv[1]
    name = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[kind]
    try:
        with shop(kind):
            bare = Bare()
            rounds(ours, bare)
            placing, floor = rounds(ours, bare)
            few = rounds(ours, board)
            fill(STORED)
            rounds(ours, board)
            many = rounds(ours, board)
    except FileNotFoundError as error:
        missing = (f"placing an order, {name}", GOAL), (f"placing an order, {STORED:,} stored, {name}", FLAT)
        tell([Result(what, None, None, goal, "ms", note=str(error)) for what, goal in missing])
        return
    tell(
        [
            Result(f"placing an order, {name}", placing, floor, GOAL, "ms"),
            Result(f"placing an order, {STORED:,} stored, {name}", many[0], few[0], FLAT, "ms"),
            Result(f"the kitchen's board, {STORED:,} stored, {name}", many[1], few[1], FLAT, "ms"),
        ]
    )


if __name__ == "__main__":
    main()
