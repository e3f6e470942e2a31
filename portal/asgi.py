"""The web process: pages and API over HTTP, live events over WebSockets."""

from __future__ import annotations

import os
from typing import Any, cast

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
http = get_asgi_application()

from django.conf import settings  # noqa: E402

from pipelines.engines.argo.contents import may_send  # noqa: E402
from pipelines.performance import tokens  # noqa: E402
from pipelines.performance.collect import Collector, Intake  # noqa: E402
from pipelines.webhooks.limit import App, BodyLimit  # noqa: E402
from portal.live.consumers import shut_down  # noqa: E402  models can be imported only from here on
from portal.live.routing import websockets  # noqa: E402

collector = Collector(lambda: tokens.key(settings.HOME))


async def lifespan(_: Any, receive: Any, send: Any) -> None:
    """Nothing is started before it is needed; at the end the wake-ups are given back and the measurements written."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            shut_down()
            collector.close()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


requests = Intake(BodyLimit(cast(App, http), trusted=may_send), collector)
application = ProtocolTypeRouter({"http": requests, "websocket": websockets, "lifespan": lifespan})
