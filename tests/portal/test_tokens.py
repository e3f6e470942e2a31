"""The page of a person's tokens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from knox.models import AuthToken


@pytest.mark.django_db
@pytest.mark.parametrize(("days", "warned"), [(3, True), (6.9, True), (8, False), (-1, False)])
def test_the_page_warns_of_a_token_that_expires_within_a_week(sign_in, cast, days, warned):
    token, _ = AuthToken.objects.create(user=cast.ann, expiry=timedelta(days=days))
    page = sign_in("ann").get(reverse("portal:tokens")).text
    assert ("burger token renew" in page) is warned
    assert (f"{token.token_key}…</code> expires" in page) is warned
    assert "burger token renew" not in sign_in("olga").get(reverse("portal:tokens")).text
