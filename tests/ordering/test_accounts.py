"""Customers with an account: history and the same again. Guests are in test_customer_pages."""

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import reverse

from ordering import cart as carts
from ordering import conf, guessing, orders
from ordering.cart import Cart
from ordering.models import MenuItem, Order
from ordering.site.sign_in import StaffSignIn
from ordering.terms import Terms
from ordering.wishes import Wish, plain_lines

pytestmark = pytest.mark.django_db

PASSWORD = "fries-before-guys-7"
WHO = {"email": "Ada@Example.com", "first_name": "Ada", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture(autouse=True)
def accounts(settings, menu):
    settings.SHOP_ACCOUNTS = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    guessing.forget()
    return settings


def sign_up(client, **more):
    return client.post(reverse("ordering:sign-up"), WHO | more)


def buy(customer, lines, key="key-of-ada"):
    return orders.place(
        key=key, wish=Wish(plain_lines(lines), name="Ada"), terms=Terms(customer_id=customer.pk if customer else None)
    )[0]


def test_who_signs_up_is_signed_in_and_finds_their_orders(client, django_user_model):
    assert sign_up(client)["Location"] == reverse("ordering:account")
    ada = django_user_model.objects.get(username="ada@example.com")
    assert not ada.is_staff
    mine = buy(ada, {"fries": 2})
    buy(None, {"cola": 1}, "key-of-bob")
    page = client.get(reverse("ordering:account")).content.decode()
    assert f"Order {mine.number}," in page
    assert "2 \N{MULTIPLICATION SIGN} Fries" in page
    assert "Craft Cola" not in page


def test_the_checkout_knows_who_is_signed_in(client, django_user_model):
    sign_up(client)
    client.post(reverse("ordering:change-cart"), {"add": "fries"})
    page = client.get(reverse("ordering:checkout")).content.decode()
    assert 'value="Ada"' in page
    assert 'value="ada@example.com"' in page.lower()
    key = page.split('name="key" value="')[1].split('"')[0]
    client.post(reverse("ordering:checkout"), {"key": key, "total": "380", "name": "Ada"})
    assert Order.objects.get().customer == django_user_model.objects.get(username="ada@example.com")


def test_one_tap_orders_the_same_again_as_far_as_it_can_be_had(client, place):
    order = place({"fries": 2, "cola": 1, "brownie": 1})
    MenuItem.objects.filter(slug="cola").update(available=False)
    response = client.post(reverse("ordering:order-again", args=[order.token]))
    assert response["Location"] == reverse("ordering:cart") + "?missing=1"
    page = client.get(response["Location"]).content.decode()
    assert "€11.80" in page
    assert "cannot be had today" in page


def test_signing_in_goes_where_one_wanted_to_and_nowhere_else(client):
    sign_up(client)
    client.post(reverse("ordering:sign-out"))
    assert client.get(reverse("ordering:account")).status_code == 302
    who = {"username": " ADA@example.com ", "password": PASSWORD}
    address = reverse("ordering:sign-in")
    assert client.post(address, who | {"next": "https://evil.example/"})["Location"] == reverse("ordering:account")
    assert client.post(address, who | {"next": reverse("ordering:cart")})["Location"] == reverse("ordering:cart")


def test_wrong_passwords_are_held_after_a_few(client):
    sign_up(client)
    client.post(reverse("ordering:sign-out"))
    address, who = reverse("ordering:sign-in"), {"username": "ada@example.com"}
    tries = [client.post(address, who | {"password": "wrong"}).status_code for _ in range(guessing.ALLOWED + 1)]
    assert tries == [422] * guessing.ALLOWED + [429]
    assert client.post(address, who | {"password": PASSWORD}).status_code == 429


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"email": "nonsense"}, "valid email"),
        ({"password1": "12345", "password2": "12345"}, "too short"),
        ({"password2": "another-one-8"}, "match"),
    ],
)
def test_an_account_that_cannot_be_made_says_why(client, django_user_model, accounts, wrong, said):
    accounts.AUTH_PASSWORD_VALIDATORS = [
        {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    ]
    response = sign_up(client, **wrong)
    assert response.status_code == 422
    assert said in response.content.decode()
    assert django_user_model.objects.count() == 0


def test_an_address_has_one_account(client):
    sign_up(client)
    assert "There is an account with this address already" in sign_up(client, email="ADA@example.com").content.decode()


def test_where_users_are_a_companys_nobody_becomes_one_here(client, accounts, django_user_model):
    accounts.SHOP_ACCOUNTS = False
    assert sign_up(client).status_code == 404
    assert client.get(reverse("ordering:sign-in")).status_code == 404
    assert client.get(reverse("ordering:account")).status_code == 404
    assert django_user_model.objects.count() == 0
    client.force_login(django_user_model.objects.create(username="teammate"))
    assert client.get(reverse("ordering:account")).status_code == 200


def test_history_is_two_queries_however_long(client, django_user_model, django_assert_max_num_queries):
    sign_up(client)
    ada = django_user_model.objects.get(username="ada@example.com")
    for number in range(12):
        buy(ada, {"fries": 1, "cola": 1}, f"key-of-ada-{number}")
    with django_assert_max_num_queries(4):  # the session, its user, orders and lines
        client.get(reverse("ordering:account"))


def test_a_name_that_is_held_costs_no_hashing(client, monkeypatch):
    who = {"username": "ada@example.com", "password": "wrong"}
    for _ in range(guessing.ALLOWED):
        client.post(reverse("ordering:sign-in"), who)
    monkeypatch.setattr("django.contrib.auth.forms.authenticate", None)
    assert client.post(reverse("ordering:sign-in"), who).status_code == 429


def test_who_comes_next_at_a_browser_finds_nobodys_order(client):
    sign_up(client)
    basket = Cart(recent=[(7, "a-token-of-ada")])
    client.cookies[conf.cart_cookie()] = ""
    response = HttpResponse()
    carts.save(response, basket, request=RequestFactory().get("/"))
    client.cookies.update(response.cookies)
    assert "a-token-of-ada" in client.get(reverse("ordering:menu")).content.decode()
    client.post(reverse("ordering:sign-out"))
    assert "a-token-of-ada" not in client.get(reverse("ordering:menu")).content.decode()


def test_staff_guess_no_faster_than_customers():
    tries = []
    for _ in range(guessing.ALLOWED + 1):
        request = RequestFactory().post("/kitchen/sign-in/", {"username": "boss", "password": "wrong"})
        request._dont_enforce_csrf_checks = True
        tries.append(StaffSignIn.as_view()(request).status_code)
    assert tries == [200] * guessing.ALLOWED + [429]
