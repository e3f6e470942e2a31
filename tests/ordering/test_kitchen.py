"""Who may enter the kitchen, and what can be done there."""

import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone, translation

from ordering import access, board, orders
from ordering.models import MenuItem, Order

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
    assert board.age_of(order, now=now) == (minutes, urgency)


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
    # Items with their categories, groups, options, parts and choices, and the hours of three tables.
    with django_assert_max_num_queries(9):
        client.get(reverse("ordering:menu"))
    with django_assert_max_num_queries(8):  # orders and lines of three columns, the done ones, and the session's user
        client.get(reverse(BOARD))
    with django_assert_max_num_queries(5):  # the order, its lines and events, and the session's user
        client.get(order.get_absolute_url())


def at_station(client, order, action, station):
    return client.post(reverse(f"ordering:kitchen-{action}", args=[order.pk]), {"station": station})


def test_a_station_sees_its_own_lines_only(client, kitchen, place):
    place({"classic-smash": 1, "fries": 1})
    place({"cola": 1})
    page = client.get(reverse(BOARD), {"station": "fryer"}).content.decode()
    assert "Fries" in page
    assert "Classic Smash" not in page
    assert "Craft Cola" not in page
    assert "Classic Smash" in client.get(reverse(BOARD), {"station": "nonsense"}).content.decode()


def test_the_last_station_makes_the_order_ready_and_each_can_take_it_back(client, kitchen, place):
    order = place({"classic-smash": 1, "fries": 1})
    assert at_station(client, order, "make", "grill")["Location"] == reverse(BOARD) + "?station=grill"
    order.refresh_from_db()
    assert order.status == "preparing"
    assert "waits for: Fryer" in client.get(reverse(BOARD)).content.decode()
    at_station(client, order, "make", "grill")
    at_station(client, order, "make", "fryer")
    order.refresh_from_db()
    assert order.status == "ready"
    at_station(client, order, "unmake", "fryer")
    order.refresh_from_db()
    assert order.status == "preparing"
    assert [line.name for line in order.lines.all() if line.made_at] == ["Classic Smash"]
    at_station(client, order, "make", "fryer")
    order.refresh_from_db()
    assert [event.to_status for event in order.events.all()] == ["received", "preparing", "ready", "preparing", "ready"]


def test_a_whole_order_that_was_ready_by_mistake_is_made_again_by_its_stations(client, kitchen, place):
    order = place({"classic-smash": 1, "fries": 1})
    at_station(client, order, "make", "grill")
    order.refresh_from_db()
    orders.advance(order=order, expect="preparing", actor="chef")
    orders.undo(order=order, expect="ready", actor="chef")
    assert {line.name: bool(line.made_at) for line in order.lines.all()} == {"Classic Smash": True, "Fries": False}
    at_station(client, order, "make", "fryer")
    order.refresh_from_db()
    assert order.status == "ready"


def test_a_station_finds_its_own_behind_many_orders_of_others(place, monkeypatch):
    monkeypatch.setattr(board, "MAX_CARDS", 2)
    for _ in range(5):
        place({"classic-smash": 1})
    late = place({"cola": 1})
    (to_make, _made) = board.board("drinks").columns
    assert ([ticket.order.pk for ticket in to_make.tickets], to_make.more) == ([late.pk], 0)
    (to_make, _made) = board.board("grill").columns
    assert (len(to_make.tickets), to_make.more) == (2, 3)


def test_of_a_combo_only_the_last_stations_part_is_undone(place):
    order = place({"smash-meal": 1})
    stations = orders.stations_of(order.lines.get())
    for station in stations:
        orders.make(order=order, station=station, actor="chef")
    order.refresh_from_db()
    assert order.status == "ready"
    orders.undo(order=order, expect="ready", actor="chef")
    assert order.lines.get().made == stations[:-1]
    orders.make(order=order, station=stations[-1], actor="chef")
    order.refresh_from_db()
    assert order.status == "ready"


def test_parts_of_a_combo_are_made_at_their_own_stations(place):
    order = place({"classic-smash": 1})
    line = order.lines.get()
    line.choices = [
        {"group": "side", "choice": "fries", "name": "Fries", "shown": "Fries", "part": True, "station": "fryer"},
        {"group": "drink", "choice": "cola", "name": "Cola", "shown": "Cola", "part": True, "station": "drinks"},
        {"group": "extras", "choice": "egg", "name": "Egg", "shown": "Egg", "part": False, "station": ""},
    ]
    line.save()
    assert orders.stations_of(line) == ["fryer", "drinks"]
    orders.make(order=order, station="fryer", actor="chef")
    ticket = board.board("drinks").columns[0].tickets[0]
    assert ticket.lines[0].details == ["Cola", "Egg"]
    assert orders.make(order=order, station="drinks", actor="chef").status == "ready"


def test_an_unknown_station_makes_nothing(client, kitchen, place):
    assert at_station(client, place(), "make", "attic").status_code == 404


def test_an_order_for_later_waits_beside_the_board(client, kitchen, place):
    order = place()
    Order.objects.filter(pk=order.pk).update(pickup_at=timezone.now() + dt.timedelta(hours=3))
    shown = board.board()
    assert shown.columns[0].tickets == []
    assert shown.later == [order]
    soon = board.board(now=timezone.now() + dt.timedelta(hours=2, minutes=50))
    assert [ticket.order for ticket in soon.columns[0].tickets] == [order]
    assert soon.columns[0].tickets[0].urgency == "late"


def test_the_kitchen_pauses_and_goes_on(client, kitchen, menu):
    client.post(reverse("ordering:kitchen-pause"), {"minutes": "30", "reason": "The fryer is being cleaned."})
    page = client.get(reverse(BOARD)).content.decode()
    assert "No new orders until" in page
    assert "The fryer is being cleaned." in page
    client.post(reverse("ordering:change-cart"), {"add": "fries"})
    assert "The fryer is being cleaned." in client.get(reverse("ordering:checkout")).content.decode()
    client.post(reverse("ordering:kitchen-pause"), {"minutes": "0"})
    assert "No new orders until" not in client.get(reverse(BOARD)).content.decode()


def test_only_the_kitchen_pauses(client, closed, menu):
    assert client.post(reverse("ordering:kitchen-pause"), {"minutes": "30"}).status_code == 403


def test_the_board_speaks_the_kitchens_language_whatever_the_customer_spoke(client, place, kitchen, menu):
    with translation.override("de"):
        order = place({"sweet-potato-fries": 1, "smash-meal": 1})
    assert order.lines.first().shown == "Süßkartoffelpommes"
    for language, shown, choice, hidden in (
        ("en", "Sweet Potato Fries", "Fries", "Süßkartoffelpommes"),
        ("de", "Süßkartoffelpommes", "Pommes", "Sweet Potato Fries"),
    ):
        for address in (reverse(BOARD), reverse("ordering:kitchen-cancel", args=[order.pk])):
            page = client.get(address, headers={"Accept-Language": language}).content.decode()
            assert shown in page, address
            assert hidden not in page, address
        assert (
            f"<small>{choice}</small>"
            in client.get(reverse(BOARD), headers={"Accept-Language": language}).content.decode()
        )


def test_what_is_called_otherwise_since_it_was_ordered_keeps_the_name_it_was_sold_under(client, place, kitchen, menu):
    place({"fries": 1})
    MenuItem.objects.filter(slug="fries").update(name="Chips", translations={"de": {"name": "Chips"}})
    page = client.get(reverse(BOARD), headers={"Accept-Language": "de"}).content.decode()
    assert "</strong> Fries" in page
