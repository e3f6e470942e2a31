"""In which language the shop speaks to a visitor: the one they chose, else what their browser asks for, else its own.

It is chosen by `?language=de` on any address of the shop, which is kept in a cookie: no script, and no form.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from django.conf import settings
from django.conf.locale import LANG_INFO
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.http import escape_leading_slashes
from django.utils.translation.trans_real import parse_accept_lang_header

from ordering import conf

Handler = Callable[[HttpRequest], HttpResponseBase]
PARAMETER = "language"
_MAX_AGE = 365 * 24 * 3600


class ShopLanguage:
    """Speaks the visitor's language on the shop's own addresses, wherever a project mounts them."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    @cached_property
    def _root(self) -> str:
        return reverse("ordering:menu")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(self._root):
            return self.get_response(request)
        if request.method == "GET" and request.GET.get(PARAMETER) in conf.languages():
            return self._chosen(request)
        language = of(request)
        with translation.override(language):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        patch_vary_headers(response, ["Accept-Language", "Cookie"])
        return response

    def _chosen(self, request: HttpRequest) -> HttpResponseBase:
        rest = request.GET.copy()
        language = str(rest.pop(PARAMETER)[-1])
        here = escape_leading_slashes(request.path)  # what begins with two is the address of another site
        response = HttpResponseRedirect(f"{here}?{rest.urlencode()}" if rest else here)
        response.set_cookie(
            conf.language_cookie(),
            language,
            max_age=_MAX_AGE,
            path=self._root,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
        response["Cache-Control"] = "no-store"
        return response


def of(request: HttpRequest) -> str:
    """The language for this request; one of the shop's."""
    spoken = conf.languages()
    chosen = request.COOKIES.get(conf.language_cookie(), "")
    if chosen in spoken:
        return chosen
    for wanted, quality in parse_accept_lang_header(request.META.get("HTTP_ACCEPT_LANGUAGE", "")):
        if quality > 0 and (base := wanted.partition("-")[0]) in spoken:
            return base
    return own()


def own() -> str:
    """The language in which the menu is written."""
    base = settings.LANGUAGE_CODE.partition("-")[0]
    return base if base in conf.languages() else conf.languages()[0]


def others() -> list[tuple[str, str]]:
    """Code and own name of each language but the active one: [("de", "Deutsch")]."""
    active = (translation.get_language() or "").partition("-")[0]
    return [(code, LANG_INFO[code]["name_local"].capitalize()) for code in conf.languages() if code != active]
