"""The shop's tables: the catalogue, the orders, and what orders need: hours, promo codes, payments, mails."""

from ordering.models.catalogue import Category, ComboChoice, ComboPart, MenuItem, Option, OptionGroup, Station
from ordering.models.hours import OpeningHours, PickupSlot, ShopState, SpecialDay, Weekday
from ordering.models.orders import DayCounter, Order, OrderEvent, OrderLine, PaymentMethod, Status, new_token
from ordering.models.outbox import OutboxMail
from ordering.models.payment import Payment, SandboxEntry
from ordering.models.promo import PromoCode

__all__ = [
    "Category",
    "ComboChoice",
    "ComboPart",
    "DayCounter",
    "MenuItem",
    "OpeningHours",
    "Option",
    "OptionGroup",
    "Order",
    "OrderEvent",
    "OrderLine",
    "OutboxMail",
    "Payment",
    "PaymentMethod",
    "PickupSlot",
    "PromoCode",
    "SandboxEntry",
    "ShopState",
    "SpecialDay",
    "Station",
    "Status",
    "Weekday",
    "new_token",
]
