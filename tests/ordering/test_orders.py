"""The one door: placing once, stock, moving on, undoing, canceling."""

import datetime as dt
import uuid

import pytest
from django.db import IntegrityError
from django.utils import timezone

from ordering import conf, orders, pickup, selectors
from ordering.models import (
    ComboChoice,
    MenuItem,
    OpeningHours,
    Option,
    OptionGroup,
    Order,
    OrderEvent,
    OrderLine,
    SpecialDay,
    Status,
)
from ordering.orders import placing
from ordering.pricing import Line
from ordering.terms import Terms
from ordering.wishes import MAX_LINES, MAX_QUANTITY, Wish, clean_text, plain_lines

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_known_from_before():
    placing._menus.forget()
    placing._hours.forget()


def stock(slug):
    return MenuItem.objects.get(slug=slug).stock


def codes(error):
    return [problem.code for problem in error.value.problems]


def test_an_order_remembers_names_and_prices_of_its_moment(menu, place):
    order = place({"classic-smash": 2, "fries": 1}, name="Ada", note="no onions")
    MenuItem.objects.filter(slug="fries").update(name="Chips", price=1)
    assert order.total == 2 * 890 + 380
    assert list(order.lines.values_list("name", "price", "quantity")) == [
        ("Classic Smash", 890, 2),
        ("Fries", 380, 1),
    ]
    assert (order.status, order.name, order.note, order.currency) == ("received", "Ada", "no onions", "EUR")
    event = order.events.get()
    assert (event.kind, event.from_status, event.to_status) == ("placed", "", "received")


def test_numbers_count_from_one_each_day_where_the_shop_stands(place, settings, monkeypatch):
    settings.SHOP_TIME_ZONE = "Pacific/Auckland"
    moments = iter(
        dt.datetime(2026, 1, 1, hour, 30, tzinfo=dt.UTC) for hour in (9, 10, 11, 12)
    )  # Auckland: 22:30, 23:30, 0:30, 1:30
    monkeypatch.setattr(timezone, "now", lambda: next(moments))
    placed = [place() for _ in range(4)]
    assert [(order.day.day, order.number) for order in placed] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_the_same_key_gives_the_same_order_and_takes_stock_once(menu):
    wish = Wish(plain_lines({"brownie": 2}), name="Ada")
    first, created = orders.place(key="key-of-ada", wish=wish)
    again, created_again = orders.place(key="key-of-ada", wish=wish)
    assert (created, created_again) == (True, False)
    assert first == again
    assert Order.objects.count() == 1
    assert stock("brownie") == 3


def test_the_order_of_the_lines_does_not_make_another_order(menu):
    orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 1, "cola": 2}), name="Ada"))
    assert not orders.place(key="key-of-ada", wish=Wish(plain_lines({"cola": 2, "fries": 1}), name="Ada"))[1]


def test_the_same_key_for_something_else_is_refused(menu):
    first, _ = orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 1}), name="Ada"))
    with pytest.raises(orders.KeyReusedError) as error:
        orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 2}), name="Ada"))
    assert error.value.order == first
    assert Order.objects.count() == 1


def test_a_repeat_is_the_same_order_even_when_it_sold_the_last_one(menu):
    wish = Wish(plain_lines({"brownie": 5}), name="Ada")
    first, _ = orders.place(key="key-of-ada", wish=wish)
    assert orders.place(key="key-of-ada", wish=wish) == (first, False)
    assert stock("brownie") == 0


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(plain_lines({}), name="Ada"), ["empty"]),
        (Wish(plain_lines({"fries": 1}), name=""), ["name"]),
        (Wish(plain_lines({"fries": 1}), name="x" * 61, note="y" * 301), ["name", "note"]),
        (Wish(plain_lines({"fries": 0}), name="Ada"), ["quantity"]),
        (Wish(plain_lines({"fries": MAX_QUANTITY + 1}), name="Ada"), ["quantity"]),
        (Wish(plain_lines({"pizza": 1}), name="Ada"), ["unknown_item"]),
        (Wish(plain_lines({"brownie": 6}), name="Ada"), ["not_enough"]),
        (
            Wish(plain_lines({"cola": 1, "apple-pie": 1, "pizza": 1, "brownie": 9})),
            ["sold_out", "unknown_item", "not_enough", "name"],
        ),
        (Wish(plain_lines({"lemonade": 1}), name="Ada"), ["unavailable"]),
        (Wish(plain_lines({"fries": 1}), name="Ada", expected_total=379), ["price_changed"]),
        (Wish(plain_lines({f"item-{n}": 1 for n in range(MAX_LINES + 1)}), name="Ada"), ["too_many_lines"]),
    ],
)
def test_everything_that_stands_in_the_way_is_listed_and_nothing_is_written(menu, wish, expected):
    MenuItem.objects.filter(slug="apple-pie").update(stock=0)
    MenuItem.objects.filter(slug="lemonade").update(available=False)
    with pytest.raises(orders.CannotPlaceError) as error:
        orders.place(key=str(uuid.uuid4()), wish=wish)
    assert codes(error) == expected
    assert all(problem.message.endswith(".") for problem in error.value.problems)
    assert Order.objects.count() == OrderEvent.objects.count() == OrderLine.objects.count() == 0
    assert stock("brownie") == 5


