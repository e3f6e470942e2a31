"""Addresses that only take what a form sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from ordering.render import render_shop


def post_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """As Django's `require_POST`; whoever opens the address by itself reads what it is, and where to go."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "POST":
            return view(request, *args, **kwargs)
        context = {
            "title": _("There is nothing to look at here"),
            "text": _("This address only takes what a button on another page sends to it. Nothing has changed."),
        }
        response = render_shop(request, "ordering/message.html", context, status=405)
        response["Allow"] = "POST"
        return response

    return guarded
