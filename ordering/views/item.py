"""One dish with everything that can be chosen about it. The form is plain; a script only keeps its price current."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from ordering import cart as carts
from ordering import conf, food, money, pricing, selectors
from ordering.cart import Cart
from ordering.models import MenuItem
from ordering.pricing import Choice, Dish, Group, Line, Pair, parse_key
from ordering.render import render_shop
from ordering.views.cart import add
from ordering.views.shown import cart_context, settle
from ordering.wishes import MAX_CHOICES, MAX_QUANTITY, is_slug, message_of

_PICK = "pick-"


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """A group as the form shows it: its choices with whether each is taken."""

    group: Group
    choices: tuple[tuple[Choice, bool], ...]


@require_http_methods(["GET", "POST"])
def item(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the dish, or put it into the cart as chosen. `edit` names a line of the cart that it shall replace."""
    found = MenuItem.objects.filter(slug=slug).select_related("category").first()
    dish = selectors.dishes([slug]).get(slug) if found else None
    if found is None or dish is None:
        return _no_such_item(request)
    basket = carts.load(request)
    settle(basket)
    if request.method == "POST":
        return _put(request, basket, found, dish)
    old = _line_in(basket, dish, request.GET.get("edit", ""))
    line = old or Line(slug, 1, dish.preset)
    return _page(request, basket, found, dish, line, old, [])


def _put(request: HttpRequest, basket: Cart, found: MenuItem, dish: Dish) -> HttpResponse:
    edited = request.POST.get("edit", "")
    old = _line_in(basket, dish, edited)
    number = request.POST.get("quantity", "1")
    quantity = int(number) if re.fullmatch("[0-9]{1,4}", number) else 0
    line = Line(dish.slug, quantity, _picked(request, dish))
    problems = [message_of(fault, dish) for fault in pricing.faults(dish, line.choices)]
    if not 1 <= quantity <= MAX_QUANTITY:
        problems.append(_("Choose a quantity from 1 to %(limit)d.") % {"limit": MAX_QUANTITY})
    if not problems:
        before = dict(basket.quantities)
        if old:
            basket.set(old, 0)
        elif edited:  # saved once more, by the way back: the line that came of it is replaced, not added to
            basket.set(line, 0)
        if problem := add(basket, dish, line, quantity):
            basket.quantities = before
            problems.append(problem)
    if problems:
        return _page(request, basket, found, dish, line, old, problems)
    response = HttpResponseRedirect(reverse("ordering:cart") if edited else f"{reverse('ordering:menu')}#{dish.slug}")
    carts.save(response, basket, request=request)
    return response


def _picked(request: HttpRequest, dish: Dish) -> tuple[Pair, ...]:
    """The posted choices; a part of a combo that has only one is taken without asking."""
    picked = [
        (name.removeprefix(_PICK), choice)
        for name, choices in request.POST.lists()
        if name.startswith(_PICK)
        for choice in map(str, choices)
    ]
    silent = [pair for pair in dish.preset if dish.known[pair][0].fixed]
    return tuple(pair for pair in [*picked, *silent][:MAX_CHOICES] if all(map(is_slug, pair)))


def _line_in(basket: Cart, dish: Dish, key: str) -> Line | None:
    """The line of the cart with this key, if it is one of this dish."""
    if key not in basket.quantities:
        return None
    line = parse_key(key, basket.quantities[key])
    return line if line.slug == dish.slug else None


def _page(
    request: HttpRequest, basket: Cart, found: MenuItem, dish: Dish, line: Line, old: Line | None, problems: list[str]
) -> HttpResponse:
    taken = set(line.choices)
    groups = [
        ShownGroup(group, tuple((choice, (group.slug, choice.slug) in taken) for choice in group.choices))
        for group in dish.groups
        if not group.fixed
    ]
    context: dict[str, Any] = {
        **cart_context(basket),
        "item": found,
        "dish": dish,
        "groups": groups,
        "fixed": [
            choice for group in dish.groups if group.part and len(group.choices) == 1 for choice in group.choices
        ],
        "allergens": [code for code in food.ALLERGENS if code in dish.held],
        "quantity": line.quantity or 1,
        "max_quantity": MAX_QUANTITY,
        "unit": pricing.unit_price(dish, line),
        "total": pricing.unit_price(dish, line) * (line.quantity or 1),
        "digits": money.digits(conf.currency()),
        "edit": old.key if old else "",
        "problems": problems,
    }
    return render_shop(request, "ordering/item.html", context, status=422 if problems else 200)


def _no_such_item(request: HttpRequest) -> HttpResponse:
    context = {
        "title": _("Not on the menu"),
        "text": _("We do not have this any more, or never had it. There is a lot more on the menu."),
    }
    return render_shop(request, "ordering/message.html", context, status=404)
