"""Filters, the page of a dish, combos in the cart, and the pages that are drawn once for all."""

import datetime as dt
import gzip
import random
import re
import uuid

import pytest
from django.urls import reverse
from django.utils import timezone

from ordering import cart as carts
from ordering import conf, filters, pickup, selectors, splice
from ordering.models import MenuItem, Option, OptionGroup, SpecialDay
from ordering.pricing import Line

pytestmark = pytest.mark.django_db
MENU = "ordering:menu"


def text(response):
    return re.sub(r"\s+", " ", response.content.decode())


def names(response):
    return re.findall(r"<h3><a [^>]*>([^<]*)", response.content.decode())


def card(response, slug):
    return re.search(rf'<li id="{slug}".*?</li>', text(response))[0]


def dish(slug):
    return reverse("ordering:item", args=[slug])


def in_cart(client):
    page = client.get(reverse("ordering:cart")).content.decode()
    return re.findall(r'class="link" [^>]*name="set" value="([^"]*):0"', page)


def test_a_diet_shows_only_what_suits_it(client, menu):
    vegan = names(client.get(reverse(MENU), {"diet": "vegan"}))
    assert "Black Bean" in vegan
    assert "Halloumi Garden" not in vegan
    assert "Classic Smash" not in vegan


def test_what_holds_an_allergen_is_hidden_also_inside_a_combo(client, menu):
    shown = names(client.get(reverse(MENU), {"without": ["gluten", "milk"]}))
    assert shown == ["Fries", "Sweet Potato Fries", "Coleslaw", "Craft Cola", "Mint Lemonade"]


@pytest.mark.parametrize("gone", [{"available": False}, {"stock": 0}], ids=["not sold", "sold out"])
def test_a_combo_holds_what_its_dishes_hold_whatever_is_sold_today(client, menu, gone):
    """Every burger holds gluten, and some side or drink holds milk: what one tap takes today changes nothing of it."""
    MenuItem.objects.filter(slug__in=["classic-smash", "cheese-royale"]).update(**gone)
    for allergen in ("gluten", "milk", "soybeans"):
        shown = names(client.get(reverse(MENU), {"without": allergen}))
        assert "Smash Meal" not in shown
        assert "Box for Two" not in shown
    assert "Allergens:</strong> Cereals containing gluten, Eggs, Soybeans, Milk" in text(client.get(dish("smash-meal")))
    assert "None of the 14" not in card(client.get(reverse(MENU)), "smash-meal")
    answer = client.get(reverse("ordering:api-menu")).json()
    (meal,) = [i for c in answer["categories"] for i in c["items"] if i["slug"] == "smash-meal"]
    assert {"gluten", "milk", "soybeans"} <= set(meal["allergens"])


def test_what_nobody_has_to_take_is_not_held(client, menu):
    """There is a dip with eggs for the fries; whoever takes none eats none."""
    shown = names(client.get(reverse(MENU), {"without": "eggs"}))
    assert "Fries" in shown
    assert "Classic Smash" not in shown


def test_nothing_left_says_how_to_see_everything(client, menu):
    page = text(client.get(reverse(MENU), {"diet": ["vegan", "spicy"]}))
    assert "Nothing on the menu fits all of that." in page


def test_unknown_filters_are_left_out(client, menu):
    response = client.get(reverse(MENU), {"diet": ["<b>", "paleo"], "without": "'"})
    assert len(names(response)) == MenuItem.objects.count()
    assert filters.parse(["paleo"], ["x"]) == filters.Filter()


def test_a_dish_that_asks_something_is_chosen_on_its_page(client, menu):
    page = text(client.get(dish("crispy-chicken")))
    assert "Choose one." in page
    refused = client.post(dish("crispy-chicken"), {"quantity": "2", "pick-extras": ["bacon"]})
    assert refused.status_code == 422
    assert "Crispy Chicken: choose one for “How hot?”." in text(refused)
    assert 'value="bacon" data-price="180" checked' in text(refused)
    done = client.post(dish("crispy-chicken"), {"quantity": "2", "pick-extras": ["bacon"], "pick-heat": "hot"})
    assert done["Location"] == reverse(MENU) + "#crispy-chicken"
    assert in_cart(client) == ["crispy-chicken;extras=bacon;heat=hot"]
    assert "€22.60" in text(client.get(reverse("ordering:cart")))


