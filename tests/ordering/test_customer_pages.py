"""Menu, cart, checkout and order page through the test client: what a browser without JavaScript does."""

import re

import pytest
from django.urls import reverse

from ordering import conf, orders
from ordering.models import MenuItem, Order, PromoCode
from ordering.wishes import Wish, plain_lines

pytestmark = pytest.mark.django_db


def add(client, slug, **more):
    return client.post(reverse("ordering:change-cart"), {"add": slug, "from": "menu"} | more)


def fields(page):
    """What a page's checkout form says by itself."""
    return {name: re.search(rf'name="{name}" value="([^"]*)"', page)[1] for name in ("key", "lines", "charge", "total")}


def form_of(client):
    return fields(client.get(reverse("ordering:checkout")).content.decode())


def check_out(client, **more):
    return client.post(reverse("ordering:checkout"), form_of(client) | {"name": "Ada"} | more)


def test_the_menu_shows_prices_allergens_and_one_button_an_item(client, menu):
    page = client.get(reverse("ordering:menu")).content.decode()
    assert "€8.90" in page
    assert "Cereals containing gluten, Eggs, Milk, Mustard, Sesame" in page
    assert page.count('name="add"') == len(menu) - 1, "one dish asks how hot it shall be"
    assert 'aria-label="Choose for Crispy Chicken"' in page
    assert 'class="tag tag-vegan"' in page
    assert "Only 5 left" in page


def test_what_is_out_says_so_and_cannot_be_added(client, menu):
    MenuItem.objects.filter(slug="cola").update(stock=0)
    MenuItem.objects.filter(slug="fries").update(available=False)
    page = client.get(reverse("ordering:menu")).content.decode()
    assert "Sold out" in page
    assert "Not today" in page
    refused = add(client, "cola")
    assert refused.status_code == 409
    assert "Craft Cola is sold out" in refused.content.decode()


def test_a_tap_adds_and_returns_to_the_item(client, menu):
    response = add(client, "fries")
    assert response.status_code == 302
    assert response["Location"] == reverse("ordering:menu") + "#fries"
    assert "€3.80" in client.get(reverse("ordering:cart")).content.decode()


def test_quantities_change_and_items_go(client, menu):
    add(client, "fries")
    change = reverse("ordering:change-cart")
    assert client.post(change, {"set": "fries:3", "from": "cart"})["Location"] == reverse("ordering:cart")
    assert "€11.40" in client.get(reverse("ordering:cart")).content.decode()
    client.post(change, {"set": "fries:0", "from": "cart"})
    assert "Nothing in it yet" in client.get(reverse("ordering:cart")).content.decode()


@pytest.mark.parametrize(
    "change", ["fries:-1", "fries:x", "fries:", "fries", "fries:99999", "fries:٣", ":1", "", "a b:1"]
)
def test_bad_changes_say_what_is_wrong_and_change_nothing(client, menu, change):
    add(client, "fries")
    response = client.post(reverse("ordering:change-cart"), {"set": change, "from": "cart"})
    assert response.status_code == 409
    assert 'class="problem"' in response.content.decode()
    assert "€3.80" in client.get(reverse("ordering:cart")).content.decode()


def test_more_than_is_left_cannot_be_added(client, menu):
    client.post(reverse("ordering:change-cart"), {"set": "brownie:5"})
    refused = add(client, "brownie")
    assert refused.status_code == 409
    assert "Only 5 of Chocolate Brownie are left" in refused.content.decode()


def test_the_return_address_cannot_be_chosen(client, menu):
    assert add(client, "fries", **{"from": "https://evil.example/"})["Location"].startswith(reverse("ordering:menu"))


def test_a_forged_cart_is_an_empty_cart(client, menu):
    client.cookies[conf.cart_cookie()] = "nonsense:signature"
    assert client.get(reverse("ordering:cart")).status_code == 200


def test_a_cart_survives_items_that_leave_the_menu(client, menu):
    add(client, "fries")
    add(client, "cola")
    MenuItem.objects.filter(slug="cola").delete()
    page = client.get(reverse("ordering:cart")).content.decode()
    assert "left the menu" in page
    assert "Fries" in page


def test_checking_out_places_the_order_and_shows_it(client, menu):
    add(client, "classic-smash")
    add(client, "classic-smash")
    response = check_out(client, note="no onions")
    order = Order.objects.get()
    assert response["Location"] == order.get_absolute_url()
    assert (order.total, order.name, order.note) == (1780, "Ada", "no onions")
    page = client.get(response["Location"]).content.decode()
    assert "Thank you, Ada" in page
    assert "€17.80" in page
    assert "Nothing in it yet" in client.get(reverse("ordering:cart")).content.decode()
    assert f"Follow your order {order.number}" in client.get(reverse("ordering:menu")).content.decode()


