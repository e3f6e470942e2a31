"""The cart: its page and every change. Nothing here needs JavaScript."""

from __future__ import annotations

import re
from dataclasses import replace

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ordering import cart as carts
from ordering import pricing, selectors
from ordering.cart import Cart
from ordering.methods import post_only
from ordering.pricing import Dish, Line, parse_key
from ordering.render import render_shop
from ordering.views.menu import menu_page
from ordering.views.shown import cart_context, settle
from ordering.wishes import MAX_LINES, MAX_QUANTITY, is_slug, problems_of_lines


@require_safe
def cart(request: HttpRequest) -> HttpResponse:
    basket = carts.load(request)
    lost = _("Some of it cannot be had today, so it was left out.") if "missing" in request.GET else ""
    return render_shop(request, "ordering/cart.html", {**cart_context(basket), "problem": lost})


@post_only
def change_cart(request: HttpRequest) -> HttpResponse:
    """Put one more into the cart (`add`: slug, with its preselected choices), or say how many (`set`: key:quantity).
    `from` is the page to return to."""
    basket = carts.load(request)
    settle(basket)
    slug, problem = _change(basket, request.POST)
    if request.headers.get("X-Fragment"):
        context = {**cart_context(basket), "problem": problem}
        response = render_shop(request, "ordering/_cart.html", context, status=_status(problem))
    elif request.POST.get("from") == "cart":
        response = _cart_page(request, basket, problem) if problem else HttpResponseRedirect(reverse("ordering:cart"))
    elif problem:
        response = menu_page(request, basket, problem)
    else:
        # Back to where the visitor was looking, which is the item that they tapped.
        response = HttpResponseRedirect(f"{reverse('ordering:menu')}#{slug}")
    carts.save(response, basket, request=request)
    return response


def _status(problem: str) -> int:
    return 409 if problem else 200


def _change(basket: Cart, posted: QueryDict) -> tuple[str, str]:
    """Apply the posted change to the cart; returns the slug that it was about and what is wrong with it, or ""."""
    key, _colon, number = posted.get("set", "").rpartition(":")
    if "add" in posted:
        key, number = posted.get("add", ""), ""
    try:
        line = parse_key(key)
    except ValueError:
        line = Line("")
    dish = selectors.dishes([line.slug]).get(line.slug) if is_slug(line.slug) else None
    if dish is None:
        basket.set(line, 0)
        return "", _("That is not on the menu any more. Choose something else.")
    if "add" in posted:
        return line.slug, add(basket, dish, replace(line, choices=line.choices or dish.preset), 1)
    if not re.fullmatch("[0-9]{1,4}", number):
        return line.slug, _("The quantity is not a number; choose 0 to %(limit)d.") % {"limit": MAX_QUANTITY}
    if basket.holds(line) == 0:
        line = pricing.filled(dish, line)
    wanted, present = int(number), basket.holds(line)
    if wanted > present:
        return line.slug, add(basket, dish, line, wanted - present)
    basket.set(line, wanted)
    return line.slug, ""


def add(basket: Cart, dish: Dish, line: Line, more: int) -> str:
    """Put more of a line into the cart; returns what keeps it out, or ""."""
    wanted = basket.holds(line) + more
    if wanted > MAX_QUANTITY:
        return _("%(name)s: at most %(limit)d in one order. Call us for a party.") % {
            "name": dish.name,
            "limit": MAX_QUANTITY,
        }
    if problems := problems_of_lines([replace(line, quantity=wanted)], {dish.slug: dish}):
        return problems[0].message
    if not basket.set(line, wanted):
        return _("The cart holds %(limit)d different items, which is all that fits.") % {
            "limit": min(MAX_LINES, len(basket.quantities))
        }
    return ""


def _cart_page(request: HttpRequest, basket: Cart, problem: str = "") -> HttpResponse:
    context = {**cart_context(basket), "problem": problem}
    return render_shop(request, "ordering/cart.html", context, status=_status(problem))
