"""Who may work in the kitchen: staff who are signed in, holders of a permission, and the kitchen's own
network."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from ordering import conf
from ordering.render import render_shop

PERMISSION = "ordering.work_kitchen"


def may_work_kitchen(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    if user is not None and user.is_active and (user.is_staff or user.has_perm(PERMISSION)):
        return True
    return in_networks(client_address(request), conf.kitchen_networks())


def client_address(request: HttpRequest) -> str:
    """The address of the one who asks. What a proxy says is believed only from a proxy on this machine.

    The last entry of X-Forwarded-For is the one that this proxy has written; those before it are hearsay.
    """
    peer = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if forwarded and _is_loopback(peer):
        return forwarded.rsplit(",", 1)[-1].strip()
    return peer


def in_networks(address: str, networks: list[str]) -> bool:
    """Whether the address lies in one of the CIDRs; False for anything that is not an address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)


def customer_of(request: HttpRequest) -> Any:
    """The account of whoever is signed in, or None: guests need none."""
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def actor_of(request: HttpRequest) -> str:
    """How the history names the one who acts."""
    user = getattr(request, "user", None)
    return user.get_username() if user is not None and user.is_authenticated else "kitchen"


def kitchen_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let a view be used by `may_work_kitchen` only; others are sent to sign in, or told what is missing."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if may_work_kitchen(request):
            return view(request, *args, **kwargs)
        user = getattr(request, "user", None)
        if user is not None and not user.is_authenticated and request.method == "GET" and settings.LOGIN_URL:
            return redirect_to_login(request.get_full_path())
        return render_shop(
            request,
            "ordering/message.html",
            {
                "title": _("The kitchen is closed to you"),
                "text": _(
                    "Only kitchen staff can open this page. Ask whoever runs the shop for the permission to "
                    "work in the kitchen, or open the page on the kitchen's own network."
                ),
            },
            status=403,
        )

    return guarded


def _is_loopback(address: str) -> bool:
    return in_networks(address, ["127.0.0.0/8", "::1/128"])
