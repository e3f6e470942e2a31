"""The kitchen's board: every open order by status, or what one station has to make, and the buttons that move it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import conditional_page, require_http_methods, require_safe

from ordering import board as boards
from ordering import orders, pickup
from ordering.access import actor_of, kitchen_only
from ordering.methods import post_only
from ordering.models import Order, Station
from ordering.render import render_shop
from ordering.wishes import clean_text

# Minutes; 0 ends a pause.
PAUSES = ("0", "15", "30", "60", "120")


@require_safe
@kitchen_only
def board(request: HttpRequest) -> HttpResponse:
    return render_shop(request, "ordering/kitchen.html", _board(request))


@require_safe
@conditional_page
@kitchen_only
def board_fragment(request: HttpRequest) -> HttpResponse:
    """The board alone, for its script; 304 while it looks the same."""
    return render_shop(request, "ordering/_board.html", _board(request))


@post_only
@kitchen_only
def advance(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, orders.advance)


@post_only
@kitchen_only
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, orders.undo)


@post_only
@kitchen_only
def make(request: HttpRequest, pk: int) -> HttpResponse:
    """The posted station has made its part."""
    return _act(request, pk, _at_station(request, orders.make))


@post_only
@kitchen_only
def unmake(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, _at_station(request, orders.unmake))


@post_only
@kitchen_only
def pause(request: HttpRequest) -> HttpResponse:
    """Take no orders for the posted minutes; 0 takes them again."""
    minutes = request.POST.get("minutes", "")
    if minutes in PAUSES:
        pickup.pause(minutes=int(minutes), reason=clean_text(request.POST.get("reason", ""))[:120])
    return HttpResponseRedirect(_home(request))


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
    lines = list(order.lines.all())
    dishes = boards.dishes_of(lines)
    named = [(boards.name_of(line, dishes), line) for line in lines]
    context = {"order": order, "lines": named, "problem": problem}
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
        return render_shop(request, "ordering/_board.html", {**_board(request), "problem": problem}, status=status)
    if problem:
        return render_shop(request, "ordering/kitchen.html", {**_board(request), "problem": problem}, status=status)
    return HttpResponseRedirect(_home(request))


def _at_station(request: HttpRequest, change: Callable[..., Order]) -> Callable[..., Order]:
    """What a station does needs no expectation: making twice what is made changes nothing."""
    station = _station(request)
    if not station:
        raise Http404(_("No station of the kitchen is called that."))

    def changed(*, order: Order, actor: str, **_expectation: str) -> Order:
        return change(order=order, station=station, actor=actor)

    return changed


def _station(request: HttpRequest) -> str:
    """The station whose board is shown; "" for the whole kitchen."""
    asked = request.POST.get("station") or request.GET.get("station", "")
    return asked if asked in Station.values else ""


def _home(request: HttpRequest) -> str:
    station = _station(request)
    return reverse("ordering:kitchen") + (f"?station={station}" if station else "")


def _board(request: HttpRequest) -> dict[str, Any]:
    return {"board": boards.board(_station(request)), "stations": Station.choices, "pauses": PAUSES[1:]}


def _order(pk: int) -> Order:
    order = Order.objects.filter(pk=pk).first()
    if order is None:
        raise Http404(_("No order has this number in the kitchen."))
    return order
