"""The one door for every change of an order: page, API, kitchen and payments call these functions and nothing else
writes.

    unpaid -> received -> preparing -> ready -> collected
       any of the first four -> canceled
       each step after the payment can be undone once at a time, a cancellation too

Each function is one transaction and leaves one `OrderEvent`; `place` asks for the payment after its own.
"""

from ordering.orders.errors import CannotPlaceError, KeyReusedError, NotPaidError, NotPossibleError
from ordering.orders.moving import CANCELABLE, NEXT, advance, cancel, settled, undo
from ordering.orders.placing import place, placed_with
from ordering.orders.stations import make, stations_of, unmake

__all__ = [
    "CANCELABLE",
    "NEXT",
    "CannotPlaceError",
    "KeyReusedError",
    "NotPaidError",
    "NotPossibleError",
    "advance",
    "cancel",
    "make",
    "place",
    "placed_with",
    "settled",
    "stations_of",
    "undo",
    "unmake",
]
