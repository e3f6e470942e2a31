"""The JSON API as a script uses it."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from ordering import guessing, orders
from ordering.models import Order

pytestmark = pytest.mark.django_db

KEY = "0b1c9a1e-5a8e-4b0e-9c61-6d1c6a0f2a11"


def post(body, *, key=KEY, content_type="application/json"):
    headers = {} if key is None else {"Idempotency-Key": key}
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    # No cookie and no CSRF token, as a script.
    return Client(enforce_csrf_checks=True).post(
        reverse("ordering:api-orders"), data, content_type=content_type, headers=headers
    )


def order_of(*lines, name="Ada", **more):
    return {"name": name, "lines": [{"item": item, "quantity": n} for item, n in lines]} | more


def test_the_menu_is_data(client, menu):
    answer = client.get(reverse("ordering:api-menu")).json()
    assert answer["currency"] == "EUR"
    items = {item["slug"]: item for category in answer["categories"] for item in category["items"]}
    assert items.keys() == menu.keys()
    assert items["brownie"]["stock"] == 5
    assert items["brownie"]["price"] == 420
    assert "nuts" in items["brownie"]["allergens"]


def test_first_created_then_the_same_again(menu):
    body = order_of(("classic-smash", 2), ("brownie", 1), note="no onions")
    first, again = post(body), post(body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    receipt = first.json()
    assert (receipt["total"], receipt["number"], receipt["note"]) == (2200, 1, "no onions")
    assert first["Location"] == reverse("ordering:api-order", args=[receipt["token"]])
    order = Order.objects.get()
    orders.advance(order=order, expect="received", actor="chef")
    assert post(body).json() == receipt


def test_an_order_can_be_followed(client, place):
    order = place()
    orders.advance(order=order, expect="received", actor="chef")
    answer = client.get(reverse("ordering:api-order", args=[order.token])).json()
    assert answer["status"] == "preparing"
    assert [event["status"] for event in answer["history"]] == ["received", "preparing"]
    assert client.get(reverse("ordering:api-order", args=["nope"])).status_code == 404


def test_another_order_under_the_same_key_is_a_conflict(menu):
    post(order_of(("fries", 1)))
    conflict = post(order_of(("fries", 2)))
    assert conflict.status_code == 409
    assert conflict.json()["error"]["code"] == "key_reused"


def test_nobody_tries_whose_key_is_whose_by_the_dozen(menu):
    """Without a sum that fits nothing is placed, and yet an answer would tell which keys there are."""
    post(order_of(("fries", 1)))
    seen = [post(order_of(("fries", 2)) | {"expected_total": 1}).status_code for _ in range(10)]
    assert seen == [409] * 8 + [429] * 2
    assert post(order_of(("fries", 1))).json()["error"]["code"] == "key_tries"
    guessing.forget()
    assert post(order_of(("fries", 1))).status_code == 200


def test_a_program_says_what_all_of_it_may_cost(menu):
    body = order_of(("fries", 1), expected_charge=380, tip=100)
    answer = post(body)
    assert [problem["code"] for problem in answer.json()["problems"]] == ["price_changed"]
    assert post(body | {"expected_charge": 480}).status_code == 201


def test_lines_of_the_same_item_count_together(menu):
    assert post(order_of(("fries", 1), ("fries", 2))).json()["lines"][0]["quantity"] == 3


def test_all_problems_come_at_once(menu):
    answer = post(order_of(("brownie", 9), ("pizza", 1), ("fries", 21), name="", expected_total=1))
    assert answer.status_code == 422
    problems = {problem["code"]: problem for problem in answer.json()["problems"]}
    assert problems.keys() == {"not_enough", "unknown_item", "quantity", "name", "price_changed"}
    assert problems["not_enough"]["available"] == 5
    assert problems["not_enough"]["item"] == "brownie"


@pytest.mark.parametrize("key", [None, "", "short", "k" * 65, "with a blank", "ü" * 10])
def test_a_key_is_needed(menu, key):
    answer = post(order_of(("fries", 1)), key=key)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "idempotency_key"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (" ", 400),
        ("{", 400),
        ("[]", 400),
        ("[" * 5000, 400),
        (b"\xff\xfe", 400),
        ({"name": "Ada"}, 400),
        ({"name": "Ada", "lines": "fries"}, 400),
        ({"name": "Ada", "lines": [["fries", 1]]}, 400),
        ({"name": "Ada", "lines": [{"item": "fries", "quantity": "2"}]}, 400),
        ({"name": "Ada", "lines": [{"item": "fries", "quantity": True}]}, 400),
        ({"name": "Ada", "lines": [{"item": "fries", "quantity": 1.5}]}, 400),
        ({"name": "Ada", "lines": [{"item": "\x00", "quantity": 1}]}, 400),
        ({"name": ["Ada"], "lines": []}, 400),
        ({"name": "Ada", "lines": [], "expected_total": "1"}, 400),
        ({"name": "Ada", "lines": [], "expected_charge": -1}, 400),
        ({"name": "Ada", "lines": [], "coupon": "x"}, 400),
        ({"name": "Ada", "lines": []}, 422),
        ({"name": "Ada", "lines": [{"item": "fries", "quantity": -1}]}, 422),
        ({"name": "Ada", "lines": [{"item": "fries", "quantity": 10**30}]}, 422),
        ({"name": "Ada", "note": "x" * 20_000, "lines": []}, 413),
    ],
)
def test_every_bad_body_has_a_clear_answer_and_no_effect(menu, body, status):
    answer = post(body)
    assert answer.status_code == status
    assert "error" in answer.json() or "problems" in answer.json()
    assert Order.objects.count() == 0


# A first and a last moment that have none in UTC, and what is none at all.
NO_MOMENTS = ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "2026-02-30T10:00:00Z", "soon"]


@pytest.mark.parametrize("pickup", NO_MOMENTS)
def test_a_time_that_cannot_be_is_refused_also_under_a_key_that_has_an_order(client, menu, pickup):
    body = order_of(("fries", 1))
    post(body)
    answer = post(body | {"pickup": pickup})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "pickup")
    client.post(reverse("ordering:change-cart"), {"add": "fries"})
    page = client.post(reverse("ordering:checkout"), {"name": "Ada", "pickup": pickup, "preview": "yes"})
    assert page.status_code == 200
    assert Order.objects.count() == 1


def test_forms_of_other_sites_cannot_order(menu):
    assert post("name=Ada", content_type="application/x-www-form-urlencoded").status_code == 415


def test_other_methods_are_refused(client, menu):
    assert client.get(reverse("ordering:api-orders")).status_code == 405
    assert client.post(reverse("ordering:api-menu")).status_code == 405
