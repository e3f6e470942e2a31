"""The shop's error pages: what happened, and what to do."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from ordering.render import render_shop


def _page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    return render_shop(request, "ordering/message.html", {"title": title, "text": text}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    text = _("Your browser sent something that we do not understand. Go back, reload the page and try again.")
    return _page(request, 400, _("That did not work"), text)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _page(request, 403, _("Not for you"), _("You may not open this page."))


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    text = _("The page was open for too long, or your browser keeps no cookies. Go back, reload it and try again.")
    return _page(request, 403, _("That page was too old"), text)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    text = _("There is no page at this address. The burgers are still where they were.")
    return _page(request, 404, _("Nothing on this plate"), text)


def server_error(request: HttpRequest) -> HttpResponse:
    text = _("Something went wrong in our kitchen, not at your table. Nothing was lost; try again in a moment.")
    return _page(request, 500, _("We dropped something"), text)
