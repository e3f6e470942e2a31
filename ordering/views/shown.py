"""The cart as every page shows it: its lines, what they cost, and what stands in their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ordering import pricing, selectors
from ordering.cart import Cart
from ordering.pricing import Dish, Line
from ordering.wishes import MAX_QUANTITY, Problem, problems_of_lines, total_of


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


def cart_context(cart: Cart) -> dict[str, Any]:
    """What every template needs that shows the cart. No query for an empty cart.

    What has left the menu altogether is dropped from the cart here: nobody could name it any more.
    """
    dishes = selectors.dishes(line.slug for line in cart.lines) if cart.quantities else {}
    gone = [line for line in cart.lines if line.slug not in dishes]
    for line in gone:
        cart.set(line, 0)
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
        "cart_lost": len(gone),
    }
