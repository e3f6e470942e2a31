"""Durations such as "30s" or "1h30m", cron expressions and time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import croniter

MAX_SECONDS = 366 * 86400
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_SECONDS = (86400, 3600, 60, 1, 0.001)
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,\-]+", re.ASCII)
# A leap year's first day, so that what depends on the day the file is read cannot change the answer.
_CRON_BASE = datetime(2024, 1, 1, tzinfo=UTC)


class DurationError(ValueError):
    """Not a duration; the message says what was expected."""


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> float:
    """Seconds of "2d", "1h30m", "30s", "500ms": units in falling order, each once, more than 0, at most 366
    days."""
    found = _DURATION.fullmatch(text) if 0 < len(text) <= 40 else None
    if found is None:
        raise DurationError(f'"{text[:40]}" is not a duration such as 30s, 5m, 1h30m or 2d')
    seconds = sum(int(part) * unit for part, unit in zip(found.groups("0"), _SECONDS, strict=True))
    if seconds <= 0:
        raise DurationError(f'"{text}" has to be more than 0')
    if seconds > MAX_SECONDS:
        raise DurationError(f'"{text}" is more than 366 days')
    return float(seconds)


def suggest_duration(text: str) -> str:
    """What was probably meant by something that is not a duration, or ""."""
    words = re.sub(r"\s+", "", text.lower())
    words = re.sub(r"(?<=\d)(days?|hours?|hrs?|minutes?|mins?|seconds?|secs?)(?=\d|$)", lambda m: m[1][0], words)
    if re.fullmatch(r"\d+(\.0+)?", words):
        words = words.split(".")[0] + "s"
    try:
        parse_duration(words)
    except DurationError:
        return ""
    return words if words != text else ""


@lru_cache(maxsize=1024)
def cron_problem(text: str) -> str:
    """Why `text` is not a cron expression of five fields, as a sentence's end; "" if it is one."""
    fields = text.split()
    if len(fields) != 5:
        return f"has {len(fields)} fields where minute, hour, day, month and weekday make five"
    if len(text) > 200 or not all(_CRON_FIELD.fullmatch(field) for field in fields):
        return "may hold only numbers, names, and * / , -"
    try:
        croniter(text, _CRON_BASE).get_next()
    except (ValueError, KeyError, IndexError, TypeError, ArithmeticError) as error:
        # croniter raises several of these for fields that its own patterns let through.
        return "never happens" if type(error).__name__ == "CroniterBadDateError" else "is out of range"
    return ""


@lru_cache(maxsize=256)
def always_due(cron: str, seconds: float) -> bool:
    """Whether what begins at each of these times and lasts so long never ends, judged by a year of them."""
    times = croniter(cron, _CRON_BASE)
    last = times.get_next(float)
    while last < _CRON_BASE.timestamp() + MAX_SECONDS:
        following = times.get_next(float)
        if following - last > seconds:
            return False
        last = following
    return True


@cache
def timezones() -> frozenset[str]:
    """All that this machine knows; to look for them reads some hundred files."""
    return frozenset(available_timezones())


@lru_cache(maxsize=1024)
def known_timezone(name: str) -> bool:
    if name == "UTC":
        return True
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
