"""From the body of a report to observations. Pure: nothing that comes from outside gets further than through here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.performance.tokens import Claims, TokenError

# The vitals by their published names, in milliseconds save CLS, and the most of each that can be true.
VITALS: Mapping[str, float] = {"LCP": 600_000, "FCP": 600_000, "TTFB": 600_000, "INP": 600_000, "CLS": 1_000}
DEVICES = ("phone", "tablet", "desktop")
NAVIGATIONS = ("navigate", "reload", "back-forward", "back-forward-cache", "prerender", "restore")
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
# What a server says of beacons and reports that it could not pass on.
DROPPED_BY_SERVERS = ("no_room", "refused")
LONGEST_BEACON = 2048  # bytes
LONGEST_REPORT = 256 * 1024
MOST_ROUTES = 200
_ROUTE = re.compile(r"[A-Za-z0-9_.:/{}<>*-]{1,64}")
_RELEASE = re.compile(r"[\x21-\x7e]{1,120}")

Reader = Callable[[str], Claims]


class Dropped(Exception):
    """A report that says nothing which can be used; the message is one word, under which it is counted."""


@dataclass(frozen=True, slots=True)
class Observation:
    """`value` was seen `count` times; None where something is only counted."""

    environment: str
    release: str
    route: str
    device: str
    metric: str
    value: float | None = None
    count: int = 1


def beacon(body: bytes, read: Reader) -> list[Observation]:
    """What a browser saw of one view: {"t": token, "d": device class, "n": navigation type, "m": {vital: value}}.

    The token alone says of which environment, release and route. Raises Dropped.
    """
    if len(body) > LONGEST_BEACON:
        raise Dropped("too_large")
    data = _object(body)
    values, device, navigation = data.get("m"), data.get("d"), data.get("n")
    if set(data) != {"t", "d", "n", "m"} or not isinstance(values, Mapping):
        raise Dropped("malformed")
    if device not in DEVICES or navigation not in NAVIGATIONS or len(values) > len(VITALS):
        raise Dropped("malformed")
    claims = _claims(data["t"], read)
    if claims.route is None or claims.until is None:
        raise Dropped("not_for_pages")
    place = (claims.environment, claims.release, _route(claims.route), device)
    found = [Observation(*place, f"view.{navigation}")]
    found += [Observation(*place, name, _vital(name, value)) for name, value in values.items()]
    return found


def report(token: str, body: bytes, read: Reader) -> Iterator[Observation]:
    """What a server counted since its last report: {"routes": {route: {"statuses": {"2xx": n}, "ms": [[value, n]],
    "visits": n, "orders": n}}, "beacons": [text], "dropped": {reason: n}}; each part may be missing. Raises Dropped,
    also half way; `beacons` and `dropped` are read by `relayed`."""
    claims = sender(token, read)
    routes = _object(body).get("routes", {})
    if not isinstance(routes, Mapping) or len(routes) > MOST_ROUTES:
        raise Dropped("malformed")
    for name, seen in routes.items():
        if not isinstance(seen, Mapping):
            raise Dropped("malformed")
        yield from _of_route((claims.environment, claims.release, _route(name), ""), seen)


def sender(token: str, read: Reader) -> Claims:
    """Whose report it is. Raises Dropped."""
    claims = _claims(token, read)
    if claims.route is not None:
        raise Dropped("not_for_servers")
    return claims


def relayed(body: bytes) -> tuple[list[bytes], Mapping[str, int]]:
    """The beacons that a server passes on, and how many reports it had to drop, by reason. Raises Dropped."""
    data = _object(body)
    beacons, dropped = data.get("beacons", []), data.get("dropped", {})
    if not isinstance(beacons, list) or not all(isinstance(one, str) for one in beacons):
        raise Dropped("malformed")
    if not isinstance(dropped, Mapping) or not set(dropped) <= set(DROPPED_BY_SERVERS):
        raise Dropped("malformed")
    counts = {reason: _count(count, least=1) for reason, count in dropped.items()}
    # JSON can name half a character, which no bytes stand for.
    return [one.encode(errors="replace") for one in beacons], counts


def _of_route(place: tuple[str, str, str, str], seen: Mapping[str, Any]) -> Iterator[Observation]:
    statuses, times = seen.get("statuses", {}), seen.get("ms", [])
    if not isinstance(statuses, Mapping) or not set(statuses) <= set(STATUSES) or not isinstance(times, list):
        raise Dropped("malformed")
    for status, count in statuses.items():
        yield Observation(*place, f"status.{status}", count=_count(count, least=1))
    for pair in times:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Dropped("malformed")
        yield Observation(*place, "duration", _number(pair[0], VITALS["TTFB"]), _count(pair[1], least=1))
    for name, metric in (("visits", "sessions"), ("orders", "orders")):
        if count := _count(seen.get(name, 0)):
            yield Observation(*place, metric, count=count)


def _claims(token: object, read: Reader) -> Claims:
    if not isinstance(token, str):
        raise Dropped("malformed")
    try:
        claims = read(token)
    except TokenError as error:
        raise Dropped(str(error)) from None
    if not _RELEASE.fullmatch(claims.release):
        raise Dropped("no_release")
    return claims


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Dropped("malformed") from None
    if not isinstance(data, Mapping):
        raise Dropped("malformed")
    return data


def _route(name: str) -> str:
    if not _ROUTE.fullmatch(name):
        raise Dropped("malformed")
    return name


def _vital(name: str, value: object) -> float:
    if name not in VITALS:
        raise Dropped("malformed")
    return _number(value, VITALS[name])


def _number(value: object, most: float) -> float:
    # The range is asked first: no NaN is within it, and an integer may be too large for any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Dropped("malformed")
    return float(value)


def _count(value: object, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= 10_000_000:
        raise Dropped("malformed")
    return value
