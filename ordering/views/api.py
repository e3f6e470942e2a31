"""The JSON API for scripts: read the menu, place an order once, follow it. It uses no cookie and so needs no
CSRF token.

An error is {"error": {"code", "message"}}; what keeps an order from being placed is {"problems": [{"code",
"message", "item"?, "available"?}]} with status 422.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from ordering import conf, estimate, food, guessing, orders, payments, pickup, pricing, promos, selectors
from ordering.access import client_address
from ordering.models import MenuItem, Order, Status
from ordering.pricing import Dish, Group, Line
from ordering.terms import MAX_EMAIL, Terms, moment_of
from ordering.views import codes
from ordering.wishes import MAX_CHOICES, MAX_KEY, MAX_LINES, MIN_KEY, Wish, clean_text, is_key, is_slug

MAX_BODY = 16 * 1024
# Whose tries are counted beside those of names to sign in with, which hold no blank.
_KEYS = "idempotency keys"
FIELDS = {
    "name",
    "note",
    "lines",
    "expected_total",
    "expected_charge",
    "email",
    "pickup",
    "promo",
    "tip",
    "payment",
}


class BadRequestError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@require_safe
def menu(_request: HttpRequest) -> JsonResponse:
    """{"currency", "categories": [{"slug", "name", "items": [...]}]}; prices are in minor units."""
    dishes = selectors.dishes()
    categories = [
        {
            "slug": category.slug,
            "name": category.title,
            "items": [_item(item, dishes[item.slug]) for item in items if item.slug in dishes],
        }
        for category, items in selectors.menu()
    ]
    return JsonResponse({"currency": conf.currency(), "categories": categories})


@require_safe
def hours(_request: HttpRequest) -> JsonResponse:
    """{"open", "why", "ready_in", "slots": [{"pickup", "left"}], "sources"}: whether an order is taken at once, in how
    many minutes it would be ready, what other times can be chosen, and what can be paid with online."""
    shop = pickup.hours()
    return JsonResponse(
        {
            "open": shop.is_open,
            "why": shop.closed_because,
            "ready_in": estimate.for_new_order(shop.state, now=shop.now).minutes if shop.is_open else None,
            "slots": [{"pickup": slot.starts_at.isoformat(), "left": slot.left} for slot in pickup.offered(shop)],
            "sources": [{"source": source.token, "label": source.label} for source in payments.sources()],
        }
    )


@csrf_exempt
@require_POST
@sensitive_variables()
def place(request: HttpRequest) -> JsonResponse:
    """Place {"name", "note"?, "lines": [{"item": slug, "quantity": n, "choices"?: {group: [option]}}],
    "expected_total"?, ...} under Idempotency-Key. A part of a combo is a group; required groups that are left out take
    what is preselected.

    And how: "email"?, "pickup"? (a time of `hours`), "promo"?, "tip"? (minor units), "payment"? ({"method":
    "counter"}, or "online" with a "source"). `expected_total` is what the lines cost, before discount and tip,
    and "expected_charge"? what all of it costs: an order that would cost anything else is not placed.

    Whoever has the key and says the same is answered as the one who ordered, for nobody has to say who they are: take a
    key that nobody guesses, such as a UUID. Who names keys of others too often is not listened to for a minute.

    201 with the receipt; 202 while its payment has no answer yet (ask again with the same key); 402 where the payment
    was declined, and nothing was charged; 200 with the same receipt for the same key and order; 409 where the key
    placed another order; 422 with the problems; 400, 413 and 415 for a request that cannot be read; 429 after too many
    of 409.
    """
    try:
        key = _key(request)
        body = _body(request)
        wish, terms = _wish(body), _terms(body)
        codes.ask(request, terms.promo)
        order, created = orders.place(key=key, wish=wish, terms=terms, actor="api")
    except BadRequestError as error:
        return _error(error.status, error.code, str(error))
    except orders.KeyReusedError as error:
        guessing.failed(client_address(request), _KEYS)
        return _error(409, "key_reused", str(error))
    except orders.CannotPlaceError as error:
        codes.tried(request, error.problems)
        return JsonResponse({"problems": [problem.as_dict() for problem in error.problems]}, status=422)
    except orders.NotPaidError as error:
        return _error(402, "not_paid", str(error))
    status = 202 if order.status == Status.UNPAID else 201 if created else 200
    response = JsonResponse(_receipt(order), status=status)
    response["Location"] = _address(order)
    return response


@require_safe
def order(_request: HttpRequest, token: str) -> JsonResponse:
    """The receipt, with "status", "status_since" and "history"."""
    found = selectors.order_by_token(token)
    if found is None:
        return _error(404, "no_such_order", _("No order has this token."))
    history = [
        {"kind": event.kind, "status": event.to_status, "at": event.at.isoformat()} for event in found.events.all()
    ]
    expected = estimate.for_order(found)
    now = {
        "status": found.status,
        "status_since": found.status_since.isoformat(),
        "ready_at": expected.ready_at.isoformat() if expected else None,
        "history": history,
    }
    return JsonResponse(_receipt(found) | now)


def _item(item: MenuItem, dish: Dish) -> dict[str, Any]:
    return {
        "slug": item.slug,
        "name": item.title,
        "description": item.about,
        "price": item.price,
        "allergens": [code for code in food.ALLERGENS if code in dish.held],
        "diets": item.diets,
        "in_stock": dish.in_stock,
        "stock": item.stock,
        "groups": [_group(group) for group in dish.groups],
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "slug": group.slug,
        "name": group.name,
        "part": group.part,
        "minimum": group.minimum,
        "maximum": group.maximum,
        "choices": [
            {
                "slug": choice.slug,
                "name": choice.name,
                "price": choice.price,
                "allergens": list(choice.allergens),
                "preselected": choice.preselected,
                "in_stock": choice.in_stock,
                "stock": choice.counted.left if choice.counted else None,
            }
            for choice in group.choices
        ],
    }


def _receipt(order: Order) -> dict[str, Any]:
    """What never changes about an order."""
    return {
        "token": order.token,
        "number": order.number,
        "day": order.day.isoformat(),
        "name": order.name,
        "note": order.note,
        "currency": order.currency,
        "total": order.total,
        "discount": order.discount,
        "tip": order.tip,
        "tax": order.tax,
        "promo": order.promo_code,
        "pickup": order.pickup_at.isoformat() if order.pickup_at else None,
        "payment": order.payment_method,
        "placed_at": order.placed_at.isoformat(),
        "lines": [
            {
                "item": line.slug,
                "name": line.title,
                "price": line.price,
                "quantity": line.quantity,
                "choices": line.choices,
            }
            for line in order.lines.all()
        ],
        "url": order.get_absolute_url(),
    }


def _address(order: Order) -> str:
    return reverse("ordering:api-order", args=[order.token])


def _error(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message}}, status=status)


def _key(request: HttpRequest) -> str:
    if guessing.is_held(client_address(request), _KEYS):
        raise BadRequestError(429, "key_tries", _("Too many tries. Wait a minute, then try again."))
    key = request.headers.get("Idempotency-Key", "")
    if not is_key(key):
        message = _(
            "Expected a header Idempotency-Key with %(least)d to %(most)d visible ASCII characters, "
            "new for each order; found %(found)d characters. A UUID will do."
        )
        raise BadRequestError(400, "idempotency_key", message % {"least": MIN_KEY, "most": MAX_KEY, "found": len(key)})
    return key


def _body(request: HttpRequest) -> dict[str, Any]:
    if request.content_type != "application/json":
        message = _("Expected the content type application/json, found %(found)s.")
        raise BadRequestError(415, "content_type", message % {"found": request.content_type or _("none")})
    length = request.headers.get("Content-Length", "")
    if (length.isdigit() and int(length) > MAX_BODY) or len(request.body) > MAX_BODY:
        raise BadRequestError(413, "too_large", _("The order has more than %(limit)d bytes.") % {"limit": MAX_BODY})
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise BadRequestError(400, "json", _("The body is not JSON.")) from None
    if not isinstance(body, dict):
        raise BadRequestError(400, "json", _("Expected a JSON object with name and lines."))
    if unknown := sorted(set(body) - FIELDS):
        message = _("Unknown: %(unknown)s. Expected some of %(known)s.")
        values = {"unknown": ", ".join(unknown)[:200], "known": ", ".join(sorted(FIELDS))}
        raise BadRequestError(400, "unknown_field", message % values)
    return body


def _wish(body: dict[str, Any]) -> Wish:
    name, note, total = body.get("name", ""), body.get("note", ""), _amount(body, "expected_total")
    if not isinstance(name, str) or not isinstance(note, str):
        raise BadRequestError(400, "text", _("Expected name and note as text."))
    return Wish(_lines(body.get("lines")), clean_text(name), clean_text(note, lines=True), total)


def _amount(body: dict[str, Any], field: str) -> int | None:
    amount = body.get(field)
    if amount is not None and (type(amount) is not int or not 0 <= amount < 10**12):
        raise BadRequestError(400, field, _("Expected %(field)s as a number of minor units.") % {"field": field})
    return amount


def _terms(body: dict[str, Any]) -> Terms:
    email, promo, tip = body.get("email", ""), body.get("promo", ""), body.get("tip", 0)
    payment = body.get("payment", {"method": "counter"})
    if not isinstance(email, str) or not isinstance(promo, str):
        raise BadRequestError(400, "text", _("Expected email and promo as text."))
    if type(tip) is not int or not 0 <= tip < 10**12:
        raise BadRequestError(400, "tip", _("Expected tip as a number of minor units."))
    if not isinstance(payment, dict) or not all(isinstance(text, str) for text in payment.values()):
        message = _('Expected payment as {"method": "counter"}, or {"method": "online", "source": "..."}.')
        raise BadRequestError(400, "payment", message)
    return Terms(
        email=clean_text(email)[: MAX_EMAIL + 1],
        pickup=_pickup(body.get("pickup")),
        promo=promos.clean(clean_text(promo)),
        tip=tip,
        payment=payment.get("method", ""),
        source=payment.get("source", "")[:100],
        language=get_language() or "",
        expected_charge=_amount(body, "expected_charge"),
    )


def _pickup(text: Any) -> dt.datetime | None:
    if text is None:
        return None
    moment = moment_of(text) if isinstance(text, str) else None
    if moment is None:
        raise BadRequestError(400, "pickup", _("Expected pickup as a time with its zone, or null."))
    return moment


def _lines(rows: Any) -> tuple[Line, ...]:
    if not isinstance(rows, list) or len(rows) > 10 * MAX_LINES:
        raise BadRequestError(400, "lines", _('Expected lines as a list of {"item": "...", "quantity": 1}.'))
    lines = pricing.merged(_line(row) for row in rows)
    return tuple(replace(line, quantity=max(-1000, min(line.quantity, 1000))) for line in lines)


def _line(row: Any) -> Line:
    """One of {"item", "quantity"?, "choices"?: {group or part: [option or item, ...]}}."""
    if not isinstance(row, dict):
        raise BadRequestError(400, "lines", _('Expected each line as {"item": "...", "quantity": 1}.'))
    item, quantity, choices = row.get("item"), row.get("quantity", 1), row.get("choices", {})
    if not isinstance(item, str) or not is_slug(item) or type(quantity) is not int:
        raise BadRequestError(400, "lines", _('Expected each line as {"item": "...", "quantity": 1}.'))
    message = _('Expected the choices of %(item)s as {"group": ["option", ...]}.') % {"item": item}
    if not isinstance(choices, dict) or not all(isinstance(slugs, list) for slugs in choices.values()):
        raise BadRequestError(400, "choices", message)
    pairs = [(group, slug) for group, slugs in choices.items() for slug in slugs]
    if len(pairs) > MAX_CHOICES or not all(isinstance(s, str) and is_slug(s) for pair in pairs for s in pair):
        raise BadRequestError(400, "choices", message)
    return Line(item, max(-1000, min(quantity, 1000)), tuple(pairs))
