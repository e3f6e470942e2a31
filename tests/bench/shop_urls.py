"""The shop's addresses, and /bare/: what the menu is measured against."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.cache import cache_page

SIZE = 22_000  # bytes, as the menu has


@cache_page(3600)
def bare(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>burger</p>\n" * (SIZE // 14))


urlpatterns = [path("bare/", bare), path("", include("ordering.site.urls"))]
