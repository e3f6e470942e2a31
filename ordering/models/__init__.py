"""The shop's tables: the catalogue, and the orders."""

from ordering.models.catalogue import Category, MenuItem
from ordering.models.orders import DayCounter, Order, OrderEvent, OrderLine, Status, new_token

__all__ = [
    "Category",
    "DayCounter",
    "MenuItem",
    "Order",
    "OrderEvent",
    "OrderLine",
    "Status",
    "new_token",
]
