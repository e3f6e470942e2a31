"""The tokens of the menu's form are those that Django's own middleware asks for."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from django.conf import settings
from django.middleware.csrf import CSRF_ALLOWED_CHARS, _unmask_cipher_token, get_token
from django.test import Client, RequestFactory
from django.urls import reverse

from ordering import forgery

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]{64})"')


def test_a_token_hides_the_secret_of_the_request_under_another_mask_each_time():
    request = RequestFactory().get("/")
    first, second = forgery.token(request), forgery.token(request)
    secret = request.META["CSRF_COOKIE"]
    assert request.META["CSRF_COOKIE_NEEDS_UPDATE"]
    assert first != second
    assert _unmask_cipher_token(first) == _unmask_cipher_token(second) == secret
    assert _unmask_cipher_token(get_token(request)) == secret


def test_each_character_is_as_likely_as_any_other():
    found: Counter[str] = Counter()
    for _ in range(1000):
        found.update(forgery.token(RequestFactory().get("/")))
    assert set(found) == set(CSRF_ALLOWED_CHARS)
    # 1,032 of each are expected; 6 times the standard deviation is 190.
    assert all(842 < count < 1222 for count in found.values())


@pytest.mark.django_db
def test_what_the_menu_gives_is_taken_by_the_shop(menu):
    strict = Client(enforce_csrf_checks=True)
    page = strict.get(reverse("ordering:menu"))
    secret = strict.cookies[settings.CSRF_COOKIE_NAME].value
    for _ in range(2):  # with no secret of the visitor's, and with the one that they bring
        token = TOKEN.search(page.content.decode())
        sent = {"add": "fries", "csrfmiddlewaretoken": token[1]}
        assert strict.post(reverse("ordering:change-cart"), sent).status_code == 302
        assert strict.post(reverse("ordering:change-cart"), sent | {"csrfmiddlewaretoken": "a" * 64}).status_code == 403
        page = strict.get(reverse("ordering:menu"))
        assert strict.cookies[settings.CSRF_COOKIE_NAME].value == secret
