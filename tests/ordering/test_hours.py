"""When the shop is open: pure cases, and what they mean for an order."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse
from django.utils import timezone

from ordering import orders, pickup
from ordering.hours import Calendar
from ordering.models import OpeningHours, PickupSlot, ShopState, SpecialDay
from ordering.terms import Terms
from ordering.wishes import Wish, plain_lines

BERLIN = ZoneInfo("Europe/Berlin")
LUNCH = (dt.time(11), dt.time(14))
EVENING = (dt.time(17, 30), dt.time(22))
NIGHT = (dt.time(18), dt.time(2))
WEEK = dict.fromkeys(range(5), (LUNCH, EVENING)) | {5: (NIGHT,)}


def berlin(day, hour, minute=0, *, month=1):
    """2026-01-05 is a Monday."""
    return dt.datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        (berlin(5, 10, 59), False),
        (berlin(5, 11), True),
        (berlin(5, 14), False),
        (berlin(5, 21, 59), True),
        (berlin(10, 23), True),
        (berlin(11, 1, 59), True),  # Sunday, by Saturday's hours
        (berlin(11, 2), False),
        (berlin(11, 12), False),
        (berlin(6, 12), False),  # the special day
        (berlin(7, 7), True),
    ],
)
def test_hours_by_weekday_and_special_day(moment, is_open):
    special = {dt.date(2026, 1, 6): (), dt.date(2026, 1, 7): ((dt.time(6), dt.time(8)),)}
    assert Calendar(BERLIN, WEEK, special).is_open(moment) is is_open


def test_the_next_opening_looks_over_closed_days():
    special = {dt.date(2026, 1, 6): ()}
    calendar = Calendar(BERLIN, WEEK, special)
    assert calendar.opens_next(berlin(5, 22)) == berlin(7, 11)
    assert calendar.opens_next(berlin(5, 12)) == berlin(5, 12)
    assert calendar.opens_next(berlin(11, 3)) == berlin(12, 11)
    assert Calendar(BERLIN, {0: ()}).opens_next(berlin(5, 12)) is None


def test_a_night_is_sold_to_its_end_and_a_day_of_many_times_to_its_last():
    calendar = Calendar(BERLIN, WEEK)
    late = calendar.slots(first=berlin(10, 23, 50), days=0, minutes=30)
    assert late == [berlin(11, 0), berlin(11, 0, 30), berlin(11, 1), berlin(11, 1, 30)]
    assert calendar.slots(first=berlin(11, 0, 40), days=0, minutes=30) == [berlin(11, 1), berlin(11, 1, 30)]


@pytest.mark.django_db
def test_every_time_that_is_sold_is_offered():
    OpeningHours.objects.bulk_create(
        OpeningHours(weekday=day, opens=dt.time(11), closes=dt.time(22)) for day in range(7)
    )
    ShopState.objects.update_or_create(pk=1, defaults={"days_ahead": 7, "slot_minutes": 15})
    shop = pickup.hours()
    assert len(shop.slots()) > 300
    assert [slot.starts_at for slot in pickup.offered(shop)] == shop.slots()


def test_without_hours_it_is_always_open_and_never_closes():
    calendar = Calendar(BERLIN)
    assert calendar.is_open(berlin(5, 3))
    assert calendar.closes_next(berlin(5, 3)) is None
    assert Calendar(BERLIN, WEEK).closes_next(berlin(10, 20)) == berlin(11, 2)


def test_slots_stand_at_even_times_from_each_opening():
    calendar = Calendar(BERLIN, {0: (LUNCH, EVENING)})
    slots = calendar.slots(first=berlin(5, 13, 20), days=0, minutes=15)
    assert slots[:4] == [berlin(5, 13, 30), berlin(5, 13, 45), berlin(5, 17, 30), berlin(5, 17, 45)]
    assert slots[-1] == berlin(5, 21, 45)


def test_the_night_in_which_the_clock_is_put_back_has_an_hour_more():
    calendar = Calendar(BERLIN, special={dt.date(2026, 10, 25): ((dt.time(0), dt.time(6)),)}, weekly={6: ()})
    slots = calendar.slots(first=berlin(25, 0, month=10), days=0, minutes=60)
    assert len(slots) == 7
    assert len(set(slots)) == 7


@pytest.fixture
def noon(db, settings, monkeypatch):
    """Monday at noon in Berlin, open for lunch and in the evening."""
    settings.SHOP_TIME_ZONE = "Europe/Berlin"
    OpeningHours.objects.bulk_create(
        OpeningHours(weekday=day, opens=opens, closes=closes) for day in range(7) for opens, closes in (LUNCH, EVENING)
    )
    clock = {"now": berlin(5, 12).astimezone(dt.UTC)}
    monkeypatch.setattr(timezone, "now", lambda: clock["now"])
    return clock


def buy(key="key-of-ada", **terms):
    return orders.place(key=key, wish=Wish(plain_lines({"fries": 1}), name="Ada"), terms=Terms(**terms))[0]


def refused(**terms):
    with pytest.raises(orders.CannotPlaceError) as error:
        buy(**terms)
    return [problem.code for problem in error.value.problems]


def test_a_closed_shop_takes_orders_for_later_only(menu, noon):
    noon["now"] = berlin(5, 15).astimezone(dt.UTC)
    with pytest.raises(orders.CannotPlaceError, match=r"We open 17:30\. Choose a time"):
        buy()
    assert buy(pickup=berlin(5, 18)).pickup_at == berlin(5, 18)


def test_a_pause_says_until_when_and_ends_by_itself(menu, noon):
    pickup.pause(minutes=30, reason="The fryer is being cleaned.")
    with pytest.raises(orders.CannotPlaceError, match=r"a break until 12:30\. The fryer is being cleaned"):
        buy()
    assert refused(pickup=berlin(5, 12, 45)) == ["no_such_slot"]
    noon["now"] += dt.timedelta(minutes=30)
    assert buy().status == "received"


def test_a_pause_can_be_ended(menu, noon):
    pickup.pause(minutes=30)
    pickup.pause(minutes=0)
    assert buy().status == "received"


def test_a_special_day_counts_more_than_the_week(menu, noon):
    SpecialDay.objects.create(date=dt.date(2026, 1, 5), note="Inventory")
    assert refused() == ["closed"]


@pytest.mark.parametrize("when", [berlin(5, 12, 15), berlin(5, 12, 31), berlin(5, 14), berlin(9, 12), berlin(4, 12)])
def test_only_times_that_are_offered_can_be_had(menu, noon, when):
    assert refused(pickup=when) == ["no_such_slot"]


def test_a_slot_takes_so_many_orders_and_no_more(menu, noon):
    ShopState.objects.create(slot_capacity=2)
    first = buy("key-of-ada", pickup=berlin(5, 13))
    buy("key-of-bob", pickup=berlin(5, 13))
    assert refused(key="key-of-cyd", pickup=berlin(5, 13)) == ["slot_full"]
    assert berlin(5, 13) not in [slot.starts_at for slot in pickup.offered(pickup.hours())]
    orders.cancel(order=first, expect="received", actor="customer", reason="Changed my mind.")
    third = buy("key-of-cyd", pickup=berlin(5, 13))
    with pytest.raises(orders.NotPossibleError, match="time to collect has been taken"):
        orders.undo(order=first, expect="canceled", actor="chef")
    assert third.status == "received"
    assert PickupSlot.objects.get().taken == 2


def test_a_single_slot_can_have_a_capacity_of_its_own(menu, noon):
    PickupSlot.objects.create(starts_at=berlin(5, 13), capacity=1)
    buy("key-of-ada", pickup=berlin(5, 13))
    assert refused(key="key-of-bob", pickup=berlin(5, 13)) == ["slot_full"]


def test_the_form_offers_the_times_and_says_what_is_closed(client, menu, noon):
    noon["now"] = berlin(5, 15).astimezone(dt.UTC)
    client.post(reverse("ordering:change-cart"), {"add": "fries"})
    page = client.get(reverse("ordering:checkout")).content.decode()
    assert "We are closed. We open 17:30." in page
    assert "As soon as possible" not in page
    assert "2026-01-05T16:30:00+00:00" in page
    hours = client.get(reverse("ordering:api-hours")).json()
    assert (hours["open"], hours["slots"][0]["left"]) == (False, 8)


def test_the_expected_time_follows_the_load(client, menu, noon):
    state = ShopState.objects.create(base_minutes=10, minutes_per_order=5)
    alone = buy("key-of-ada")
    address = reverse("ordering:api-order", args=[alone.token])
    assert client.get(address).json()["ready_at"] == berlin(5, 12, 10).astimezone(dt.UTC).isoformat()
    noon["now"] += dt.timedelta(seconds=1)
    behind = buy("key-of-bob")
    address = reverse("ordering:api-order", args=[behind.token])
    assert client.get(address).json()["ready_at"] == berlin(5, 12, 16).astimezone(dt.UTC).isoformat()
    orders.advance(order=alone, expect="received", actor="chef")
    orders.advance(order=alone, expect="preparing", actor="chef")
    assert client.get(address).json()["ready_at"] == berlin(5, 12, 11).astimezone(dt.UTC).isoformat()
    noon["now"] += dt.timedelta(minutes=40)
    late = dt.datetime.fromisoformat(client.get(address).json()["ready_at"])
    assert late > noon["now"]
    assert state.base_minutes == 10
