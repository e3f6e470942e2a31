"""An order once more: what it held, as far as it can be had today."""

from __future__ import annotations

from ordering import pricing, selectors
from ordering.cart import Cart
from ordering.models import Order, OrderLine
from ordering.pricing import Line
from ordering.wishes import MAX_QUANTITY, problems_of_lines


def line_of(sold: OrderLine) -> Line:
    """The line that was bought, by the names of its choices."""
    pairs = tuple((choice["group"], choice["choice"]) for choice in sold.choices)
    return Line(sold.slug, sold.quantity, pairs)


def put(order: Order, cart: Cart) -> list[OrderLine]:
    """Put an order's lines into a cart, on top of what is there. Returns those that cannot be had as they were."""
    wanted = [(sold, line_of(sold)) for sold in order.lines.all()]
    dishes = selectors.dishes(line.slug for _sold, line in wanted)
    missing = []
    for sold, line in wanted:
        quantity = min(MAX_QUANTITY, cart.holds(line) + line.quantity)
        whole = pricing.Line(line.slug, quantity, line.choices)
        if problems_of_lines([whole], dishes) or not cart.set(whole, quantity):
            missing.append(sold)
    return missing
