"""Staff change the menu in the admin: who may, what they see, and that orders and they do not undo each other."""

import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import translation

from ordering.models import MenuItem, Option, OptionGroup

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client, menu):
    """Somebody of the staff who may change the menu and nothing else."""
    user = get_user_model().objects.create_user("mia", password="a-long-password-of-mia", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["change_menuitem", "view_menuitem"]))
    client.force_login(user)
    return client


@pytest.fixture
def boss(client, menu):
    client.force_login(get_user_model().objects.create_superuser("boss", password="a-long-password-of-boss"))
    return client


def address(name, *args):
    return reverse(f"admin:ordering_{name}", args=args)


def fields(page):
    """What the form of an admin page would post."""
    html = page.content.decode()
    found = {}
    for tag in re.findall(r"<input [^>]*>", html):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        ticked = attributes.get("type") not in ("checkbox", "radio") or " checked" in tag
        if attributes.get("name") and attributes.get("type") != "submit" and ticked:
            found.setdefault(attributes["name"], []).append(attributes.get("value", ""))
    for name, body in re.findall(r'<select name="([^"]+)"[^>]*>(.*?)</select>', html, re.DOTALL):
        found[name] = re.findall(r'<option value="([^"]*)" selected', body)
    for name, body in re.findall(r'<textarea name="([^"]+)"[^>]*>\s*(.*?)</textarea>', html, re.DOTALL):
        found[name] = [body]
    return found


def test_who_has_no_right_changes_nothing(staff, menu):
    assert staff.get(address("menuitem_change", menu["cola"].pk)).status_code == 200
    assert staff.get(address("optiongroup_changelist")).status_code == 403
    assert staff.post(address("menuitem_delete", menu["cola"].pk), {"post": "yes"}).status_code == 403


def test_customers_are_sent_to_sign_in(client, menu):
    response = client.get(address("menuitem_changelist"))
    assert response.status_code == 302
    assert "login" in response["Location"] or "sign-in" in response["Location"]


def test_prices_are_typed_as_people_write_them(staff, menu):
    page = staff.get(address("menuitem_change", menu["cola"].pk))
    form = fields(page)
    assert form["price"] == ["3.1"] or form["price"] == ["3.10"]
    response = staff.post(address("menuitem_change", menu["cola"].pk), form | {"price": ["3.45"]})
    assert response.status_code == 302, response.content.decode()
    assert MenuItem.objects.get(slug="cola").price == 345
    assert staff.post(address("menuitem_change", menu["cola"].pk), form | {"price": ["3,55"]}).status_code == 302
    assert MenuItem.objects.get(slug="cola").price == 355


@pytest.mark.parametrize("price", ["-1", "0", "3.999", "3,999", "1.234,50", "a lot", "99999999"])
def test_a_price_that_cannot_be_is_refused(staff, menu, price):
    form = fields(staff.get(address("menuitem_change", menu["cola"].pk)))
    assert staff.post(address("menuitem_change", menu["cola"].pk), form | {"price": [price]}).status_code == 200
    assert MenuItem.objects.get(slug="cola").price == 310


def test_allergens_are_ticked_and_texts_translated(staff, menu):
    form = fields(staff.get(address("menuitem_change", menu["cola"].pk)))
    changed = {"allergens": ["sulphites", "celery"], "name_de": ["Kola"], "description_de": ["Süß."]}
    assert staff.post(address("menuitem_change", menu["cola"].pk), form | changed).status_code == 302
    cola = MenuItem.objects.get(slug="cola")
    assert cola.allergens == ["celery", "sulphites"]
    with translation.override("de"):
        assert (cola.title, cola.about) == ("Kola", "Süß.")


def test_what_is_sold_while_a_form_is_open_stays_sold(staff, menu, place):
    form = fields(staff.get(address("menuitem_change", menu["brownie"].pk)))
    place({"brownie": 3})
    assert staff.post(address("menuitem_change", menu["brownie"].pk), form | {"price": ["5.00"]}).status_code == 302
    brownie = MenuItem.objects.get(slug="brownie")
    assert (brownie.price, brownie.stock) == (500, 2)