def test_back_and_resubmit_gives_the_same_order(client, menu):
    add(client, "fries")
    form = form_of(client) | {"name": "Ada"}
    first = client.post(reverse("ordering:checkout"), form)
    add(client, "cola")
    again = client.post(reverse("ordering:checkout"), form | {"name": "Somebody else"})
    assert first["Location"] == again["Location"]
    assert Order.objects.count() == 1
    assert "Craft Cola" in client.get(reverse("ordering:cart")).content.decode()


def test_two_tabs_of_one_cart_are_one_order(client, menu):
    add(client, "fries")
    tabs = [form_of(client), form_of(client)]
    places = {client.post(reverse("ordering:checkout"), form | {"name": "Ada"})["Location"] for form in tabs}
    assert len(places) == Order.objects.count() == 1


def test_problems_are_listed_and_nothing_typed_is_lost(client, menu):
    client.post(reverse("ordering:change-cart"), {"set": "brownie:4"})
    form = form_of(client) | {"name": "Ada", "note": "with <cream>"}
    MenuItem.objects.filter(slug="brownie").update(stock=1)
    response = client.post(reverse("ordering:checkout"), form)
    page = response.content.decode()
    assert response.status_code == 422
    assert "Only 1 Chocolate Brownie is left" in page
    assert 'value="Ada"' in page
    assert "with &lt;cream&gt;" in page
    assert Order.objects.count() == 0


def test_a_changed_price_is_shown_before_it_counts(client, menu):
    add(client, "fries")
    form = form_of(client) | {"name": "Ada"}
    MenuItem.objects.filter(slug="fries").update(price=400)
    response = client.post(reverse("ordering:checkout"), form)
    assert "The total is now €4.00, it was €3.80" in response.content.decode()
    assert check_out(client).status_code == 302


def test_a_code_that_takes_less_off_than_was_shown_is_shown_before_it_counts(client, menu):
    code = PromoCode.objects.create(code="TEN", kind="percent", value=50)
    add(client, "classic-smash")
    form = form_of(client) | {"name": "Ada", "promo": "TEN"}
    shown = client.post(reverse("ordering:checkout"), form | {"preview": "yes"}).content.decode()
    assert "€4.45" in shown
    form |= fields(shown)
    PromoCode.objects.filter(pk=code.pk).update(value=5)
    response = client.post(reverse("ordering:checkout"), form)
    assert response.status_code == 422
    assert "The total is now €8.45, it was €4.45" in response.content.decode()
    assert Order.objects.count() == 0
    assert client.post(reverse("ordering:checkout"), form | fields(response.content.decode())).status_code == 302
    assert Order.objects.get().total == 845


def test_a_tip_is_in_the_total_that_is_shown_before_it_counts(client, menu):
    """Without JavaScript the button still says the sum without the tip."""
    add(client, "classic-smash")
    form = form_of(client) | {"name": "Ada", "tip": "15"}
    response = client.post(reverse("ordering:checkout"), form)
    page = response.content.decode()
    assert response.status_code == 422
    assert "The total is now €10.24, it was €8.90" in page
    assert re.search(r"Place order.*€10\.24", page)
    assert client.post(reverse("ordering:checkout"), form | fields(page)).status_code == 302
    assert Order.objects.get().total == 1024


@pytest.mark.parametrize("shown", [{}, {"charge": ""}, {"charge": "free"}, {"charge": "-1"}, {"charge": "9" * 30}])
def test_nothing_is_placed_by_a_form_that_showed_no_total(client, menu, shown):
    add(client, "fries")
    form = {"key": form_of(client)["key"], "name": "Ada"} | shown
    assert "The total is €3.80. Look at it" in client.post(reverse("ordering:checkout"), form).content.decode()
    assert Order.objects.count() == 0


def test_a_form_of_a_release_that_showed_the_goods_alone_still_orders(client, menu):
    add(client, "fries")
    form = form_of(client)
    old = {"key": form["key"], "total": form["total"], "name": "Ada"}
    assert client.post(reverse("ordering:checkout"), old).status_code == 302


def test_another_tab_may_not_change_what_this_one_orders(client, menu):
    """Not even to something that costs the same."""
    MenuItem.objects.filter(slug__in=["black-bean", "halloumi-garden"]).update(price=900)
    add(client, "black-bean")
    form = form_of(client) | {"name": "Ada"}
    client.post(reverse("ordering:change-cart"), {"set": "black-bean:0"})
    add(client, "halloumi-garden")
    response = client.post(reverse("ordering:checkout"), form)
    assert response.status_code == 422
    assert "This cart has changed since" in response.content.decode()
    assert Order.objects.count() == 0


def test_a_key_of_somebody_else_leads_nowhere(client, menu):
    """A key that is easily guessed, as programs choose them, is no way to the order that was placed with it."""
    order, _ = orders.place(key="order-0001", wish=Wish(plain_lines({"fries": 1}), name="Grace"))
    add(client, "fries")
    for form in ({"key": "order-0001", "name": "Ada"}, form_of(client) | {"key": "order-0001", "name": "Grace"}):
        response = client.post(reverse("ordering:checkout"), form)
        assert response.status_code == 422
        assert order.token not in response.content.decode()
    assert "order-0001" not in client.get(reverse("ordering:checkout")).content.decode()
    assert Order.objects.count() == 1


