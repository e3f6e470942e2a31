"""Options and combos: what a line with choices costs, what stands in its way, and which stock it takes."""

import uuid

import pytest

from ordering import orders, pricing, selectors
from ordering.models import ComboChoice, ComboPart, MenuItem, Option, OptionGroup
from ordering.pricing import Choice, Counted, Dish, Group, Line, parse_key
from ordering.wishes import Wish, problems_of_lines

CHEESE = Counted("option", 7, "Cheddar", 2)
COLA = Counted("item", 3, "Cola", 4)
SAUCE = Group("sauce", "Sauce", 1, 1, (Choice("house", "House", preselected=True), Choice("hot", "Hot", price=20)))
EXTRAS = Group(
    "extras",
    "Extras",
    0,
    2,
    (Choice("cheddar", "Cheddar", price=90, counted=CHEESE), Choice("egg", "Egg", price=120), Choice("nuts", "Nuts")),
)
DRINK = Group("drink", "Drink", 1, 1, (Choice("cola", "Cola", counted=COLA), Choice("shake", "Shake", 150)), part=True)
BURGER = Dish(1, "burger", "Burger", 900, groups=(SAUCE, EXTRAS))
MEAL = Dish(2, "meal", "Meal", 1200, groups=(DRINK, EXTRAS))


def line(dish, *pairs, quantity=1):
    return Line(dish.slug, quantity, tuple(tuple(pair.split("=")) for pair in pairs))


def codes(dish, *pairs):
    return [fault.code for fault in pricing.faults(dish, line(dish, *pairs).choices)]


def test_choices_add_to_the_price_of_one():
    chosen = line(BURGER, "sauce=hot", "extras=cheddar", "extras=egg", quantity=3)
    assert pricing.unit_price(BURGER, chosen) == 900 + 20 + 90 + 120
    assert pricing.describe(BURGER, chosen) == "Hot, Cheddar, Egg"


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["sauce=house"], []),
        ([], ["too_few"]),
        (["sauce=house", "sauce=hot"], ["too_many"]),
        (["sauce=house", "extras=cheddar", "extras=egg"], []),
        (["sauce=house", "extras=cheddar", "extras=egg", "extras=nuts"], ["too_many"]),
        (["sauce=mayo"], ["unknown_choice", "too_few"]),
        (["sauce=house", "size=large"], ["unknown_choice"]),
    ],
)
def test_what_a_group_asks_for_is_held(pairs, expected):
    assert codes(BURGER, *pairs) == expected


def test_a_choice_that_is_out_says_why():
    gone = Group(
        "side", "Side", 0, 2, (Choice("a", "A", available=False), Choice("b", "B", counted=Counted("item", 1)))
    )
    assert codes(Dish(1, "x", "X", 1, groups=(gone,)), "side=a", "side=b") == ["choice_unavailable", "choice_sold_out"]


def test_a_required_group_without_anything_left_makes_the_dish_sold_out():
    out = Group("sauce", "Sauce", 1, 1, (Choice("house", "House", counted=Counted("option", 1)),))
    assert not Dish(1, "x", "X", 1, groups=(out,)).in_stock
    assert BURGER.in_stock


def test_one_tap_takes_what_is_preselected():
    assert BURGER.preset == (("sauce", "house"),)
    assert BURGER.one_tap
    assert not MEAL.one_tap, "a drink has to be chosen"
    assert pricing.filled(BURGER, Line("burger")).choices == (("sauce", "house"),)
    assert pricing.filled(BURGER, line(BURGER, "sauce=hot")).choices == (("sauce", "hot"),)


def test_a_line_takes_the_stock_of_its_options_and_parts():
    chosen = line(MEAL, "drink=cola", "extras=cheddar", quantity=2)
    assert pricing.takes(MEAL, chosen) == {COLA: 2, CHEESE: 2}
    dishes = {"meal": MEAL, "burger": BURGER}
    lines = [chosen, line(BURGER, "sauce=house", "extras=cheddar")]
    assert pricing.takes_of(dishes, lines) == {COLA: 2, CHEESE: 3}