def test_a_count_in_the_list_is_staffs_when_they_touch_it(staff, menu, place):
    form = fields(staff.get(address("menuitem_changelist")))
    place({"brownie": 3})
    row = next(name for name, value in form.items() if name.endswith("-id") and value == [str(menu["brownie"].pk)])
    row = row.removesuffix("-id")
    assert staff.post(address("menuitem_changelist"), form | {"_save": ["Save"]}).status_code == 302
    assert MenuItem.objects.get(slug="brownie").stock == 2, "nobody touched it"
    assert (
        staff.post(address("menuitem_changelist"), form | {f"{row}-stock": ["12"], "_save": ["Save"]}).status_code
        == 302
    )
    assert MenuItem.objects.get(slug="brownie").stock == 12


def row_of(form, item):
    """What the names of an item's fields in the list begin with."""
    return next(n for n, v in form.items() if n.endswith("-id") and v == [str(item.pk)]).removesuffix("-id")


def test_two_people_in_the_list_do_not_undo_each_other(staff, menu):
    """Who saves one row of an older list leaves the others as they are by now."""
    form = fields(staff.get(address("menuitem_changelist")))
    MenuItem.objects.filter(slug="lemonade").update(price=999, available=False)
    slaw = row_of(form, menu["coleslaw"])
    changed = form | {f"{slaw}-price": ["2.50"], "_save": ["Save"]}
    assert staff.post(address("menuitem_changelist"), changed).status_code == 302
    MenuItem.objects.filter(slug="coleslaw").update(stock=4)
    del changed[f"{slaw}-available"]
    assert staff.post(address("menuitem_changelist"), changed).status_code == 302
    prices = dict(MenuItem.objects.values_list("slug", "price"))
    assert (prices["lemonade"], prices["coleslaw"], prices["cola"]) == (999, 250, 310)
    assert not MenuItem.objects.get(slug="lemonade").available
    assert list(MenuItem.objects.filter(slug="coleslaw").values_list("available", "stock")) == [(False, 4)]


def test_two_people_in_one_form_do_not_undo_each_other(boss, menu):
    """Of one dish: prices, allergens, texts of each language, and what can be chosen about it."""
    cola = menu["cola"]
    ice = OptionGroup.objects.create(slug="ice", name="Ice")
    form = fields(boss.get(address("menuitem_change", cola.pk)))
    cola.option_groups.add(ice)
    german = {"name": "Kola", "description": "Süß."}
    MenuItem.objects.filter(pk=cola.pk).update(price=999, allergens=["sulphites"], translations={"de": german})
    changed = form | {"position": ["7"], "description_de": ["Sehr süß."]}
    assert boss.post(address("menuitem_change", cola.pk), changed).status_code == 302
    cola.refresh_from_db()
    assert (cola.price, cola.allergens, cola.position) == (999, ["sulphites"], 7)
    assert cola.translations["de"] == {"name": "Kola", "description": "Sehr süß."}
    assert list(cola.option_groups.all()) == [ice]
    again = fields(boss.get(address("menuitem_change", cola.pk))) | {"option_groups": []}
    assert boss.post(address("menuitem_change", cola.pk), again).status_code == 302
    assert not cola.option_groups.exists()


def test_an_old_form_of_the_shop_does_not_end_a_pause(boss):
    from ordering import pickup
    from ordering.models import PromoCode, ShopState

    ShopState.objects.create(pk=1)
    promo = PromoCode.objects.create(code="TEN", kind="percent", value=10)
    form = fields(boss.get(address("shopstate_change", 1)))
    listed = fields(boss.get(address("promocode_changelist")))
    pickup.pause(minutes=30)
    PromoCode.objects.update(active=False)
    assert boss.post(address("shopstate_change", 1), form | {"slot_capacity": ["3"]}).status_code == 302
    assert boss.post(address("promocode_changelist"), listed | {"_save": ["Save"]}).status_code == 302
    state = pickup.state()
    promo.refresh_from_db()
    assert (state.slot_capacity, state.paused_until is not None, promo.active) == (3, True, False)