def test_a_double_click_on_a_card_that_is_declined_keeps_the_cart(client, menu, settings):
    settings.SHOP_PAYMENT_PROVIDER = "sandbox"
    add(client, "fries")
    form = form_of(client) | {"name": "Ada", "pay": "online:decline"}
    before = client.cookies[conf.cart_cookie()].value
    for _click in range(2):
        # Both were sent before the first was answered.
        client.cookies[conf.cart_cookie()] = before
        response = client.post(reverse("ordering:checkout"), form)
        assert response.status_code == 422
        assert "The card was declined. Nothing was charged." in response.content.decode()
    assert check_out(client, pay="online:approve").status_code == 302
    assert sorted(Order.objects.values_list("status", flat=True)) == ["canceled", "received"]


def test_an_order_that_came_to_nothing_leaves_its_cart(client, menu):
    """Placed, but the answer was lost; then the kitchen canceled it."""
    add(client, "fries")
    form = form_of(client) | {"name": "Ada"}
    before = client.cookies[conf.cart_cookie()].value
    client.post(reverse("ordering:checkout"), form)
    order = Order.objects.get()
    orders.cancel(order=order, expect="received", actor="chef", reason="The grill is cold.")
    client.cookies[conf.cart_cookie()] = before
    assert client.post(reverse("ordering:checkout"), form)["Location"] == order.get_absolute_url()
    assert "Fries" in client.get(reverse("ordering:cart")).content.decode()
    assert check_out(client)["Location"] != order.get_absolute_url()


@pytest.mark.parametrize("key", ["", "x", "11111111-1111-1111-1111-111111111111", "k" * 500, "\x00" * 20])
def test_a_strange_key_places_nothing(client, menu, key):
    add(client, "fries")
    response = client.post(reverse("ordering:checkout"), {"key": key, "total": "380", "name": "Ada"})
    assert response.status_code == 422
    assert Order.objects.count() == 0


def test_an_empty_cart_cannot_be_checked_out(client, menu):
    assert "nothing to check out" in client.get(reverse("ordering:checkout")).content.decode()


def test_forms_need_their_token(menu):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    assert strict.post(reverse("ordering:change-cart"), {"add": "fries"}).status_code == 403
    assert strict.post(reverse("ordering:checkout"), {"name": "Ada"}).status_code == 403


@pytest.mark.parametrize("name", ["change-cart", "sign-out", "kitchen-pause"])
def test_an_address_that_only_takes_forms_says_so_to_whoever_opens_it(client, menu, name):
    response = client.get(reverse(f"ordering:{name}"), headers={"Accept-Language": "de"})
    assert (response.status_code, response["Allow"]) == (405, "POST")
    page = response.content.decode()
    assert "Hier gibt es nichts zu sehen" in page
    assert f'href="{reverse("ordering:menu")}"' in page


def test_markup_in_names_stays_text(client, place):
    order = place(name="<script>alert(1)</script>", note="<b>x</b>")
    page = client.get(order.get_absolute_url()).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>x</b>" not in page


def test_the_order_page_follows_by_revision(client, place):
    order = place()
    address = reverse("ordering:order-status", args=[order.token])
    first = client.get(address)
    assert "We have your order" in first.content.decode()
    assert client.get(address, headers={"If-None-Match": first["ETag"]}).status_code == 304
    orders.advance(order=order, expect="received", actor="chef")
    moved = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert moved.status_code == 200
    assert "on the grill" in moved.content.decode()


def test_the_customer_reads_why_an_order_was_canceled(client, place):
    order = place()
    orders.cancel(order=order, expect="received", actor="chef", reason="The grill is cold.")
    assert "The grill is cold." in client.get(order.get_absolute_url()).content.decode()


@pytest.mark.parametrize(
    ("given", "kept"), [("", "Du hast sie storniert."), ("Doch nicht", "Du hast sie storniert. Doch nicht")]
)
def test_why_a_customer_canceled_is_kept_as_they_said_it(client, place, given, kept):
    order = place()
    client.cookies[conf.language_cookie()] = "de"
    client.post(reverse("ordering:cancel-order", args=[order.token]), {"reason": given})
    assert order.events.get(kind="canceled").reason == kept


def test_a_wrong_token_is_not_found(client, menu):
    response = client.get(reverse("ordering:order", args=["A" * 22]))
    assert response.status_code == 404
    assert "names no order of ours" in response.content.decode()


def test_pages_hold_no_inline_script_or_style(client, place, kitchen):
    order = place()
    add(client, "fries")
    for name in ("menu", "cart", "checkout", "kitchen"):
        page = client.get(reverse(f"ordering:{name}")).content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page), name
    page = client.get(order.get_absolute_url()).content.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page)
