"""Template filters of the shop: money, clock times and the words for allergens and diets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django import template
from django.templatetags.static import static
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ordering import conf, food, money, pickup
from ordering.models import MenuItem

register = template.Library()


@register.filter
def cash(amount: int, currency: str = "") -> str:
    """An amount in minor units, in the shop's currency unless another is given."""
    return money.display(amount, currency or conf.currency())


@register.filter
def minus(amount: int) -> int:
    return -amount


@register.filter
def decimal(number: str) -> str:
    """A number that is written with a point, with the mark of the active language."""
    return number.replace(".", formats.get_format("DECIMAL_SEPARATOR"))


@register.filter
def moment(when: dt.datetime) -> str:
    """A moment as people say it at the place of the shop."""
    return pickup.moment_words(when)


@register.filter
def weekday(day: dt.date) -> str:
    """A day as a heading of times: today, tomorrow, or its name."""
    today = timezone.now().astimezone(conf.time_zone()).date()
    near = {today: _("Today"), today + dt.timedelta(days=1): _("Tomorrow")}
    return near.get(day) or day_words(day)


@register.filter
def day_words(day: dt.date) -> str:
    return formats.date_format(day, pgettext("day", "D j F"))


@register.filter
def clock(moment: dt.datetime) -> str:
    """The time of day where the shop stands."""
    # Translators: how the time of day is written, in Django's date format.
    return formats.time_format(moment.astimezone(conf.time_zone()).time(), pgettext("clock", "H:i"))


@register.filter
def allergens(codes: Iterable[str]) -> str:
    return ", ".join(str(food.ALLERGENS.get(code, code)) for code in codes)


@register.filter
def diets(codes: Iterable[str]) -> list[tuple[str, str]]:
    """Code and word of each diet; vegan says vegetarian already."""
    shown = [code for code in codes if not (code == "vegetarian" and "vegan" in codes)]
    return [(code, str(food.DIETS.get(code, code))) for code in shown]


@register.simple_tag
def picture(item: MenuItem) -> str:
    """The address of an item's picture; a plate where there is none, or its file is not part of this
    release."""
    try:
        return static(item.picture or "ordering/pictures/plate.svg")
    except ValueError:  # what a storage with hashed names raises for a file that it does not have
        return static("ordering/pictures/plate.svg")
