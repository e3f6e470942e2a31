"""The cart lives in a signed cookie of its own: no row is written before an order is placed, and any replica
of any release can read it.

It carries the key under which it will be placed, so that one cart becomes one order, from however many tabs
it is sent. Browsers keep 4,096 bytes of a cookie with its name: a cart that would need more takes nothing more in.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ordering import conf
from ordering.models import Order, Status
from ordering.pricing import Line, parse_key
from ordering.wishes import MAX_LINES, MAX_QUANTITY

_SALT = "ordering.cart"
_MAX_AGE = 30 * 24 * 3600
_MAX_RECENT = 3
# What is left of 4,096 bytes for the value: the name takes some, and so do the attributes in some browsers.
_MAX_COOKIE = 3_800


@dataclass(slots=True)
class Cart:
    """`quantities` maps the keys of lines to how many, in the order of adding; `recent` holds (number, token) of
    the last orders."""

    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    quantities: dict[str, int] = field(default_factory=dict)
    recent: list[tuple[int, str]] = field(default_factory=list)

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(parse_key(key, quantity) for key, quantity in self.quantities.items())

    @property
    def count(self) -> int:
        return sum(self.quantities.values())

    @property
    def contents(self) -> str:
        """What is in it and how many of each, in a word: what a form shows is compared with what is placed by it."""
        return hashlib.sha256(repr(sorted(self.quantities.items())).encode()).hexdigest()[:16]

    def placed(self, order: Order) -> bool:
        """Whether this browser has placed it: from this cart, or lately."""
        return order.idempotency_key == self.key or any(token == order.token for _number, token in self.recent)

    def holds(self, line: Line) -> int:
        """How many of just this line are in the cart."""
        return self.quantities.get(line.key, 0)

    def set(self, line: Line, quantity: int) -> bool:
        """Set how many there are of a line; 0 takes it out. Whether it fitted: if not, nothing has changed."""
        if quantity <= 0:
            self.quantities.pop(line.key, None)
            return True
        before = dict(self.quantities)
        self.quantities[line.key] = min(quantity, MAX_QUANTITY)
        if len(self.quantities) > MAX_LINES or len(_signed(self)) > _MAX_COOKIE:
            self.quantities = before
            return False
        return True

    def renew(self) -> None:
        """The same cart, to be placed as another order than before."""
        self.key = str(uuid.uuid4())

    def became(self, order: Order) -> None:
        """Start a new cart that remembers the order. It is empty, unless the order came to nothing."""
        if order.idempotency_key == self.key:
            self.key = str(uuid.uuid4())
            if order.status != Status.CANCELED:
                self.quantities = {}
        others = [(number, token) for number, token in self.recent if token != order.token]
        self.recent = [(order.number, order.token), *others][:_MAX_RECENT]


def sent(request: HttpRequest) -> bool:
    """Whether the browser has sent any cart."""
    return conf.cart_cookie() in request.COOKIES


def load(request: HttpRequest) -> Cart:
    """The cart of this browser; an empty one where the cookie is missing, forged, too old or not
    understood."""
    cookie = request.COOKIES.get(conf.cart_cookie(), "")
    if not cookie:
        return Cart()
    try:
        value = signing.loads(cookie, salt=_SALT, max_age=_MAX_AGE)
        lines = value.get("chosen") or value["lines"]
        return Cart(
            key=str(value["key"]),
            quantities={parse_key(str(key)).key: int(quantity) for key, quantity in lines.items()},
            recent=[(int(number), str(token)) for number, token in value["recent"]],
        )
    except (signing.BadSignature, KeyError, TypeError, ValueError, AttributeError):
        return Cart()


def _signed(cart: Cart) -> str:
    """The cart as a cookie. Releases that know no choices read `lines` alone, and so only what they could sell."""
    plain = {key: quantity for key, quantity in cart.quantities.items() if ";" not in key}
    value: dict[str, Any] = {"key": cart.key, "lines": plain, "recent": cart.recent}
    if len(plain) < len(cart.quantities):
        value["chosen"] = cart.quantities
    return signing.dumps(value, salt=_SALT, compress=True)


def save(response: HttpResponse, cart: Cart, *, request: HttpRequest) -> None:
    """Give the cart to the browser, for this shop's pages only."""
    response.set_cookie(
        conf.cart_cookie(),
        _signed(cart),
        max_age=_MAX_AGE,
        path=reverse("ordering:menu"),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
