"""The menu. Nothing here needs JavaScript."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from ordering import cart as carts
from ordering import selectors
from ordering.cart import Cart
from ordering.render import render_shop
from ordering.views.shown import cart_context


@require_safe
def menu(request: HttpRequest) -> HttpResponse:
    return menu_page(request, carts.load(request))


def menu_page(request: HttpRequest, basket: Cart, problem: str = "") -> HttpResponse:
    context = {**cart_context(basket), "menu": selectors.menu(), "problem": problem}
    return render_shop(request, "ordering/menu.html", context, status=409 if problem else 200)
