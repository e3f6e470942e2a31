"""Run as a program over the shop alone and a real database: 20 threads go through the door at the same moment.

python tests/ordering/race.py same-key | stock | slot | promo | per-customer      prints what came out as JSON
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

from ordering import orders, pickup  # noqa: E402
from ordering.models import MenuItem, Order, OrderLine, PickupSlot, PromoCode, ShopState  # noqa: E402
from ordering.terms import Terms  # noqa: E402
from ordering.wishes import Wish, plain_lines  # noqa: E402

BUYERS = 20
KIND = sys.argv[1]
together = threading.Barrier(BUYERS)


def buy(key: str, terms: Terms) -> str:
    together.wait()
    try:
        lines = {"fries": 1} if KIND in ("slot", "promo", "per-customer") else {"brownie": 1, "fries": 1}
        order, created = orders.place(key=key, wish=Wish(plain_lines(lines), name="Ada"), terms=terms)
    except orders.CannotPlaceError as error:
        return error.problems[0].code
    else:
        return f"{'created' if created else 'same'} {order.token}"
    finally:
        connection.close()


def prepared() -> Terms:
    """What everybody wants, of which there is not enough."""
    MenuItem.objects.filter(slug="brownie").update(stock=5)
    ShopState.objects.create(slot_capacity=5)
    PromoCode.objects.create(code="FIVE-TIMES", kind="percent", value=10, max_uses=5)
    PromoCode.objects.create(code="ONCE-EACH", kind="percent", value=10, max_per_customer=1)
    if KIND == "slot":
        return Terms(pickup=pickup.offered(pickup.hours())[4].starts_at)
    if KIND == "promo":
        return Terms(promo="FIVE-TIMES")
    return Terms(promo="ONCE-EACH", email="ada@example.com") if KIND == "per-customer" else Terms()


def main() -> None:
    terms = prepared()
    connection.close()
    same = str(uuid.uuid4())
    keys = [same if KIND == "same-key" else str(uuid.uuid4()) for _ in range(BUYERS)]
    with ThreadPoolExecutor(BUYERS) as pool:
        answers = list(pool.map(lambda key: buy(key, terms), keys))
    result = {
        "answers": answers,
        "orders": Order.objects.count(),
        "numbers": sorted(Order.objects.values_list("number", flat=True)),
        "sold": OrderLine.objects.filter(slug="brownie").count(),
        "stock": MenuItem.objects.get(slug="brownie").stock,
        "taken": sum(PickupSlot.objects.values_list("taken", flat=True)),
        "uses": sum(PromoCode.objects.values_list("uses", flat=True)),
        "discounted": Order.objects.filter(discount__gt=0).count(),
    }
    json.dump(result, sys.stdout)


main()
