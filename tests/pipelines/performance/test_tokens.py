"""Who may report for what."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.performance import tokens
from pipelines.performance.tokens import Claims, TokenError

KEY = b"k" * 32
NOW = 1_000_000.0


def refused(token: str, key: bytes = KEY) -> str:
    with pytest.raises(TokenError) as error:
        tokens.read(key, token, NOW)
    return str(error.value)


def test_a_token_says_what_it_was_made_for():
    replica = tokens.mint(KEY, "production", "shop-7")
    page = tokens.narrow(replica, route="menu", until=NOW + 60)
    assert tokens.read(KEY, replica, NOW) == Claims("production", "shop-7")
    assert tokens.read(KEY, page, NOW) == Claims("production", "shop-7", "menu", NOW + 60)


def test_whoever_holds_an_environments_token_may_say_the_release():
    token = tokens.narrow(tokens.mint(KEY, "production"), release="shop-7")
    assert tokens.read(KEY, token, NOW) == Claims("production", "shop-7")


def test_nobody_can_widen_a_token():
    token = tokens.mint(KEY, "production", "shop-7")
    assert refused(tokens.narrow(token, release="shop-8")) == "forged"
    assert refused(tokens.narrow(token, environment="staging")) == "forged"
    page = tokens.narrow(token, route="menu", until=NOW - 1)
    assert refused(page) == "expired"
    assert refused(tokens.narrow(page, until=NOW + 1000)) == "expired"
    # Without its last part, a token has the wrong signature.
    first, *_, signature = page.split(".")
    assert refused(f"{first}.{signature}") == "forged"


@pytest.mark.parametrize("until", [float("nan"), float("inf"), -float("inf"), 10**400, -1, 1e300])
def test_a_time_that_never_comes_is_none(until):
    page = tokens.narrow(tokens.mint(KEY, "production", "shop-7"), route="menu", until=NOW - 1)
    assert refused(tokens.narrow(page, until=until)) == "malformed"
    assert refused(tokens.narrow(tokens.mint(KEY, "production"), until=until)) == "malformed"


def test_another_installations_token_is_none():
    assert refused(tokens.mint(b"another key of another place.....", "production", "shop-7")) == "forged"


@pytest.mark.parametrize(
    "token", ["", ".", "a", "a.b", "ü.b", "x" * 5000, "a.b.c.d.e.f.g", tokens.mint(KEY, "")],
)  # fmt: skip
def test_what_is_no_token_is_refused(token):
    assert refused(token) in ("malformed", "forged")


@given(st.text())
def test_no_text_breaks_the_reader(text):
    assert refused(text) in ("malformed", "forged")


@given(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.integers())))
def test_claims_of_another_shape_are_refused_even_with_a_right_signature(value):
    signature = tokens.mint(KEY, "production").rpartition(".")[2]
    part = base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    first = tokens.mint(KEY, "production").partition(".")[0]
    token = f"{first}.{part}.{tokens._digest(tokens._bytes(signature), part)}"
    if value == {}:
        assert tokens.read(KEY, token, NOW) == Claims("production")
    elif part:
        assert refused(token) in ("malformed", "forged")