@pytest.mark.parametrize("key", ["burger", "burger;extras=egg;sauce=hot"])
def test_a_key_names_its_line(key):
    assert parse_key(key).key == key


@pytest.mark.parametrize("key", ["", ";a=b", "burger;", "burger;extras"])
def test_what_names_no_line_is_refused(key):
    with pytest.raises(ValueError, match="names no line"):
        parse_key(key)


def test_lines_of_one_key_become_one_whatever_the_order_of_their_choices():
    one = Line("burger", 1, (("sauce", "hot"), ("extras", "egg")))
    other = Line("burger", 2, (("extras", "egg"), ("sauce", "hot")))
    assert pricing.merged([one, Line("burger"), other]) == (Line("burger", 3, one.choices), Line("burger"))


def test_lines_together_may_not_take_more_than_is_left():
    dishes = {"meal": MEAL, "burger": BURGER}
    lines = [line(MEAL, "drink=shake", "extras=cheddar"), line(BURGER, "sauce=hot", "extras=cheddar", quantity=2)]
    (problem,) = problems_of_lines(lines, dishes)
    assert (problem.code, problem.available, problem.line) == ("not_enough", 2, lines[0].key)
    assert problem.message == "Only 2 of Cheddar are left. Take fewer."


@pytest.fixture
def meal(menu):
    """A combo of fries and a drink, with an option of which three are left."""
    category = menu["fries"].category
    item = MenuItem.objects.create(
        category=category, slug="meal", name="Meal", price=1200, translations={"de": {"name": "Menü"}}
    )
    extras = OptionGroup.objects.create(slug="more", name="More", maximum=2)
    Option.objects.create(
        group=extras, slug="dip", name="Dip", price=50, stock=3, translations={"de": {"name": "Soße"}}
    )
    item.option_groups.add(extras)
    side = ComboPart.objects.create(combo=item, slug="side", name="Side", position=1)
    sweet = ComboPart.objects.create(combo=item, slug="sweet", name="Sweet", position=2)
    ComboChoice.objects.create(part=side, item=menu["fries"])
    ComboChoice.objects.create(part=sweet, item=menu["brownie"], price=100)
    ComboChoice.objects.create(part=sweet, item=menu["apple-pie"])
    return item


def stocks():
    return (MenuItem.objects.get(slug="brownie").stock, Option.objects.get(slug="dip").stock)


def buy(*pairs, quantity=1):
    choices = tuple(tuple(pair.split("=")) for pair in pairs)
    return orders.place(key=str(uuid.uuid4()), wish=Wish((Line("meal", quantity, choices),), name="Ada"))[0]


def test_an_order_keeps_its_choices_as_sold_and_gives_their_stock_back(meal):
    order = buy("sweet=brownie", "more=dip", quantity=2)
    (sold,) = order.lines.all()
    assert (sold.price, order.total) == (1200 + 100 + 50, 2 * 1350)
    assert [choice["choice"] for choice in sold.choices] == ["fries", "brownie", "dip"]
    assert stocks() == (3, 1)
    Option.objects.update(name="Sauce", price=70)
    sold.refresh_from_db()
    assert sold.description == "Fries, Chocolate Brownie, Dip"
    orders.cancel(order=order, expect="received", actor="chef", reason="No gas.")
    assert stocks() == (5, 3)
    orders.undo(order=order, expect="canceled", actor="chef")
    assert stocks() == (3, 1)


def test_nothing_is_taken_where_one_option_is_not_enough(meal):
    with pytest.raises(orders.CannotPlaceError, match="Only 3 of Dip are left"):
        buy("sweet=brownie", "more=dip", quantity=4)
    assert stocks() == (5, 3)


def test_the_customer_reads_their_language_and_the_kitchen_the_shops(meal):
    from django.utils import translation

    with translation.override("de"):
        (sold,) = buy("sweet=brownie", "more=dip").lines.all()
    assert (sold.name, sold.title) == ("Meal", "Menü")
    assert (sold.choices[-1]["name"], sold.choices[-1]["shown"]) == ("Dip", "Soße")


def test_reading_dishes_takes_no_more_queries_for_more_of_them(meal, django_assert_max_num_queries):
    with django_assert_max_num_queries(6):
        selectors.dishes()
