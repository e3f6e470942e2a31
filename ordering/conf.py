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
    """Seconds for which a drawn menu is shown again, more on a busy machine. What it says may be that old; an order
    asks the database."""
    return getattr(settings, "SHOP_MENU_MAX_AGE", 1.0)


def tax_rate() -> int:
    """The tax inside of prices that neither an item nor its category says otherwise, in basis points."""
    return getattr(settings, "SHOP_TAX_RATE", 0)


def payment_provider() -> str:
    """Who takes payments online: "sandbox" is the test provider, which moves no money; empty for nobody, so that
    orders are paid at the counter."""
    return getattr(settings, "SHOP_PAYMENT_PROVIDER", "")


def payment_patience() -> float:
    """Seconds after which a payment without an answer is asked about again."""
    return getattr(settings, "SHOP_PAYMENT_PATIENCE", 15.0)


def payment_deadline() -> float:
    """Seconds after which a payment that never came through is given up, and its order with it."""
    return getattr(settings, "SHOP_PAYMENT_DEADLINE", 120.0)


def refund_delay() -> float:
    """Seconds before a refund begins: so long a cancellation can be undone."""
    return getattr(settings, "SHOP_REFUND_DELAY", 30.0)


def accounts() -> bool:
    """Whether customers may have accounts of their own here. Where the users are a company's, they may not."""
    return getattr(settings, "SHOP_ACCOUNTS", False)


def sender() -> str:
    """The address from which receipts come."""
    return getattr(settings, "SHOP_EMAIL_FROM", "") or settings.DEFAULT_FROM_EMAIL


def public_url() -> str:
    """Where customers find the shop, without a slash at the end, for links in mails; empty for no links."""
    return getattr(settings, "SHOP_PUBLIC_URL", "").rstrip("/")
