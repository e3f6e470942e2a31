"""The web process: pages and API over HTTP, live events over WebSockets."""

from __future__ import annotations

import os
from typing import Any, cast

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
http = get_asgi_application()

from pipelines.webhooks.limit import App, BodyLimit  # noqa: E402
from portal.live.consumers import shut_down  # noqa: E402  models can be imported only from here on
from portal.live.routing import websockets  # noqa: E402


async def lifespan(_: Any, receive: Any, send: Any) -> None:
    """Nothing is started before somebody watches; at the end the wake-ups are given back."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            shut_down()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


application = ProtocolTypeRouter({"http": BodyLimit(cast(App, http)), "websocket": websockets, "lifespan": lifespan})
