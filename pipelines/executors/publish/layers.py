"""What an engine's words during a push say about its layers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TAGGED = re.compile(r"digest: (sha256:[0-9a-f]{64})")

_STATES = {
    "Preparing": "waiting",
    "Waiting": "waiting",
    "Pushing": "pushing",
    "Pushed": "pushed",
    "Layer already exists": "there",
}


@dataclass(slots=True)
class Layer:
    """`state` is "waiting", "pushing", "pushed" or "there" (the registry had it). `sent` and `size` are bytes before
    they are compressed; `size` is 0 until the engine tells it."""

    state: str = "waiting"
    sent: int = 0
    size: int = 0


@dataclass(slots=True)
class Layers:
    """The layers of one image, by the engine's short names, in its order. `digest` is "" until it is pushed."""

    layers: dict[str, Layer] = field(default_factory=dict)
    digest: str = ""

    def hear(self, word: Mapping[str, Any]) -> None:
        """Take in one of the engine's words."""
        status = str(word.get("status") or "")
        if isinstance(aux := word.get("aux"), Mapping) and aux.get("Digest"):
            self.digest = str(aux["Digest"])
        elif not word.get("id"):
            if tagged := _TAGGED.search(status):
                self.digest = tagged[1]
        elif state := "there" if status.startswith("Mounted from") else _STATES.get(status, ""):
            layer = self.layers.setdefault(str(word["id"]), Layer())
            layer.state = state
            detail = word.get("progressDetail") or {}
            layer.sent = int(detail.get("current") or layer.sent)
            # The engine's total is a guess; what was sent may be more.
            layer.size = max(layer.sent, int(detail.get("total") or layer.size))
            if state == "pushed":
                layer.sent = layer.size

    @property
    def finished(self) -> int:
        return sum(layer.state in ("pushed", "there") for layer in self.layers.values())

    @property
    def there(self) -> int:
        return sum(layer.state == "there" for layer in self.layers.values())

    @property
    def sent(self) -> int:
        return sum(layer.sent for layer in self.layers.values())

    def as_list(self) -> list[dict[str, Any]]:
        return [
            {"id": name, "state": layer.state, "sent": layer.sent, "size": layer.size}
            for name, layer in self.layers.items()
        ]
