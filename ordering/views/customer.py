"""What customers see before and after the checkout: menu, cart, order. Nothing here needs JavaScript."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import condition, require_POST, require_safe

from ordering import cart as carts
from ordering import conf, selectors
from ordering.cart import Cart
from ordering.models import MenuItem, Order, Status
from ordering.render import render_shop
from ordering.wishes import (
    MAX_LINES,
    MAX_QUANTITY,
    Problem,
    Wish,
    is_slug,
    items_of,
    problems_of_lines,
    total_of,
)

STEPS = (Status.RECEIVED, Status.PREPARING, Status.READY, Status.COLLECTED)


@dataclass(frozen=True, slots=True)
class CartLine:
    item: MenuItem
    quantity: int
    problem: Problem | None

    @property
    def total(self) -> int:
        return self.item.price * self.quantity

    @property
    def fewer(self) -> int:
        return self.quantity - 1

    @property
    def more(self) -> int:
        return self.quantity + 1

    @property
    def full(self) -> bool:
        left = self.item.stock
        return self.quantity >= MAX_QUANTITY or (left is not None and self.quantity >= left)


def cart_context(cart: Cart) -> dict:
    """What every template needs that shows the cart. One query, none for an empty cart.

    What has left the menu altogether is dropped from the cart here: nobody could name it any more.
    """
    items = items_of(Wish(cart.lines)) if cart.lines else {}
    gone = [slug for slug in cart.lines if slug not in items]
    for slug in gone:
        cart.set(slug, 0)
    problems = {problem.item: problem for problem in problems_of_lines(cart.lines, items) if cart.lines}
    lines = [CartLine(items[slug], quantity, problems.get(slug)) for slug, quantity in cart.lines.items()]
    return {
        "cart": cart,
        "cart_lines": lines,
        "cart_total": total_of(Wish(cart.lines), items),
        "cart_problems": list(problems.values()),
        "cart_lost": len(gone),
    }


@require_safe
def menu(request: HttpRequest) -> HttpResponse:
    return _menu_page(request, carts.load(request))


@require_safe
def cart(request: HttpRequest) -> HttpResponse:
    return _cart_page(request, carts.load(request))


@require_POST
def change_cart(request: HttpRequest) -> HttpResponse:
    """Put one more into the cart (`add`: slug), or say how many (`set`: slug:quantity). `from` is the page to
    return to."""
    basket = carts.load(request)
    slug, problem = _change(basket, request.POST)
    if request.headers.get("X-Fragment"):
        context = {**cart_context(basket), "problem": problem}
        response = render_shop(request, "ordering/_cart.html", context, status=_status(problem))
    elif request.POST.get("from") == "cart":
        response = _cart_page(request, basket, problem) if problem else HttpResponseRedirect(reverse("ordering:cart"))
    elif problem:
        response = _menu_page(request, basket, problem)
    else:
        # Back to where the visitor was looking, which is the item that they tapped.
        response = HttpResponseRedirect(f"{reverse('ordering:menu')}#{slug}")
    carts.save(response, basket, request=request)
    return response


def _status(problem: str) -> int:
    return 409 if problem else 200


def _change(basket: Cart, posted: QueryDict) -> tuple[str, str]:
    """Apply the posted change to the cart; returns the slug that it was about and what is wrong with it, or
    ""."""
    slug, _colon, number = posted.get("set", "").partition(":")
    if "add" in posted:
        slug, number = posted.get("add", ""), ""
    item = MenuItem.objects.filter(slug=slug).first() if is_slug(slug) else None
    if item is None:
        basket.set(slug, 0)
        return "", _("That is not on the menu any more. Choose something else.")
    present = basket.lines.get(slug, 0)
    if "add" not in posted and not re.fullmatch("[0-9]{1,4}", number):
        return slug, _("The quantity is not a number; choose 0 to %(limit)d.") % {"limit": MAX_QUANTITY}
    wanted = present + 1 if "add" in posted else int(number)
    if wanted > present:
        return slug, _add(basket, item, wanted)
    basket.set(slug, wanted)
    return slug, ""


def _add(basket: Cart, item: MenuItem, wanted: int) -> str:
    if item.slug not in basket.lines and len(basket.lines) >= MAX_LINES:
        return _("The cart holds %(limit)d different items, which is all that fits.") % {"limit": MAX_LINES}
    if wanted > MAX_QUANTITY:
        return _("%(name)s: at most %(limit)d in one order. Call us for a party.") % {
            "name": item.name,
            "limit": MAX_QUANTITY,
        }
    problems = problems_of_lines({item.slug: wanted}, {item.slug: item})
    if problems:
        return problems[0].message
    basket.set(item.slug, wanted)
    return ""


def _cart_page(request: HttpRequest, basket: Cart, problem: str = "") -> HttpResponse:
    context = {**cart_context(basket), "problem": problem}
    return render_shop(request, "ordering/cart.html", context, status=_status(problem))


def _menu_page(request: HttpRequest, basket: Cart, problem: str = "") -> HttpResponse:
    context = {**cart_context(basket), "menu": selectors.menu(), "problem": problem}
    return render_shop(request, "ordering/menu.html", context, status=_status(problem))


@require_safe
def order(request: HttpRequest, token: str) -> HttpResponse:
    found = selectors.order_by_token(token)
    if found is None:
        return _no_such_order(request)
    return render_shop(request, "ordering/order.html", order_context(found))


def _revision(_request: HttpRequest, token: str) -> str | None:
    found = Order.objects.filter(token=token).values_list("revision", flat=True).first()
    # Another release may draw the same revision differently.
    return None if found is None else f'"{found}-{conf.release()}"'


@require_safe
@condition(etag_func=_revision)
def order_status(request: HttpRequest, token: str) -> HttpResponse:
    """The part of the order's page that changes, for its script; 304 while nothing has."""
    found = selectors.order_by_token(token)
    if found is None:
        return _no_such_order(request)
    return render_shop(request, "ordering/_order_status.html", order_context(found))


def order_context(found: Order) -> dict:
    """The order, its steps as (status, label, when it was reached, "done", "now" or "next"), and why it was
    canceled."""
    events = list(found.events.all())
    times = selectors.reached(events)
    position = STEPS.index(Status(found.status)) if found.status in STEPS else -1
    steps = [
        (step, step.label, times.get(step), "done" if at < position else "now" if at == position else "next")
        for at, step in enumerate(STEPS)
    ]
    canceled = next((event for event in reversed(events) if event.to_status == Status.CANCELED), None)
    return {
        "order": found,
        "lines": found.lines.all(),
        "steps": steps,
        "canceled": canceled if found.status == Status.CANCELED else None,
    }


def _no_such_order(request: HttpRequest) -> HttpResponse:
    context = {
        "title": _("No such order"),
        "text": _("This address names no order of ours. Check that the whole link was copied."),
    }
    return render_shop(request, "ordering/message.html", context, status=404)
