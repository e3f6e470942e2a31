"""Who may enter the kitchen, and what can be done there."""

import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from ordering import access, orders, selectors
from ordering.models import Order

pytestmark = pytest.mark.django_db

BOARD = "ordering:kitchen"


@pytest.fixture
def closed(settings):
    settings.SHOP_KITCHEN_NETWORKS = []


def person(name, **fields):
    return get_user_model().objects.create(username=name, **fields)


def move(client, order, action, expect, **headers):
    return client.post(reverse(f"ordering:kitchen-{action}", args=[order.pk]), {"expect": expect}, headers=headers)


def test_strangers_are_sent_to_sign_in_and_change_nothing(client, closed, place):
    order = place()
    assert client.get(reverse(BOARD)).status_code == 302
    assert move(client, order, "advance", "received").status_code == 403
    order.refresh_from_db()
    assert order.status == "received"


def test_who_is_signed_in_without_the_right_is_told_what_is_missing(client, closed, menu):
    client.force_login(person("guest"))
    response = client.get(reverse(BOARD))
    assert response.status_code == 403
    assert "permission to work in the kitchen" in response.content.decode()


def test_staff_may_enter(client, closed, menu):
    client.force_login(person("boss", is_staff=True))
    assert client.get(reverse(BOARD)).status_code == 200


def test_cooks_with_the_permission_may_enter(client, closed, menu):
    cook = person("cook")
    cook.user_permissions.add(Permission.objects.get(codename="work_kitchen"))
    client.force_login(cook)
    assert client.get(reverse(BOARD)).status_code == 200


def test_inactive_staff_may_not(rf, closed, menu):
    request = rf.get("/")
    request.user = person("gone", is_staff=True, is_active=False)
    assert not access.may_work_kitchen(request)


@pytest.mark.parametrize(
    ("peer", "forwarded", "allowed"),
    [
        ("10.1.2.3", "", True),
        ("192.0.2.1", "", False),
        ("127.0.0.1", "10.1.2.3", True),
        ("127.0.0.1", "192.0.2.1", False),
        ("127.0.0.1", "10.1.2.3, 192.0.2.1", False),
        ("::1", "192.0.2.1, 10.1.2.3", True),
        ("192.0.2.1", "10.1.2.3", False),
        ("127.0.0.1", "nonsense", False),
        ("127.0.0.1", "", False),
        ("::ffff:10.1.2.3", "", True),
        ("", "", False),
    ],
)
def test_the_kitchens_network_is_believed_from_the_router_only(rf, settings, peer, forwarded, allowed):
    settings.SHOP_KITCHEN_NETWORKS = ["10.0.0.0/8"]
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert access.may_work_kitchen(rf.get("/", headers=headers, REMOTE_ADDR=peer)) is allowed


def test_an_order_travels_over_the_board(client, kitchen, place):
    order = place({"fries": 2}, name="Grace", note="extra salt")
    page = client.get(reverse(BOARD)).content.decode()
    assert "Grace" in page
    assert "extra salt" in page
    for expect in ("received", "preparing", "ready"):
        assert move(client, order, "advance", expect)["Location"] == reverse(BOARD)
    order.refresh_from_db()
    assert order.status == "collected"
    assert "Collected" in client.get(reverse(BOARD)).content.decode()
    move(client, order, "undo", "collected")
    order.refresh_from_db()
    assert order.status == "ready"
    assert order.events.last().actor == "kitchen"


def test_what_is_not_possible_is_said_on_the_board(client, kitchen, place):
    order = place()
    orders.advance(order=order, expect="received", actor="chef")
    orders.advance(order=order, expect="preparing", actor="chef")
    page = move(client, order, "advance", "received")
    assert page.status_code == 409
    assert "by now: somebody else moved it" in page.content.decode()
    fragment = move(client, order, "advance", "received", X_Fragment="board")
    assert "<html" not in fragment.content.decode()


def test_canceling_asks_for_the_reason(client, kitchen, place):
    order = place()
    address = reverse("ordering:kitchen-cancel", args=[order.pk])
    assert "Reason" in client.get(address).content.decode()
    assert client.post(address, {"expect": "received", "reason": "  "}).status_code == 409
    assert client.post(address, {"expect": "received", "reason": "No buns."}).status_code == 302
    order.refresh_from_db()
    assert (order.status, order.events.last().reason) == ("canceled", "No buns.")


def test_the_board_is_sent_again_only_when_it_changed(client, kitchen, place):
    order = place()
    address = reverse("ordering:kitchen-board")
    first = client.get(address)
    assert client.get(address, headers={"If-None-Match": first["ETag"]}).status_code == 304
    orders.advance(order=order, expect="received", actor="chef")
    assert client.get(address, headers={"If-None-Match": first["ETag"]}).status_code == 200


@pytest.mark.parametrize(("minutes", "urgency"), [(0, "fresh"), (4, "fresh"), (5, "soon"), (9, "soon"), (10, "late")])
def test_age_has_a_word(place, minutes, urgency):
    order = place()
    now = order.placed_at + dt.timedelta(minutes=minutes, seconds=1)
    assert selectors.age_of(order, now=now) == (minutes, urgency)


def test_an_unknown_order_is_not_found(client, kitchen, menu):
    assert client.post(reverse("ordering:kitchen-advance", args=[987654321])).status_code == 404


def many_orders(place, number):
    """Stored orders: a few open, most long collected."""
    order = place({"fries": 1})
    Order.objects.bulk_create(
        Order(
            day=dt.date(2020, 1, 1) + dt.timedelta(days=n),
            number=1,
            idempotency_key=f"old-{n}",
            fingerprint="",
            status="collected",
            status_since=timezone.now() - dt.timedelta(days=n + 1),
            name="Old",
            currency="EUR",
            total=1,
            placed_at=timezone.now() - dt.timedelta(days=n + 1),
        )
        for n in range(number)
    )
    return order


def test_the_number_of_queries_does_not_grow_with_the_orders(client, kitchen, place, django_assert_max_num_queries):
    order = many_orders(place, 300)
    for _ in range(10):
        place({"fries": 1, "cola": 1})
    with django_assert_max_num_queries(6):  # items with their categories, groups, options, parts and choices
        client.get(reverse("ordering:menu"))
    with django_assert_max_num_queries(8):  # orders and lines of three columns, the done ones, and the session's user
        client.get(reverse(BOARD))
    with django_assert_max_num_queries(5):  # the order, its lines and events, and the session's user
        client.get(order.get_absolute_url())
