"""What the kitchen sees: every open order by status, or what one station has to make. The number of queries never grows
with the number of stored orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, prefetch_related_objects
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from ordering import language, pickup, selectors
from ordering.models import Order, OrderEvent, OrderLine, ShopState, Station, Status
from ordering.orders import stations_of
from ordering.pricing import Dish

# A board is for the eye: more cards in one column than this help nobody.
MAX_CARDS = 60
MAX_LOOKED_AT = 600  # among so many orders a station finds its own
# How long a finished order stays on the board, where it can be undone.
DONE_FOR = dt.timedelta(minutes=15)
MAX_DONE = 8
MAX_LATER = 12
LATE_AFTER = dt.timedelta(minutes=10)
SOON_AFTER = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class TicketLine:
    """Names are in the language in which the kitchen reads the board, whatever the customer spoke. `details` are the
    choices, of a station only its own parts of a combo; `made` is about the same."""

    quantity: int
    name: str
    details: list[str]
    made: bool


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order on the board. `urgency` is fresh, soon or late; `waits_for` names the stations that have not made their
    part; `made_here` whether the board's own station has."""

    order: Order
    lines: list[TicketLine]
    minutes: int
    urgency: str
    waits_for: list[str]
    made_here: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the kitchen's board. `more` is how many orders do not fit on it."""

    status: str
    label: str
    tickets: list[Ticket]
    more: int = 0

    @property
    def count(self) -> int:
        return len(self.tickets) + self.more


@dataclass(frozen=True, slots=True)
class Board:
    """`station` "" is the whole kitchen. `later` are orders whose time to begin has not come, the next one first."""

    station: str
    columns: list[Column]
    done: list[Order]
    later: list[Order]
    state: ShopState
    paused: bool


def board(station: str = "", *, now: dt.datetime | None = None) -> Board:
    """The board of a station, or of the whole kitchen; oldest first. Seven queries at most in the shop's own
    language, six more in another."""
    now, state = now or timezone.now(), pickup.state()
    begin = now + dt.timedelta(minutes=state.lead_minutes)
    received = Order.objects.filter(Q(pickup_at=None) | Q(pickup_at__lte=begin), status=Status.RECEIVED)
    waiting = {
        Status.RECEIVED: received,
        Status.PREPARING: Order.objects.filter(status=Status.PREPARING),
        Status.READY: Order.objects.filter(status=Status.READY),
    }
    most = MAX_LOOKED_AT if station else MAX_CARDS
    found = {status: list(orders.order_by("placed_at")[: most + 1]) for status, orders in waiting.items()}
    everything = [order for orders in found.values() for order in orders]
    prefetch_related_objects(everything, "lines")
    dishes = dishes_of(line for order in everything for line in order.lines.all())
    tickets = {
        status: [_ticket(order, station, state, now, dishes) for order in orders[:most]]
        for status, orders in found.items()
    }
    more = {status: waiting[status].count() - most if len(orders) > most else 0 for status, orders in found.items()}
    return Board(
        station=station,
        columns=_of_station(tickets, more) if station else _of_kitchen(tickets, more),
        done=[] if station else recently_done(now=now),
        later=list(_later(begin)[:MAX_LATER]),
        state=state,
        paused=state.is_paused(now),
    )


def recently_done(*, now: dt.datetime | None = None) -> list[Order]:
    """What was collected or canceled in the last minutes, newest first: it can still be undone. What was never paid the
    kitchen never saw, and nobody can take it up again."""
    since = (now or timezone.now()) - DONE_FOR
    done = Order.objects.filter(status__in=[Status.COLLECTED, Status.CANCELED], status_since__gte=since)
    never_paid = OrderEvent.objects.filter(
        order=OuterRef("pk"), kind=OrderEvent.Kind.CANCELED, from_status=Status.UNPAID
    )
    return list(done.filter(~Exists(never_paid)).order_by("-status_since")[:MAX_DONE])


