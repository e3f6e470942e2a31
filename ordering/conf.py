"""What a shop can be told by Django settings, with the value that holds where a project says nothing.

Read at each call, never kept, so that tests and projects can override them like any other setting.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from django.conf import settings


def shop_name() -> str:
    return getattr(settings, "SHOP_NAME", "Burger Stack")


def currency() -> str:
    """The ISO 4217 code in which every price of this shop is meant."""
    return getattr(settings, "SHOP_CURRENCY", "EUR")


def notice() -> str:
    """A sentence shown above every page; empty for none."""
    return getattr(settings, "SHOP_NOTICE", "")


def release() -> str:
    return getattr(settings, "RELEASE", "")


def time_zone() -> ZoneInfo:
    """Where the shop stands: its orders are numbered by the day there, its clocks show the time there."""
    return ZoneInfo(getattr(settings, "SHOP_TIME_ZONE", settings.TIME_ZONE))


def kitchen_networks() -> list[str]:
    """Networks (CIDR) whose people may work in the kitchen without signing in."""
    return getattr(settings, "SHOP_KITCHEN_NETWORKS", [])


def cart_cookie() -> str:
    return getattr(settings, "SHOP_CART_COOKIE", "shop_cart")


def measure_url() -> str:
    """The address of whoever collects measurements; empty for none, and then nothing is measured."""
    return getattr(settings, "MEASURE_URL", "")


def measure_token() -> str:
    """What reports are believed by."""
    return getattr(settings, "MEASURE_TOKEN", "")


def measure_sample() -> float:
    """The share of views, from 0 to 1, of which browsers report."""
    return getattr(settings, "MEASURE_SAMPLE", 1.0)


def languages() -> list[str]:
    """The languages that the shop speaks; it is written in the one that Django's LANGUAGE_CODE names."""
    return getattr(settings, "SHOP_LANGUAGES", ["en", "de"])


def language_cookie() -> str:
    return getattr(settings, "SHOP_LANGUAGE_COOKIE", "shop_language")


def menu_max_age() -> float:
    """Seconds for which a drawn menu is shown again. What it says may be that old; an order asks the database."""
    return getattr(settings, "SHOP_MENU_MAX_AGE", 1.0)