def test_a_problem_with_one_item_leaves_the_stock_of_the_others(menu, monkeypatch):
    """The stock that was read a moment ago may be gone when it is taken; then all of it is given back."""
    stale = selectors.dishes()
    MenuItem.objects.filter(slug="apple-pie").update(stock=1)
    monkeypatch.setattr(placing, "dishes_of", lambda _wish: stale)
    with pytest.raises(orders.CannotPlaceError) as error:
        orders.place(key="key-of-ada", wish=Wish(plain_lines({"brownie": 2, "apple-pie": 2}), name="Ada"))
    assert codes(error) == ["not_enough"]
    assert (stock("brownie"), stock("apple-pie")) == (5, 1)


def test_placing_asks_little_more_than_it_writes(menu, settings, django_assert_max_num_queries):
    """Menu and hours are known from a moment ago. Counter, key, what it is of, the shop's state, stock and counter
    again, then the four kinds of rows, inside a savepoint of the test's own transaction."""
    settings.SHOP_MENU_MAX_AGE = 60
    wish = Wish(plain_lines({"brownie": 1, "fries": 2, "cola": 1}), name="Ada")
    orders.place(key="key-of-ada", wish=wish)
    with django_assert_max_num_queries(12):
        orders.place(key="key-of-bob", wish=wish, terms=Terms(email="bob@example.com"))
    MenuItem.objects.filter(slug="brownie").update(stock=0)
    with pytest.raises(orders.CannotPlaceError, match="sold out"):
        orders.place(key="key-of-cyd", wish=wish)
    MenuItem.objects.filter(slug="brownie").update(stock=1)
    orders.place(key="key-of-cyd", wish=wish)


@pytest.fixture
def known_menu(menu, settings):
    """The menu and the hours were read a moment ago, and will not be read again by themselves."""
    settings.SHOP_MENU_MAX_AGE = 60
    orders.place(key="key-of-who-was-first", wish=Wish(plain_lines({"fries": 1}), name="Zoe"))
    return menu


def refused(wish, terms=Terms()):  # noqa: B008 frozen
    with pytest.raises(orders.CannotPlaceError) as error:
        orders.place(key=str(uuid.uuid4()), wish=wish, terms=terms)
    return codes(error)


def test_what_is_counted_from_now_on_is_counted_by_the_very_next_order(known_menu):
    MenuItem.objects.filter(slug="fries").update(stock=3)
    wish = Wish(plain_lines({"fries": 2}), name="Ada")
    orders.place(key="key-of-ada", wish=wish)
    assert refused(wish) == ["not_enough"]
    assert stock("fries") == 1
    MenuItem.objects.filter(slug="fries").update(stock=None)
    assert orders.place(key="key-of-bob", wish=wish)[1]


def test_a_part_and_an_option_are_counted_from_now_on_too(known_menu):
    meal = Line("smash-meal", 1, (("burger", "classic-smash"), ("side", "coleslaw"), ("drink", "cola")))
    spicy = Line("classic-smash", 1, (("extras", "bacon"),))
    orders.place(key="key-of-ada", wish=Wish((meal, spicy), name="Ada"))
    MenuItem.objects.filter(slug="coleslaw").update(stock=1)
    Option.objects.filter(group__slug="extras", slug="bacon").update(stock=1)
    orders.place(key="key-of-bob", wish=Wish((meal, spicy), name="Bob"))
    assert refused(Wish((meal,), name="Cyd")) == ["choice_sold_out"]
    assert refused(Wish((spicy,), name="Cyd")) == ["choice_sold_out"]


