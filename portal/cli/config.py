"""Which portal is talked to, and as whom: options first, then the environment, then the demo's own file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CommandError

if TYPE_CHECKING:
    from .client import Client


@dataclass(slots=True)
class Config:
    """What was given on the command line; empty where nothing was."""

    url: str = ""
    token: str = ""
    person: str = ""
    _demo: dict[str, Any] | None = field(default=None, repr=False)

    def client(self) -> Client:
        """Raises CommandError when it is not known where the portal is."""
        from .client import Client

        known = self.demo.get("url", "")
        url = self.url or os.environ.get("BURGER_URL", "") or known
        if not url:
            raise CommandError(
                "Where is the portal? Say --url, or set BURGER_URL and BURGER_TOKEN, or start here after `make demo`."
            )
        return Client(url, self._token(url.rstrip("/") == known))

    def _token(self, is_demo: bool) -> str:
        """The demo's tokens are sent to the demo alone."""
        if self.token:
            return self.token
        tokens = self.demo.get("tokens", {}) if is_demo else {}
        if self.person:
            if self.person not in tokens:
                known = ", ".join(tokens) or "nobody"
                raise CommandError(f"{demo_file()} holds no token of {self.person} for this portal; it knows {known}.")
            return str(tokens[self.person])
        if given := os.environ.get("BURGER_TOKEN"):
            return given
        return str(next(iter(tokens.values()), ""))

    @property
    def demo(self) -> dict[str, Any]:
        if self._demo is None:
            self._demo = _read(demo_file())
        return self._demo

    @property
    def speakers(self) -> dict[str, str]:
        """For each team of the demo, somebody of it whose token is here."""
        teams: dict[str, list[str]] = self.demo.get("teams", {})
        return {team: people[0] for team, people in teams.items() if people}


def demo_file() -> Path:
    return Path(os.environ.get("BURGER_HOME", "var")) / "demo.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