@pytest.mark.parametrize(
    ("posted", "said"),
    [
        ({"quantity": "0"}, "Choose a quantity from 1 to 20."),
        ({"quantity": "x"}, "Choose a quantity from 1 to 20."),
        ({"quantity": "21"}, "Choose a quantity from 1 to 20."),
        ({"quantity": "1", "pick-extras": ["a" * 500]}, ""),
        ({"quantity": "1", "pick-extras": ["caviar"]}, "cannot be had with “caviar”"),
        ({"quantity": "1", "pick-extras": ["patty", "bacon", "cheddar", "egg", "avocado"]}, "choose at most 4"),
    ],
)
def test_what_cannot_be_chosen_is_said(client, menu, posted, said):
    response = client.post(dish("classic-smash"), posted)
    if said:
        assert response.status_code == 422
        assert said in text(response)
    else:
        assert in_cart(client) == ["classic-smash"]


def test_a_line_of_the_cart_can_be_changed(client, menu):
    client.post(dish("smash-meal"), choices_of_meal())
    (key,) = in_cart(client)
    page = text(client.get(dish("smash-meal"), {"edit": key}))
    assert 'value="lemonade" data-price="50" checked' in page
    assert "Change it" in page
    changed = choices_of_meal() | {"pick-drink": "cola", "edit": key, "quantity": "3"}
    assert client.post(dish("smash-meal"), changed)["Location"] == reverse("ordering:cart")
    assert in_cart(client) == ["smash-meal;burger=bacon-stack;drink=cola;side=coleslaw"]
    assert "€50.70" in text(client.get(reverse("ordering:cart")))


def test_a_change_that_is_saved_again_by_the_way_back_adds_nothing(client, menu):
    client.post(dish("classic-smash"), {"quantity": "1"})
    change = {"quantity": "1", "pick-extras": ["bacon"], "edit": "classic-smash"}
    for _ in range(2):
        assert client.post(dish("classic-smash"), change)["Location"] == reverse("ordering:cart")
        assert in_cart(client) == ["classic-smash;extras=bacon"]
    assert "€10.70" in text(client.get(reverse("ordering:cart")))


def test_thousands_of_choices_are_no_line(client, menu):
    many = ";".join(f"a{n}=c" for n in range(3_000))
    response = client.post(reverse("ordering:change-cart"), {"add": f"fries;{many}"})
    assert response.status_code == 409
    assert in_cart(client) == []


def choices_of_meal():
    return {"quantity": "1", "pick-burger": "bacon-stack", "pick-side": "coleslaw", "pick-drink": "lemonade"}


def test_one_tap_takes_a_combo_as_it_is(client, menu):
    client.post(reverse("ordering:change-cart"), {"add": "smash-meal", "from": "menu"})
    assert in_cart(client) == ["smash-meal;burger=classic-smash;drink=cola;side=fries"]


def test_a_combo_without_one_of_its_parts_can_still_be_had(client, menu):
    MenuItem.objects.filter(slug="cola").update(stock=0)
    page = client.get(reverse(MENU)).content.decode()
    assert 'aria-label="Choose for Smash Meal"' in page
    assert 'aria-label="Add Smash Meal"' not in page
    MenuItem.objects.filter(slug__in=["lemonade", "strawberry-shake"]).update(available=False)
    assert 'id="smash-meal" class="dish is-out"' in client.get(reverse(MENU)).content.decode()


def test_an_option_that_runs_out_is_said_before_placing(client, menu):
    Option.objects.filter(slug="avocado").update(stock=2)
    client.post(dish("classic-smash"), {"quantity": "2", "pick-extras": ["avocado"]})
    Option.objects.filter(slug="avocado").update(stock=1)
    assert "Only 1 Avocado is left" in text(client.get(reverse("ordering:checkout")))
    Option.objects.filter(slug="avocado").update(available=False)
    assert "Avocado is not sold at the moment" in text(client.get(reverse("ordering:cart")))


def test_a_line_from_before_a_choice_was_required_takes_what_is_preselected(client, menu):
    client.post(reverse("ordering:change-cart"), {"set": "cola:2"})
    size = OptionGroup.objects.create(slug="ice", name="Ice", minimum=1)
    Option.objects.create(group=size, slug="with", name="With ice", preselected=True)
    menu["cola"].option_groups.add(size)
    assert in_cart(client) == ["cola;ice=with"]
    client.post(reverse("ordering:change-cart"), {"set": "cola;ice=with:1", "from": "cart"})
    assert in_cart(client) == ["cola;ice=with"]


def test_the_menu_says_when_nothing_is_sold_now(client, menu):
    address = reverse("ordering:menu")
    assert "notice closed" not in client.get(address).content.decode()
    pickup.pause(minutes=15, reason="The fryer is being cleaned.")
    page = client.get(address).content.decode()
    assert "We take a break until" in page
    assert "The fryer is being cleaned." in page
    assert "You can order for later" in page
    german = {"headers": {"Accept-Language": "de"}}
    assert "Du kannst für später bestellen" in client.get(address, **german).content.decode()
    pickup.pause(minutes=0)
    assert "notice closed" not in client.get(address).content.decode()
    today = timezone.now().astimezone(conf.time_zone()).date()
    for days in range(-1, 16):
        SpecialDay.objects.create(date=today + dt.timedelta(days=days))
    page = client.get(address, **german).content.decode()
    assert "Wir haben geschlossen." in page
    assert "für später bestellen" not in page, "there is no such time"