def test_what_has_just_been_taken_off_or_left_the_menu_is_not_sold(known_menu):
    MenuItem.objects.filter(slug="fries").update(available=False)
    MenuItem.objects.filter(slug="cola").delete()
    assert refused(Wish(plain_lines({"fries": 1}), name="Ada")) == ["unavailable"]
    assert refused(Wish(plain_lines({"cola": 1}), name="Ada")) == ["unknown_item"]
    assert Order.objects.count() == 1


def test_what_leaves_the_menu_while_it_is_ordered_is_said(known_menu, monkeypatch):
    """The last look saw it, the commit did not: the database refuses a line of nothing."""

    def broken(*_arguments):
        raise IntegrityError("FOREIGN KEY constraint failed")

    monkeypatch.setattr(placing, "_as_it_stands", lambda sale, _wish, _terms: sale)
    monkeypatch.setattr(placing, "_written", broken)
    MenuItem.objects.filter(slug="cola").delete()
    assert refused(Wish(plain_lines({"cola": 1}), name="Ada")) == ["unknown_item"]
    with pytest.raises(IntegrityError):
        orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 1}), name="Ada"))


def test_a_pause_counts_from_the_very_next_order(known_menu):
    pickup.pause(minutes=10)
    assert refused(Wish(plain_lines({"fries": 1}), name="Ada")) == ["paused"]
    pickup.pause(minutes=0)
    assert orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 1}), name="Ada"))[1]


def test_opening_hours_count_from_the_very_next_order(known_menu):
    today = timezone.now().astimezone(conf.time_zone()).date()
    closed = [SpecialDay.objects.create(date=today + dt.timedelta(days=days)) for days in (-1, 0, 1)]
    assert refused(Wish(plain_lines({"fries": 1}), name="Ada")) == ["closed"]
    for day in closed:
        day.delete()
    assert orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 1}), name="Ada"))[1]
    OpeningHours.objects.create(weekday=(today.weekday() + 3) % 7, opens=dt.time(1), closes=dt.time(2))
    assert refused(Wish(plain_lines({"fries": 1}), name="Ada")) == ["closed"]
    OpeningHours.objects.update(weekday=today.weekday(), opens=dt.time(0), closes=dt.time(0))
    assert orders.place(key="key-of-bob", wish=Wish(plain_lines({"fries": 1}), name="Bob"))[1]


def test_what_is_asked_of_a_dish_counts_from_the_very_next_order(known_menu):
    fries = Wish(plain_lines({"fries": 1}), name="Ada")
    group = OptionGroup.objects.create(slug="dip", name="Dip")
    Option.objects.create(group=group, slug="mayo", name="Mayonnaise")
    MenuItem.objects.get(slug="fries").option_groups.add(group)
    assert orders.place(key="key-of-ada", wish=fries)[1], "nobody has to take one"
    OptionGroup.objects.filter(slug="dip").update(minimum=1)
    assert refused(fries) == ["too_few"]
    dipped = Wish((Line("fries", 1, (("dip", "mayo"),)),), name="Ada")
    assert orders.place(key="key-of-bob", wish=dipped)[1]
    MenuItem.objects.get(slug="fries").option_groups.clear()
    assert refused(dipped) == ["unknown_choice"]
    assert orders.place(key="key-of-cyd", wish=fries)[1]


def test_the_parts_of_a_combo_count_from_the_very_next_order(known_menu):
    parts = (("burger", "classic-smash"), ("side", "fries"), ("drink", "cola"))
    meal = Wish((Line("smash-meal", 1, parts),), name="Ada")
    before = orders.place(key="key-of-ada", wish=meal)[0].total
    ComboChoice.objects.filter(part__combo__slug="smash-meal", item__slug="cola").update(price=150)
    assert orders.place(key="key-of-bob", wish=meal)[0].total == before + 150
    ComboChoice.objects.filter(part__combo__slug="smash-meal", item__slug="cola").delete()
    assert refused(meal) == ["unknown_choice", "too_few"]


def test_an_order_costs_what_the_database_says(known_menu):
    MenuItem.objects.filter(slug="fries").update(price=400)
    order, _ = orders.place(key="key-of-ada", wish=Wish(plain_lines({"fries": 1}), name="Ada"))
    assert order.total == 400