def dishes_of(lines: Iterable[OrderLine]) -> Mapping[str, Dish]:
    """What the lines are of, in the reader's language; nothing where that is the shop's own, as lines are."""
    if (get_language() or "").partition("-")[0] == language.own():
        return {}
    return selectors.dishes({line.slug for line in lines})


def name_of(line: OrderLine, dishes: Mapping[str, Dish]) -> str:
    """The line's name for the kitchen: the menu's, unless the dish is called otherwise since it was ordered."""
    dish = dishes.get(line.slug)
    return dish.name if dish and dish.own == line.name else line.name


def age_of(order: Order, *, lead_minutes: int = 0, now: dt.datetime | None = None) -> tuple[int, str]:
    """Whole minutes since the kitchen should have known of the order, and "fresh", "soon" or "late"."""
    since = order.placed_at
    if order.pickup_at:
        since = max(since, order.pickup_at - dt.timedelta(minutes=lead_minutes))
    age = max((now or timezone.now()) - since, dt.timedelta())
    urgency = "late" if age >= LATE_AFTER else "soon" if age >= SOON_AFTER else "fresh"
    return int(age.total_seconds() // 60), urgency


def _later(begin: dt.datetime) -> QuerySet[Order]:
    return Order.objects.filter(status=Status.RECEIVED, pickup_at__gt=begin).order_by("pickup_at")


def _of_kitchen(tickets: dict[Status, list[Ticket]], more: dict[Status, int]) -> list[Column]:
    return [Column(status, str(status.label), tickets[status], more[status]) for status in tickets]


def _of_station(tickets: dict[Status, list[Ticket]], more: dict[Status, int]) -> list[Column]:
    """What the station has to make, and what it has just made and may take back."""
    mine = {status: [ticket for ticket in found if ticket.lines] for status, found in tickets.items()}
    to_make = [
        ticket for status in (Status.RECEIVED, Status.PREPARING) for ticket in mine[status] if not ticket.made_here
    ]
    made = [ticket for status in (Status.PREPARING, Status.READY) for ticket in mine[status] if ticket.made_here]
    to_make.sort(key=lambda ticket: ticket.order.placed_at)
    made.sort(key=lambda ticket: ticket.order.status_since, reverse=True)
    unseen = max(0, len(to_make) - MAX_CARDS) + more[Status.RECEIVED] + more[Status.PREPARING]
    return [
        Column("to-make", _("To make"), to_make[:MAX_CARDS], unseen),
        Column("made", _("Made"), made[:MAX_DONE]),
    ]


def _ticket(order: Order, station: str, state: ShopState, now: dt.datetime, dishes: Mapping[str, Dish]) -> Ticket:
    lines = list(order.lines.all())
    minutes, urgency = age_of(order, lead_minutes=state.lead_minutes, now=now)
    labels = dict(Station.choices)
    waits_for = {one: labels.get(one, one) for line in lines for one in _missing(line)}
    mine = [line for line in lines if not station or station in stations_of(line)]
    shown = [_shown(line, station, dishes) for line in mine]
    made_here = bool(station) and bool(shown) and all(line.made for line in shown)
    return Ticket(order, shown, minutes, urgency, [str(label) for label in waits_for.values()], made_here)


def _missing(line: OrderLine) -> list[str]:
    return [] if line.made_at else [station for station in stations_of(line) if station not in line.made]


def _shown(line: OrderLine, station: str, dishes: Mapping[str, Dish]) -> TicketLine:
    dish = dishes.get(line.slug)
    details = [
        _choice(choice, dish)
        for choice in line.choices
        if not station or not choice.get("part") or (choice.get("station") or line.station) == station
    ]
    made = line.made_at is not None or (bool(station) and station in line.made)
    return TicketLine(line.quantity, name_of(line, dishes), details, made)


def _choice(sold: Mapping[str, Any], dish: Dish | None) -> str:
    known = dish.known.get((sold["group"], sold["choice"])) if dish else None
    name = str(sold["name"])
    return known[1].name if known and known[1].own == name else name