def test_what_is_not_on_the_menu_is_not_found(client, menu):
    assert client.get(dish("pizza")).status_code == 404


def test_a_cart_never_outgrows_its_cookie(client, menu):
    """Texts without pattern are the worst that a compressed cookie can meet."""
    pick = random.Random(6)
    cart = carts.Cart(recent=[(n, uuid.uuid4().hex) for n in range(3)])

    def slug():
        return "".join(pick.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", k=50))

    lines = [Line(slug(), 1, tuple((slug(), slug()) for _ in range(5))) for _ in range(30)]
    fitted = [cart.set(line, 1) for line in lines]
    assert fitted[0]
    assert not fitted[-1]
    assert len(cart.lines) == sum(fitted)
    response = client.get(reverse(MENU))
    carts.save(response, cart, request=response.wsgi_request)
    assert max(len(morsel.OutputString()) for morsel in response.cookies.values()) <= 4096


def test_a_spliced_page_is_the_same_compressed_and_plain():
    page = splice.Page(f"<p>ä{splice.slot('one')}</p>" * 50 + splice.slot("two"))
    filling = {"one": splice.Piece("Grüße"), "two": splice.Piece("")}
    assert gzip.decompress(page.gzipped(filling)) == page.plain(filling) == "<p>äGrüße</p>".encode() * 50


def test_the_drawn_menu_is_shown_again_but_each_visitor_has_their_own_cart(client, menu, settings, monkeypatch):
    settings.SHOP_MENU_MAX_AGE = 60
    from ordering.drawn import Drawn
    from ordering.views import menu as menu_view

    monkeypatch.setattr(menu_view, "_pages", Drawn(most=4))
    monkeypatch.setattr(menu_view, "_empty", Drawn(most=4))
    monkeypatch.setattr(menu_view, "_dishes", Drawn(most=4))
    first = client.get(reverse(MENU))
    client.post(reverse("ordering:change-cart"), {"add": "cola"})
    mine = client.get(reverse(MENU), headers={"Accept-Encoding": "gzip"})
    assert mine["Content-Encoding"] == "gzip"
    assert "Remove Craft Cola" in gzip.decompress(mine.content).decode()
    from django.test import Client

    other = Client().get(reverse(MENU))
    assert "Remove Craft Cola" not in other.content.decode()
    token = re.compile(r'name="csrfmiddlewaretoken" value="([^"]{64})"')
    assert token.search(first.content.decode())[1] != token.search(other.content.decode())[1]
    assert "\x02" not in other.content.decode()
    assert "private" in other["Cache-Control"]
    assert "Cookie" in other["Vary"]


def test_a_drawn_page_is_drawn_anew_when_it_is_old():
    from ordering.drawn import Drawn

    drawn = Drawn(most=1)
    assert drawn.get("a", lambda: 1, max_age=60) == 1
    assert drawn.get("a", lambda: 2, max_age=60) == 1
    assert drawn.get("a", lambda: 3, max_age=0) == 3
    assert drawn.get("b", lambda: 4, max_age=60) == 4


def test_what_has_not_changed_is_not_drawn_again(menu):
    from ordering.drawn import Drawn

    drawn = Drawn(most=4, stamp=selectors.menu_stamp)
    assert drawn.get("a", lambda: 1, max_age=1e-9) == 1
    drawn._kept = {key: (0.0, stamp, thing) for key, (_until, stamp, thing) in drawn._kept.items()}
    assert drawn.get("a", lambda: 2, max_age=1e-9) == 1
    drawn._kept = {key: (0.0, stamp, thing) for key, (_until, stamp, thing) in drawn._kept.items()}
    Option.objects.filter(slug="avocado").update(stock=3)
    assert drawn.get("a", lambda: 3, max_age=1e-9) == 3


@pytest.mark.parametrize(
    ("model", "change"),
    [("Category", "name"), ("MenuItem", "stock"), ("OptionGroup", "maximum"), ("ComboPart", "name")],
)
def test_every_table_of_the_menu_is_in_its_stamp(menu, model, change):
    from django.apps import apps

    before = selectors.menu_stamp()
    assert selectors.menu_stamp() == before
    row = apps.get_model("ordering", model).objects.first()
    setattr(row, change, 7)
    row.save()
    assert selectors.menu_stamp() != before
    menu["fries"].option_groups.clear()
    assert selectors.menu_stamp() != before