def test_nobody_is_refused_for_what_was_so_a_moment_ago(menu, settings):
    settings.SHOP_MENU_MAX_AGE = 60
    MenuItem.objects.filter(slug="fries").update(available=False)
    wish = Wish(plain_lines({"fries": 1}), name="Ada")
    placing._menus.get("en", selectors.dishes, max_age=0)
    MenuItem.objects.filter(slug="fries").update(available=True)
    assert orders.place(key="key-of-ada", wish=wish)[1]


def test_an_order_goes_all_the_way(place):
    order = place()
    for expect, after in (("received", "preparing"), ("preparing", "ready"), ("ready", "collected")):
        assert orders.advance(order=order, expect=expect, actor="chef").status == after
    assert [event.to_status for event in order.events.all()] == ["received", "preparing", "ready", "collected"]
    assert order.revision == 4
    with pytest.raises(orders.NotPossibleError, match="cannot be moved on"):
        orders.advance(order=order, expect="collected", actor="chef")


def test_a_double_click_moves_an_order_once(place):
    order = place()
    orders.advance(order=order, expect="received", actor="chef")
    orders.advance(order=order, expect="received", actor="chef")
    order.refresh_from_db()
    assert (order.status, order.events.count()) == ("preparing", 2)


def test_who_saw_an_old_board_is_told(place):
    order = place()
    orders.advance(order=order, expect="received", actor="chef")
    orders.advance(order=order, expect="preparing", actor="chef")
    with pytest.raises(orders.NotPossibleError, match="is ready by now"):
        orders.advance(order=order, expect="received", actor="waiter")


@pytest.mark.parametrize("nonsense", ["", "eaten", "Received"])
def test_a_status_that_does_not_exist_is_refused(place, nonsense):
    for change in (orders.advance, orders.undo):
        with pytest.raises(orders.NotPossibleError):
            change(order=place(), expect=nonsense, actor="chef")


def test_each_step_can_be_undone(place):
    order = place()
    orders.advance(order=order, expect="received", actor="chef")
    orders.advance(order=order, expect="preparing", actor="chef")
    assert orders.undo(order=order, expect="ready", actor="chef").status == "preparing"
    assert orders.undo(order=order, expect="preparing", actor="chef").status == "received"
    with pytest.raises(orders.NotPossibleError, match="no step to undo"):
        orders.undo(order=order, expect="received", actor="chef")


def test_canceling_returns_the_stock_and_undoing_it_takes_it_again(place):
    order = place({"brownie": 3, "fries": 1})
    orders.advance(order=order, expect="received", actor="chef")
    orders.cancel(order=order, expect="preparing", actor="chef", reason="Oven broke.")
    assert (stock("brownie"), stock("fries")) == (5, None)
    orders.cancel(order=order, expect="preparing", actor="chef", reason="Oven broke.")
    assert stock("brownie") == 5
    assert orders.undo(order=order, expect="canceled", actor="chef").status == Status.PREPARING
    assert stock("brownie") == 2


def test_a_cancellation_stays_when_its_food_was_sold_meanwhile(place):
    order = place({"brownie": 3})
    orders.cancel(order=order, expect="received", actor="chef", reason="Nobody came.")
    place({"brownie": 4})
    with pytest.raises(orders.NotPossibleError, match="stays canceled"):
        orders.undo(order=order, expect="canceled", actor="chef")
    order.refresh_from_db()
    assert (order.status, stock("brownie")) == ("canceled", 1)


def test_a_cancellation_needs_a_reason_and_comes_before_collecting(place):
    order = place()
    with pytest.raises(orders.NotPossibleError, match="Say why"):
        orders.cancel(order=order, expect="received", actor="chef", reason="")
    with pytest.raises(orders.NotPossibleError, match="cannot be canceled"):
        orders.cancel(order=order, expect="collected", actor="chef", reason="late")


def test_tokens_cannot_be_guessed(place):
    tokens = {place().token for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) >= 22 for token in tokens)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Ada   Lovelace ", "Ada Lovelace"),
        ("Ada\x00\x07\nLovelace", "Ada Lovelace"),
        ("Zo\u0065\u0308", "Zoë"),
        ("evil\u202etxt", "eviltxt"),
        ("\ud800Ada", "Ada"),
    ],
)
def test_names_are_cleaned(given, kept):
    assert clean_text(given) == kept


def test_notes_keep_their_lines():
    assert clean_text(" no onions \r\n\r\n  please ", lines=True) == "no onions\n\nplease"
