"""The menu. Nothing here needs JavaScript.

Its page is the same for all visitors of a language, but for its slots: it is drawn once a second at most, and what
belongs to one visitor (the cart, the way back to their order, the form's token) is put in for each request. So is what
moves with the clock: whether anything is sold now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from ordering import cart as carts
from ordering import conf, filters, food, forgery, pickup, selectors
from ordering.cart import Cart
from ordering.drawn import Drawn
from ordering.filters import Filter
from ordering.measure import agent as measure
from ordering.models import Category, MenuItem
from ordering.pricing import Dish
from ordering.render import for_one_visitor, shop_context
from ordering.splice import Page, Piece, slot
from ordering.views.shown import cart_context

_pages: Drawn[Page] = Drawn(most=32, stamp=selectors.menu_stamp)
_dishes: Drawn[dict[str, Dish]] = Drawn(most=8, stamp=selectors.menu_stamp)
_empty: Drawn[Piece] = Drawn(most=8)
_closed: Drawn[Piece] = Drawn(most=8)
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


# What the page shows to whoever brings no cart; it is never saved.
_NOTHING = Cart()


@dataclass(frozen=True, slots=True)
class Card:
    """An item as the menu shows it."""

    item: MenuItem
    dish: Dish
    allergens: tuple[str, ...]

    @property
    def few(self) -> int | None:
        """How many are left, where that is worth saying."""
        left = self.item.stock
        return left if left is not None and left <= 10 and self.dish.in_stock else None


@require_safe
def menu(request: HttpRequest) -> HttpResponse:
    return menu_page(request, carts.load(request) if carts.sent(request) else _NOTHING)


def menu_page(request: HttpRequest, basket: Cart, problem: str = "") -> HttpResponse:
    wanted = filters.parse(request.GET.getlist("diet"), request.GET.getlist("without"))
    agent = measure.agent()
    told = agent.page(request) if agent else {}
    page = _pages.get((get_language(), wanted), lambda: _draw(wanted, told), max_age=conf.menu_max_age())
    filling = {
        "token": Piece(forgery.token(request), level=1),
        "agent": Piece(escape(told.get("token", "")), level=1),
        "closed": _closed.get(get_language(), _draw_closed, max_age=conf.menu_max_age()),
        "recent": _recent(basket),
        "cart": _cart(basket, problem),
    }
    gzip = _GZIP.search(request.headers.get("Accept-Encoding", "")) is not None
    response = HttpResponse(page.gzipped(filling) if gzip else page.plain(filling), status=409 if problem else 200)
    if gzip:
        response["Content-Encoding"] = "gzip"
    response["Vary"] = "Accept-Encoding"
    return for_one_visitor(response)


def _draw(wanted: Filter, told: dict[str, Any]) -> Page:
    """The page with its slots open. It is drawn without a request, so that nothing of a visitor's can get into it."""
    slots = {name: mark_safe(slot(name)) for name in ("token", "agent", "closed", "recent", "cart")}  # noqa: S308 no visitor's
    context = {
        **shop_context(),
        "shop_agent": told and {**told, "token": slots["agent"]},
        "menu": cards(wanted),
        "wanted": wanted,
        "diets": [(words, wanted.toggled(code).query, code in wanted.diets) for code, words in food.DIETS.items()],
        "allergens": [(code, words, code in wanted.without) for code, words in food.ALLERGENS.items()],
        "slots": slots,
    }
    return Page(render_to_string("ordering/menu.html", context))


def _draw_closed() -> Piece:
    """Who has filled a cart should not learn only then that the kitchen is closed."""
    shop = pickup.hours()
    if shop.is_open:
        return Piece("")
    context = {"closed": shop.closed_because, "later": bool(shop.slots())}
    return Piece(render_to_string("ordering/_closed.html", context))


def cards(wanted: Filter) -> list[tuple[Category, list[Card]]]:
    """The menu by category, those dishes that the filter keeps; a category that keeps none is left out."""
    dishes = _all_dishes()
    shown = []
    for category, items in selectors.menu():
        found = [_card(item, dishes[item.slug]) for item in items if item.slug in dishes]
        if kept := [card for card in found if wanted.keeps(card.item.diets, card.allergens)]:
            shown.append((category, kept))
    return shown


def _all_dishes() -> dict[str, Dish]:
    return _dishes.get(get_language(), selectors.dishes, max_age=conf.menu_max_age())


def _card(item: MenuItem, dish: Dish) -> Card:
    return Card(item, dish, tuple(code for code in food.ALLERGENS if code in dish.held))


def _recent(basket: Cart) -> Piece:
    if not basket.recent:
        return _empty.get(("recent",), lambda: Piece(""), max_age=3600)
    return Piece(render_to_string("ordering/_recent.html", {"recent": basket.recent[0]}))


def _cart(basket: Cart, problem: str) -> Piece:
    def draw() -> Piece:
        known = _all_dishes() if basket.quantities else None
        return Piece(render_to_string("ordering/_cart.html", {**cart_context(basket, known), "problem": problem}))

    if basket.quantities or problem:
        return draw()
    return _empty.get(("cart", get_language()), draw, max_age=conf.menu_max_age())
