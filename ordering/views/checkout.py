"""Checkout: the form that places an order exactly once. Guests never need an account."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from ordering import bill as bills
from ordering import cart as carts
from ordering import conf, estimate, money, orders, payments, pickup, promos
from ordering.access import customer_of
from ordering.cart import Cart
from ordering.models import Order, PaymentMethod, PromoCode, Status
from ordering.orders.placing import amounts
from ordering.render import render_shop
from ordering.terms import MAX_EMAIL, MAX_TIP, UNSEEN, Terms, bill_of, moment_of
from ordering.views import codes
from ordering.views.shown import cart_context
from ordering.wishes import MAX_NAME, MAX_NOTE, Problem, Wish, clean_text, is_key

TIPS = (0, 5, 10, 15)


@sensitive_post_parameters("name", "note", "email")
@require_http_methods(["GET", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """Show the form; on POST place what is in the cart, or with `preview` only show what it would cost.

    The form's key is the cart's, so all its copies are one order.
    """
    cart = carts.load(request)
    if request.method == "GET":
        return _form(request, cart, Wish((), name=_known_name(request)), _first_terms(request))
    if "preview" in request.POST:
        return _form(request, cart, _posted(request, cart), _terms(request), previewed=True)
    key = request.POST.get("key", "")
    # A double click, or "back" and once more: the order is there already, whatever the cart holds by now. A key that is
    # not this browser's tells nothing, and who pressed twice is told like everybody that a payment failed.
    order = orders.placed_with(key=key) if is_key(key) else None
    if order and cart.placed(order) and not (order.status == Status.CANCELED and key == cart.key):
        return _to_order(request, cart, order)
    wish, terms = _posted(request, cart), _terms(request)
    # Another tab may have changed the cart to what costs the same.
    if key != cart.key or request.POST.get("lines", cart.contents) != cart.contents:
        problem = Problem("cart_changed", _("This cart has changed since. Check it and place the order again."))
        return _form(request, cart, wish, terms, [problem])
    if untried := codes.held(request, terms.promo):
        return _form(request, cart, wish, terms, [untried])
    try:
        order, _created = orders.place(key=key, wish=wish, terms=_charged(terms, wish, cart, request))
    except orders.CannotPlaceError as error:
        return _form(request, cart, wish, terms, error.problems)
    except orders.NotPaidError as error:
        # That order is over. The next try is another one, with the same cart.
        cart.renew()
        return _form(request, cart, wish, replace(terms, source=""), [Problem("not_paid", str(error))])
    except orders.KeyReusedError as error:
        order = error.order
    return _to_order(request, cart, order)


def _posted(request: HttpRequest, cart: Cart) -> Wish:
    return Wish(
        lines=cart.lines,
        name=clean_text(request.POST.get("name", "")),
        note=clean_text(request.POST.get("note", ""), lines=True),
    )


def _charge_shown(posted: QueryDict) -> int:
    """What the form said that all of it costs. Forms of releases that did not say it told what the goods cost."""
    total = posted.get("charge", posted.get("total", ""))
    return int(total) if total.isascii() and total.isdigit() and len(total) < 12 else UNSEEN


def _first_terms(request: HttpRequest) -> Terms:
    user = customer_of(request)
    return Terms(email=user.email if user else "")


def _known_name(request: HttpRequest) -> str:
    user = customer_of(request)
    return user.first_name if user else ""


def _terms(request: HttpRequest) -> Terms:
    """What was posted, as far as it can be read; what cannot is said to be wrong when the order is placed."""
    posted, user = request.POST, customer_of(request)
    method, _colon, source = posted.get("pay", "").partition(":")
    return Terms(
        email=clean_text(posted.get("email", ""))[: MAX_EMAIL + 1],
        pickup=_moment(posted.get("pickup", "")),
        promo=promos.clean(clean_text(posted.get("promo", ""))),
        payment=method or PaymentMethod.COUNTER,
        source=source[:100],
        customer_id=user.pk if user else None,
        language=get_language() or "",
    )


def _moment(text: str) -> dt.datetime | None:
    """The slot that was chosen; what cannot be read becomes one that does not exist."""
    return moment_of(text) or dt.datetime.min.replace(tzinfo=dt.UTC) if text else None


def _tip(posted: QueryDict, goods: int) -> int:
    """The tip in minor units: so many percent of the goods, or an amount of its own; -1 for what cannot be read."""
    chosen = posted.get("tip", "0")
    if chosen == "own":
        amount = money.parse(posted.get("tip_own", ""), conf.currency())
        return -1 if amount is None else amount
    percent = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 4 else -1
    return bills.percentage(goods, percent) if percent in TIPS else -1


def _charged(terms: Terms, wish: Wish, cart: Cart, request: HttpRequest) -> Terms:
    """The terms with the tip, which is a share of what the goods cost, and with the sum that the form showed."""
    tip = _tip(request.POST, cart_context(cart)["cart_total"])
    return replace(terms, tip=tip, expected_charge=_charge_shown(request.POST))


def _form(
    request: HttpRequest,
    cart: Cart,
    wish: Wish,
    terms: Terms,
    problems: list[Problem] | None = None,
    *,
    previewed: bool = False,
) -> HttpResponse:
    context = cart_context(cart)
    shop = pickup.hours()
    bill, promo_problem = _bill(request, context, terms, shop)
    if previewed:
        problems = [promo_problem] if promo_problem else []
    context |= _choices(request, terms, shop, context["cart_total"]) | {
        "wish": replace(wish, lines=()),
        "terms": terms,
        "bill": bill,
        # Before the first try, what is already known to stand in the way is said at once.
        "problems": context["cart_problems"] if problems is None else problems,
        "max_name": MAX_NAME,
        "max_note": MAX_NOTE,
        "max_email": MAX_EMAIL,
    }
    if request.headers.get("X-Fragment") == "bill":
        return render_shop(request, "ordering/_bill.html", context)
    status = 422 if problems and not previewed else 200
    response = render_shop(request, "ordering/checkout.html", context, status=status)
    carts.save(response, cart, request=request)
    return response


def _bill(
    request: HttpRequest, context: dict[str, Any], terms: Terms, shop: pickup.Hours
) -> tuple[bills.Bill, Problem | None]:
    """What the cart costs on these terms, and why the code does not count, where it does not."""
    goods, promo, problem = context["cart_total"], None, None
    if terms.promo:
        promo, problem = _promo(request, terms, goods, shop)
    tip = min(max(0, _tip(request.POST, goods)), MAX_TIP)
    lines = [amounts(shown.line, shown.dish) for shown in context["cart_lines"]]
    return bill_of(lines, None if problem else promo, tip), problem


def _promo(
    request: HttpRequest, terms: Terms, goods: int, shop: pickup.Hours
) -> tuple[PromoCode | None, Problem | None]:
    if untried := codes.held(request, terms.promo):
        return None, untried
    promo = promos.find(terms.promo)
    problem = promos.problem_of(promo, code=terms.promo, goods=goods, now=shop.now, user=terms.user)
    codes.tried(request, [problem] if problem else [])
    return promo, problem


def _choices(request: HttpRequest, terms: Terms, shop: pickup.Hours, goods: int) -> dict[str, Any]:
    """What the form offers: times by day, tips, ways to pay."""
    zone = conf.time_zone()
    slots = groupby(pickup.offered(shop), key=lambda slot: slot.starts_at.astimezone(zone).date())
    return {
        "shop_hours": shop,
        "estimate": estimate.for_new_order(shop.state, now=shop.now) if shop.is_open else None,
        "days": [(day, list(found)) for day, found in slots],
        "tips": [(percent, bills.percentage(goods, percent)) for percent in TIPS],
        "tip": request.POST.get("tip", "0"),
        "tip_own": clean_text(request.POST.get("tip_own", ""))[:12],
        "sources": payments.sources(),
        "pay": f"{terms.payment}:{terms.source}" if terms.source else terms.payment,
    }


def _to_order(request: HttpRequest, cart: Cart, order: Order) -> HttpResponse:
    response = HttpResponseRedirect(order.get_absolute_url())
    cart.became(order)
    carts.save(response, cart, request=request)
    return response
