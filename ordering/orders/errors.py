"""What can keep an order from being placed or moved."""

from __future__ import annotations

from django.utils.translation import gettext as _

from ordering.models import Order
from ordering.wishes import Problem


class CannotPlaceError(Exception):
    """The order was not placed and nothing was written. `problems` says everything that stands in the way."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = problems


class KeyReusedError(Exception):
    """The idempotency key belongs to `order` already, which asked for something else."""

    def __init__(self, order: Order) -> None:
        super().__init__(
            _("This key already placed order %(number)d with other contents. Use a new key for a new order.")
            % {"number": order.number}
        )
        self.order = order


class NotPaidError(Exception):
    """The order was placed, its payment failed, and so it is canceled: nothing was taken. The message says why."""

    def __init__(self, order: Order, reason: str) -> None:
        super().__init__(_("%(reason)s Nothing was charged. Try again, or pay another way.") % {"reason": reason})
        self.order = order


class NotPossibleError(Exception):
    """The order is not in a state in which this can be done. The message says which and what to do."""
