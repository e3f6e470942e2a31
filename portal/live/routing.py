"""From the address of a socket to its consumer, past the check that a page of our own asks."""

from __future__ import annotations

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.urls import path, re_path

from .access import same_origin_only
from .consumers import PortalConsumer, RunConsumer

websockets = same_origin_only(
    CookieMiddleware(
        URLRouter(
            [
                path("ws/runs/<slug:pipeline>/<int:number>/", RunConsumer.as_asgi()),
                path("ws/portal/", PortalConsumer.as_asgi()),
                re_path("", WebsocketDenier.as_asgi()),
            ]
        )
    )
)
