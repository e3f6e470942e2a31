"""Promo codes: what they take off, and who may use them how often."""

import datetime as dt
import re
import uuid

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from ordering import guessing, orders, promos
from ordering.models import PromoCode
from ordering.terms import Terms
from ordering.wishes import Wish, plain_lines

pytestmark = pytest.mark.django_db


def code(name="WELCOME", kind="percent", value=10, **more):
    return PromoCode.objects.create(code=name, kind=kind, value=value, **more)


def buy(promo="WELCOME", lines=None, **terms):
    wish = Wish(plain_lines(lines or {"classic-smash": 2}), name="Ada")
    return orders.place(key=str(uuid.uuid4()), wish=wish, terms=Terms(promo=promo, **terms))[0]


def refused(**more):
    with pytest.raises(orders.CannotPlaceError) as error:
        buy(**more)
    return [problem.code for problem in error.value.problems]


def test_percent_and_amount_are_taken_off_and_spread_over_the_lines(menu):
    code(value=10)
    order = buy(lines={"classic-smash": 1, "fries": 1}, tip=100)
    assert (order.goods, order.discount, order.tip, order.total) == (1270, 127, 100, 1243)
    assert sum(line.discount for line in order.lines.all()) == 127
    code("FIVE", "amount", 500)
    assert buy("FIVE").total == 1280
    assert buy("FIVE", lines={"fries": 1}).total == 0


@pytest.mark.parametrize(("given", "kept"), [(" wel come ", "WELCOME"), ("five-5", "FIVE-5"), ("x" * 50, "X" * 30)])
def test_codes_are_read_however_they_are_typed(given, kept):
    assert promos.clean(given) == kept


def test_why_a_code_does_not_count_is_said(menu):
    now, hour = timezone.now(), dt.timedelta(hours=1)
    code("LATER", starts_at=now + hour)
    code("OVER", ends_at=now - hour)
    code("OFF", active=False)
    code("BIG", minimum=5000)
    code("GONE", max_uses=0)
    expected = {
        "NONE": "promo_unknown",
        "LATER": "promo_unknown",
        "OFF": "promo_unknown",
        "OVER": "promo_over",
        "BIG": "promo_minimum",
        "GONE": "promo_used_up",
        "ÜBER": "promo_unknown",
    }
    assert {name: refused(promo=name) for name in expected} == {name: [why] for name, why in expected.items()}


def test_single_use_means_once_and_a_canceled_order_has_not_used_it(menu):
    promo = code(max_uses=1)
    first = buy()
    assert refused() == ["promo_used_up"]
    orders.cancel(order=first, expect="received", actor="chef", reason="No buns.")
    second = buy()
    with pytest.raises(orders.NotPossibleError, match="code has been used"):
        orders.undo(order=first, expect="canceled", actor="chef")
    promo.refresh_from_db()
    assert (promo.uses, second.discount) == (1, 178)


def test_so_often_for_one_customer_by_mail_or_account(menu, django_user_model):
    code(max_per_customer=1)
    ada = django_user_model.objects.create(username="ada")
    assert refused() == ["promo_email"]
    buy(email="ada@example.com")
    assert refused(email="Ada@Example.com") == ["promo_used"]
    buy(email="bob@example.com", customer_id=ada.pk)
    assert refused(customer_id=ada.pk) == ["promo_used"]


def test_an_order_is_not_taken_up_again_with_a_code_that_its_customer_has_used_since(menu, django_user_model):
    promo = code(max_per_customer=1)
    grace = django_user_model.objects.create(username="grace")
    for who, same in (({"email": "ada@example.com"}, {"email": "Ada@example.com"}), ({"customer_id": grace.pk},) * 2):
        first = buy(**who)
        orders.cancel(order=first, expect="received", actor="chef", reason="No buns.")
        second = buy(**same)
        with pytest.raises(orders.NotPossibleError, match="code has been used"):
            orders.undo(order=first, expect="canceled", actor="chef")
        orders.cancel(order=second, expect="received", actor="chef", reason="No buns either.")
        assert orders.undo(order=first, expect="canceled", actor="chef").status == "received"
    promo.refresh_from_db()
    assert promo.uses == 2


@pytest.fixture
def _tries():
    guessing.forget()
    yield
    guessing.forget()


@pytest.mark.usefixtures("_tries")
def test_codes_are_not_tried_by_the_dozen(client, menu):
    code("REAL")
    client.post(reverse("ordering:change-cart"), {"add": "classic-smash"})

    def preview(promo):
        form = {"preview": "yes", "name": "Ada", "promo": promo}
        return client.post(reverse("ordering:checkout"), form).content.decode()

    for number in range(guessing.ALLOWED):
        assert "does not exist" in preview(f"GUESS-{number}")
    assert "Too many codes were tried" in preview("REAL")
    assert "€8.01" not in preview("REAL")
    body = {"name": "Ada", "lines": [{"item": "fries"}], "promo": "REAL"}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    answer = client.post(reverse("ordering:api-orders"), body, content_type="application/json", headers=headers)
    assert [problem["code"] for problem in answer.json()["problems"]] == ["promo_tries"]
    key = re.search(r'name="key" value="([^"]*)"', preview(""))[1]
    form = {"key": key, "charge": "890", "name": "Ada"}
    assert client.post(reverse("ordering:checkout"), form | {"promo": "REAL"}).status_code == 422
    assert client.post(reverse("ordering:checkout"), form).status_code == 302, "without a code everybody is served"


@pytest.mark.usefixtures("_tries")
def test_a_program_tries_no_more_codes_than_a_form(client, menu):
    code("REAL")
    body = {"name": "Ada", "lines": [{"item": "fries"}]}

    def post(promo):
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        sent = body | {"promo": promo}
        return client.post(reverse("ordering:api-orders"), sent, content_type="application/json", headers=headers)

    for number in range(guessing.ALLOWED):
        assert [problem["code"] for problem in post(f"GUESS-{number}").json()["problems"]] == ["promo_unknown"]
    assert [problem["code"] for problem in post("REAL").json()["problems"]] == ["promo_tries"]


def test_codes_that_cannot_be_are_refused_by_the_form():
    with pytest.raises(ValidationError):
        PromoCode(code="TOO-MUCH", kind="percent", value=101).full_clean()
    now = timezone.now()
    with pytest.raises(ValidationError):
        PromoCode(code="BACK", kind="amount", value=1, starts_at=now, ends_at=now).full_clean()
