"""Promo codes may be worth money, so nobody tries them by the dozen: as with passwords, after a few that do not exist
none is looked at for a minute, whether by form or by program."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest
from django.utils.translation import gettext as _

from ordering import guessing
from ordering.access import client_address
from ordering.orders import CannotPlaceError
from ordering.wishes import Problem

# Whose tries are counted beside those of names to sign in with, which hold no blank.
_WHAT = "promo codes"


def held(request: HttpRequest, code: str) -> Problem | None:
    """Why this code is not even looked at; None where it may be, or where there is none."""
    if not code or not guessing.is_held(client_address(request), _WHAT):
        return None
    return Problem("promo_tries", _("Too many codes were tried. Take it out, or wait a minute and try again."))


def ask(request: HttpRequest, code: str) -> None:
    """Raises CannotPlaceError where the code is not even looked at."""
    if problem := held(request, code):
        raise CannotPlaceError([problem])


def tried(request: HttpRequest, problems: Iterable[Problem]) -> None:
    """Count a code that does not exist."""
    if any(problem.code == "promo_unknown" for problem in problems):
        guessing.failed(client_address(request), _WHAT)