def test_items_are_taken_off_for_today(staff, menu):
    chosen = {"action": "take_off", "_selected_action": [menu["cola"].pk]}
    staff.post(address("menuitem_changelist"), chosen)
    assert not MenuItem.objects.get(slug="cola").available
    staff.post(address("menuitem_changelist"), chosen | {"action": "put_back"})
    assert MenuItem.objects.get(slug="cola").available


def test_options_of_a_group_are_changed_together(boss):
    group = OptionGroup.objects.get(slug="extras")
    page = address("optiongroup_change", group.pk)
    form = fields(boss.get(page))
    avocado = next(name for name, value in form.items() if name.endswith("-slug") and value == ["avocado"])
    avocado = avocado.removesuffix("-slug")
    Option.objects.filter(group=group, slug="avocado").update(stock=7)
    assert boss.post(page, form | {f"{avocado}-price": ["1.90"]}).status_code == 302
    changed = Option.objects.get(group=group, slug="avocado")
    assert (changed.price, changed.stock) == (190, 7)
    assert boss.post(page, form | {"minimum": ["5"], "maximum": ["4"]}).status_code == 200


@pytest.mark.parametrize("name", ["category", "menuitem", "optiongroup", "option", "combopart"])
def test_every_list_and_every_form_opens(boss, name):
    from django.apps import apps

    assert boss.get(address(f"{name}_changelist")).status_code == 200
    assert boss.get(address(f"{name}_add")).status_code == 200
    row = apps.get_model("ordering", name).objects.first()
    assert boss.get(address(f"{name}_change", row.pk)).status_code == 200


def test_every_list_and_form_of_the_shop_opens(boss, place):
    order = place()
    for name in (
        "openinghours",
        "specialday",
        "pickupslot",
        "shopstate",
        "promocode",
        "order",
        "payment",
        "outboxmail",
    ):
        assert boss.get(address(f"{name}_changelist")).status_code == 200, name
    for name in ("openinghours", "specialday", "shopstate", "promocode"):
        assert boss.get(address(f"{name}_add")).status_code == 200, name
    assert "Classic Smash" in boss.get(address("order_change", order.pk)).content.decode()


def test_nobody_writes_orders_or_payments_by_hand(boss, place):
    order = place()
    assert boss.post(address("order_change", order.pk), {"total": 1}).status_code == 403
    assert boss.post(address("order_delete", order.pk), {"post": "yes"}).status_code == 403
    assert boss.get(address("payment_add")).status_code == 403


def test_orders_are_canceled_through_the_door(boss, place):
    order = place({"brownie": 2})
    chosen = {"action": "cancel", "_selected_action": [order.pk]}
    assert "is canceled" in boss.post(address("order_changelist"), chosen, follow=True).content.decode()
    assert "cannot be canceled" in boss.post(address("order_changelist"), chosen, follow=True).content.decode()
    order.refresh_from_db()
    assert (order.status, order.events.last().actor) == ("canceled", "boss")
    assert MenuItem.objects.get(slug="brownie").stock == 5


def test_a_code_that_is_edited_keeps_what_orders_have_used_of_it(boss):
    from ordering.models import PromoCode

    new = {"code": "welcome", "kind": "percent", "value": "10", "minimum": "12.50", "max_uses": "5", "active": "on"}
    assert boss.post(address("promocode_add"), new).status_code == 200, "codes are written in capitals"
    boss.post(address("promocode_add"), new | {"code": "WELCOME"})
    promo = PromoCode.objects.get()
    assert (promo.code, promo.minimum) == ("WELCOME", 1250)
    page = fields(boss.get(address("promocode_change", promo.pk)))
    PromoCode.objects.update(uses=3)
    boss.post(address("promocode_change", promo.pk), page | {"value": ["20"]})
    promo.refresh_from_db()
    assert (promo.value, promo.uses) == (20, 3)


def test_the_shop_has_one_row_of_settings(boss):
    from ordering.models import ShopState

    page = fields(boss.get(address("shopstate_add")))
    boss.post(address("shopstate_add"), page | {"slot_capacity": ["3"]})
    assert ShopState.objects.get().slot_capacity == 3
    assert boss.get(address("shopstate_add")).status_code == 403
