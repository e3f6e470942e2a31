"""What customers see after the checkout: their order. Nothing here needs JavaScript."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import condition, require_safe

from ordering import conf, selectors
from ordering.models import Order, Status
from ordering.render import render_shop

STEPS = (Status.RECEIVED, Status.PREPARING, Status.READY, Status.COLLECTED)


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
