"""How every page of the shop is rendered: with the shop's own facts, and without leaning on a project's
settings."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

from ordering import conf, language
from ordering.measure import agent as measure


def shop_context() -> dict[str, Any]:
    return {
        "shop_name": conf.shop_name(),
        "shop_notice": conf.notice(),
        "shop_release": conf.release(),
        "shop_currency": conf.currency(),
        "other_languages": language.others(),
        "shop_accounts": conf.accounts(),
    }


def render_shop(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """A page or fragment. It belongs to one visitor: shared caches must not keep it."""
    agent = measure.agent()
    known = {**shop_context(), "shop_agent": agent.page(request) if agent else None}
    body = render_to_string(template, {**known, **(context or {})}, request=request)
    return for_one_visitor(HttpResponse(body, status=status))


def for_one_visitor(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Cookie"])
    return response
