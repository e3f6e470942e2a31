"""The page of one order, for whoever has its address: it follows along, shows the receipt, cancels and repeats. Nothing
here needs JavaScript."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import condition, require_safe

from ordering import cart as carts
from ordering import conf, estimate, orders, outbox, reorder, selectors
from ordering.methods import post_only
from ordering.models import Order, Status
from ordering.render import render_shop
from ordering.wishes import clean_text

STEPS = (Status.RECEIVED, Status.PREPARING, Status.READY, Status.COLLECTED)


@require_safe
def order(request: HttpRequest, token: str) -> HttpResponse:
    found = selectors.order_by_token(token)
    if found is None:
        return _no_such_order(request)
    return render_shop(request, "ordering/order.html", order_context(found))


def _tag(_request: HttpRequest, token: str) -> str | None:
    """What tells one state of an order from another: its revision, its refund, and when it will be ready."""
    found = Order.objects.filter(token=token).first()
    if found is None:
        return None
    expected = estimate.for_order(found)
    ready = expected.ready_at.isoformat() if expected else ""
    refunds = ""
    if found.status == Status.CANCELED:
        refunds = "+".join(found.payments.filter(kind="refund").values_list("state", flat=True))
    # Another release may draw the same revision differently.
    return f'"{found.revision}-{ready}-{refunds}-{conf.release()}"'


@require_safe
@condition(etag_func=_tag)
def order_status(request: HttpRequest, token: str) -> HttpResponse:
    """The part of the order's page that changes, for its script; 304 while nothing has."""
    found = selectors.order_by_token(token)
    if found is None:
        return _no_such_order(request)
    return render_shop(request, "ordering/_order_status.html", order_context(found))


@post_only
def cancel_order(request: HttpRequest, token: str) -> HttpResponse:
    """The customer takes the order back, as long as the kitchen has not begun."""
    found = selectors.order_by_token(token)
    if found is None:
        return _no_such_order(request)
    reason = clean_text(request.POST.get("reason", ""))[:150]
    try:
        orders.cancel(
            order=found,
            expect=Status.RECEIVED,
            actor="customer",
            reason=(_("You canceled it. %(reason)s") % {"reason": reason}).strip(),
        )
    except orders.NotPossibleError:
        context = order_context(Order.objects.get(pk=found.pk)) | {
            "problem": _("The kitchen has begun, so it cannot be canceled here any more. Ask at the counter.")
        }
        return render_shop(request, "ordering/order.html", context, status=409)
    return HttpResponseRedirect(found.get_absolute_url())


@post_only
def order_again(request: HttpRequest, token: str) -> HttpResponse:
    """Put what this order held into the cart, as far as it can be had today, and show the cart."""
    found = selectors.order_by_token(token)
    if found is None:
        return _no_such_order(request)
    basket = carts.load(request)
    missing = reorder.put(found, basket)
    response = HttpResponseRedirect(reverse("ordering:cart") + (f"?missing={len(missing)}" if missing else ""))
    carts.save(response, basket, request=request)
    return response


def order_context(found: Order) -> dict[str, Any]:
    """The order and its receipt, its steps as (status, label, when it was reached, "done", "now" or "next"), why it was
    canceled, and when it will be ready."""
    events = list(found.events.all())
    times = selectors.reached(events)
    position = STEPS.index(Status(found.status)) if found.status in STEPS else -1
    steps = [
        (step, step.label, times.get(step), "done" if at < position else "now" if at == position else "next")
        for at, step in enumerate(STEPS)
    ]
    canceled = next((event for event in reversed(events) if event.to_status == Status.CANCELED), None)
    return outbox.receipt_context(found) | {
        "steps": steps,
        "canceled": canceled if found.status == Status.CANCELED else None,
        "never_paid": canceled is not None and canceled.from_status == Status.UNPAID,
        "estimate": estimate.for_order(found),
        "may_cancel": found.status == Status.RECEIVED,
    }


def _no_such_order(request: HttpRequest) -> HttpResponse:
    context = {
        "title": _("No such order"),
        "text": _("This address names no order of ours. Check that the whole link was copied."),
    }
    return render_shop(request, "ordering/message.html", context, status=404)
