"""The cart as every page shows it: its lines, what they cost, and what stands in their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ordering import pricing, selectors
from ordering.cart import Cart
from ordering.pricing import Dish, Line
from ordering.wishes import MAX_QUANTITY, Problem, completed, problems_of_lines, total_of


@dataclass(frozen=True, slots=True)
class CartLine:
    """A line as pages show it."""

    line: Line
    dish: Dish
    problems: tuple[Problem, ...]

    @property
    def key(self) -> str:
        return self.line.key

    @property
    def quantity(self) -> int:
        return self.line.quantity

    @property
    def description(self) -> str:
        return pricing.describe(self.dish, self.line)

    @property
    def choosable(self) -> bool:
        """Whether anything about it can be chosen otherwise."""
        return any(not group.fixed for group in self.dish.groups)

    @property
    def total(self) -> int:
        return pricing.unit_price(self.dish, self.line) * self.line.quantity

    @property
    def fewer(self) -> int:
        return self.line.quantity - 1

    @property
    def more(self) -> int:
        return self.line.quantity + 1

    @property
    def full(self) -> bool:
        left = [row.left for row in pricing.takes(self.dish, self.line)]
        return self.quantity >= min([MAX_QUANTITY, *left])


def settle(cart: Cart, dishes: Mapping[str, Dish] | None = None) -> tuple[Mapping[str, Dish], int]:
    """Bring the cart up to today's menu; returns its dishes and how many lines were lost. No query for an empty cart,
    nor where the dishes are handed in.

    What has left the menu altogether is dropped: nobody could name it any more. Lines that say nothing about what has
    to be chosen by now take what is preselected.
    """
    if dishes is None:
        dishes = selectors.dishes(line.slug for line in cart.lines) if cart.quantities else {}
    known = [line for line in cart.lines if line.slug in dishes]
    lost = len(cart.lines) - len(known)
    cart.quantities = {line.key: line.quantity for line in completed(known, dishes)}
    return dishes, lost


def cart_context(cart: Cart, known: Mapping[str, Dish] | None = None) -> dict[str, Any]:
    """What every template needs that shows the cart. `known` are dishes that were read a moment ago."""
    dishes, lost = settle(cart, known)
    problems = problems_of_lines(cart.lines, dishes) if cart.quantities else []
    lines = [
        CartLine(line, dishes[line.slug], tuple(problem for problem in problems if problem.line == line.key))
        for line in cart.lines
    ]
    return {
        "cart": cart,
        "cart_lines": lines,
        "cart_total": total_of(cart.lines, dishes),
        "cart_problems": problems,
        "cart_lost": lost,
    }
