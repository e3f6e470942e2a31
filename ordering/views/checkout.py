"""Guest checkout: the form that places an order exactly once."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from ordering import cart as carts
from ordering import orders
from ordering.cart import Cart
from ordering.render import render_shop
from ordering.views.shown import cart_context
from ordering.wishes import MAX_NAME, MAX_NOTE, Problem, Wish, clean_text, is_key


@sensitive_post_parameters("name", "note")
@require_http_methods(["GET", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """Show the form; on POST place what is in the cart. The form's key is the cart's, so all its copies are
    one order."""
    cart = carts.load(request)
    if request.method == "GET":
        return _form(request, cart, Wish(()))
    key = request.POST.get("key", "")
    # A double click, or "back" and once more: the order is there already, whatever the cart holds by now.
    if is_key(key) and (order := orders.placed_with(key=key)):
        return _to_order(request, cart, order)
    wish = _posted(request, cart)
    if key != cart.key:
        problem = Problem("cart_changed", _("This cart has changed since. Check it and place the order again."))
        return _form(request, cart, wish, [problem])
    try:
        order, _created = orders.place(key=key, wish=wish)
    except orders.CannotPlaceError as error:
        return _form(request, cart, wish, error.problems)
    except orders.KeyReusedError as error:
        order = error.order
    return _to_order(request, cart, order)


def _posted(request: HttpRequest, cart: Cart) -> Wish:
    total = request.POST.get("total", "")
    return Wish(
        lines=cart.lines,
        name=clean_text(request.POST.get("name", "")),
        note=clean_text(request.POST.get("note", ""), lines=True),
        expected_total=int(total) if total.isascii() and total.isdigit() and len(total) < 12 else None,
    )


def _form(request: HttpRequest, cart: Cart, wish: Wish, problems: list[Problem] | None = None) -> HttpResponse:
    context = cart_context(cart)
    context |= {
        "wish": replace(wish, lines=()),
        # Before the first try, what is already known to stand in the way is said at once.
        "problems": context["cart_problems"] if problems is None else problems,
        "max_name": MAX_NAME,
        "max_note": MAX_NOTE,
    }
    return render_shop(request, "ordering/checkout.html", context, status=422 if problems else 200)


def _to_order(request: HttpRequest, cart: Cart, order: orders.Order) -> HttpResponse:
    response = HttpResponseRedirect(order.get_absolute_url())
    cart.became(order)
    carts.save(response, cart, request=request)
    return response
