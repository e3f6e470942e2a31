"""The kitchen's board: every open order by status, and the buttons that move it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import conditional_page, require_http_methods, require_POST, require_safe

from ordering import orders, selectors
from ordering.access import actor_of, kitchen_only
from ordering.models import Order
from ordering.render import render_shop
from ordering.wishes import clean_text


@require_safe
@kitchen_only
def board(request: HttpRequest) -> HttpResponse:
    return render_shop(request, "ordering/kitchen.html", _board())


@require_safe
@conditional_page
@kitchen_only
def board_fragment(request: HttpRequest) -> HttpResponse:
    """The board alone, for its script; 304 while it looks the same."""
    return render_shop(request, "ordering/_board.html", _board())


@require_POST
@kitchen_only
def advance(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, orders.advance)


@require_POST
@kitchen_only
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, orders.undo)


@require_http_methods(["GET", "POST"])
@kitchen_only
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for the reason, then cancel."""
    order = _order(pk)
    problem = ""
    if request.method == "POST":
        reason = clean_text(request.POST.get("reason", ""))[:200]
        try:
            orders.cancel(order=order, expect=request.POST.get("expect", ""), actor=actor_of(request), reason=reason)
            return HttpResponseRedirect(reverse("ordering:kitchen"))
        except orders.NotPossibleError as error:
            problem = str(error)
    context = {"order": order, "lines": order.lines.all(), "problem": problem}
    return render_shop(request, "ordering/kitchen_cancel.html", context, status=409 if problem else 200)


def _act(request: HttpRequest, pk: int, change: Callable[..., Order]) -> HttpResponse:
    """Change the order and go back to the board, which says what was not possible."""
    problem = ""
    try:
        change(order=_order(pk), expect=request.POST.get("expect", ""), actor=actor_of(request))
    except orders.NotPossibleError as error:
        problem = str(error)
    status = 409 if problem else 200
    if request.headers.get("X-Fragment"):
        return render_shop(request, "ordering/_board.html", {**_board(), "problem": problem}, status=status)
    if problem:
        return render_shop(request, "ordering/kitchen.html", {**_board(), "problem": problem}, status=status)
    return HttpResponseRedirect(reverse("ordering:kitchen"))


def _board() -> dict[str, Any]:
    return {"columns": selectors.board(), "done": selectors.recently_done()}


def _order(pk: int) -> Order:
    order = Order.objects.filter(pk=pk).first()
    if order is None:
        raise Http404(_("No order has this number in the kitchen."))
    return order
