"""Run as a program over the shop alone and a real database file: 20 threads go through the door at the same moment.

python tests/ordering/race.py same-key | stock      prints what came out as JSON
"""

import json
import os
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "ordering.site.settings"
django.setup()

from django.db import connection  # noqa: E402

from ordering import orders  # noqa: E402
from ordering.models import MenuItem, Order, OrderLine  # noqa: E402
from ordering.wishes import Wish, plain_lines  # noqa: E402

BUYERS = 20
together = threading.Barrier(BUYERS)


def buy(key: str) -> str:
    together.wait()
    try:
        order, created = orders.place(key=key, wish=Wish(plain_lines({"brownie": 1, "fries": 1}), name="Ada"))
    except orders.CannotPlaceError as error:
        return error.problems[0].code
    else:
        return f"{'created' if created else 'same'} {order.token}"
    finally:
        connection.close()


def main() -> None:
    MenuItem.objects.filter(slug="brownie").update(stock=5)
    same = str(uuid.uuid4())
    keys = [same if sys.argv[1] == "same-key" else str(uuid.uuid4()) for _ in range(BUYERS)]
    with ThreadPoolExecutor(BUYERS) as pool:
        answers = list(pool.map(buy, keys))
    result = {
        "answers": answers,
        "orders": Order.objects.count(),
        "numbers": sorted(Order.objects.values_list("number", flat=True)),
        "sold": OrderLine.objects.filter(slug="brownie").count(),
        "stock": MenuItem.objects.get(slug="brownie").stock,
    }
    json.dump(result, sys.stdout)


main()
