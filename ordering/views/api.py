"""The JSON API for scripts: read the menu, place an order once, follow it. It uses no cookie and so needs no
CSRF token.

An error is {"error": {"code", "message"}}; what keeps an order from being placed is {"problems": [{"code",
"message", "item"?, "available"?}]} with status 422.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from ordering import conf, orders, pricing, selectors
from ordering.models import MenuItem, Order
from ordering.pricing import Dish, Group, Line
from ordering.wishes import MAX_CHOICES, MAX_KEY, MAX_LINES, MIN_KEY, Wish, clean_text, is_key, is_slug

MAX_BODY = 16 * 1024


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


@csrf_exempt
@require_POST
@sensitive_variables()
def place(request: HttpRequest) -> JsonResponse:
    """Place {"name", "note"?, "lines": [{"item": slug, "quantity": n, "choices"?: {group: [option]}}],
    "expected_total"?} under Idempotency-Key. A part of a combo is a group; required groups that are left out take what
    is preselected.

    201 with the receipt; 200 with the same receipt for the same key and order; 409 where the key placed
    another order; 422 with the problems; 400, 413 and 415 for a request that cannot be read.
    """
    try:
        key = _key(request)
        wish = _wish(_body(request))
        order, created = orders.place(key=key, wish=wish, actor="api")
    except BadRequestError as error:
        return _error(error.status, error.code, str(error))
    except orders.KeyReusedError as error:
        return _error(409, "key_reused", str(error))
    except orders.CannotPlaceError as error:
        return JsonResponse({"problems": [problem.as_dict() for problem in error.problems]}, status=422)
    response = JsonResponse(_receipt(order), status=201 if created else 200)
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
    now = {"status": found.status, "status_since": found.status_since.isoformat(), "history": history}
    return JsonResponse(_receipt(found) | now)


def _item(item: MenuItem, dish: Dish) -> dict[str, Any]:
    return {
        "slug": item.slug,
        "name": item.title,
        "description": item.about,
        "price": item.price,
        "allergens": item.allergens,
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
    if unknown := sorted(set(body) - {"name", "note", "lines", "expected_total"}):
        message = _("Unknown: %(unknown)s. Expected name, note, lines and expected_total.")
        raise BadRequestError(400, "unknown_field", message % {"unknown": ", ".join(unknown)[:200]})
    return body


def _wish(body: dict[str, Any]) -> Wish:
    name, note, total = body.get("name", ""), body.get("note", ""), body.get("expected_total")
    if not isinstance(name, str) or not isinstance(note, str):
        raise BadRequestError(400, "text", _("Expected name and note as text."))
    if total is not None and (type(total) is not int or not 0 <= total < 10**12):
        raise BadRequestError(400, "expected_total", _("Expected expected_total as a number of minor units."))
    return Wish(_lines(body.get("lines")), clean_text(name), clean_text(note, lines=True), total)


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
