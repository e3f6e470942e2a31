"""The cart lives in a signed cookie of its own: no row is written before an order is placed, and any replica
of any release can read it.

It carries the key under which it will be placed, so that one cart becomes one order, from however many tabs
it is sent.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ordering import conf
from ordering.models import Order
from ordering.wishes import MAX_LINES, MAX_QUANTITY

_SALT = "ordering.cart"
_MAX_AGE = 30 * 24 * 3600
_MAX_RECENT = 3


@dataclass(slots=True)
class Cart:
    """`lines` maps slugs to quantities in the order of adding; `recent` holds (number, token) of the last
    orders."""

    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    lines: dict[str, int] = field(default_factory=dict)
    recent: list[tuple[int, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.lines.values())

    def set(self, slug: str, quantity: int) -> None:
        """Set how many of an item; 0 takes it out. More than fits is cut to what fits."""
        if quantity <= 0:
            self.lines.pop(slug, None)
        elif slug in self.lines or len(self.lines) < MAX_LINES:
            self.lines[slug] = min(quantity, MAX_QUANTITY)

    def became(self, order: Order) -> None:
        """Start a new, empty cart that remembers the order."""
        if order.idempotency_key == self.key:
            self.key = str(uuid.uuid4())
            self.lines = {}
        others = [(number, token) for number, token in self.recent if token != order.token]
        self.recent = [(order.number, order.token), *others][:_MAX_RECENT]


def load(request: HttpRequest) -> Cart:
    """The cart of this browser; an empty one where the cookie is missing, forged, too old or not
    understood."""
    cookie = request.COOKIES.get(conf.cart_cookie(), "")
    try:
        value = signing.loads(cookie, salt=_SALT, max_age=_MAX_AGE)
        return Cart(
            key=str(value["key"]),
            lines={str(slug): int(quantity) for slug, quantity in value["lines"].items()},
            recent=[(int(number), str(token)) for number, token in value["recent"]],
        )
    except (signing.BadSignature, KeyError, TypeError, ValueError, AttributeError):
        return Cart()


def save(response: HttpResponse, cart: Cart, *, request: HttpRequest) -> None:
    """Give the cart to the browser, for this shop's pages only."""
    value = {"key": cart.key, "lines": cart.lines, "recent": cart.recent}
    response.set_cookie(
        conf.cart_cookie(),
        signing.dumps(value, salt=_SALT, compress=True),
        max_age=_MAX_AGE,
        path=reverse("ordering:menu"),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
