"""Which portal is talked to, and as whom: options first, then the environment, then the demo's own file."""

from __future__ import annotations

import json
import os
import re
import sys
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

    def client(self, *, for_anybody: bool = False) -> Client:
        """Raises CommandError when it is not known where the portal is.

        Where it is not said who speaks and several could, the first of them may look, and is named, unless what is
        asked is the same `for_anybody`; deeds are refused.
        """
        from .client import Client

        known = self.demo.get("url", "")
        url = self.url or os.environ.get("BURGER_URL", "") or known
        if not url:
            raise CommandError(
                "Where is the portal? Say --url, or set BURGER_URL and BURGER_TOKEN, or start here after `make demo`."
            )
        tokens = self._tokens(url)
        token, person = self._speaker(tokens)
        if not re.fullmatch(r"[!-~]*", token):
            raise CommandError("The token holds a space, a line end or a letter that no token has; copy it once more.")
        if token or not tokens:
            return Client(url, token)
        if not for_anybody:
            print(f"burger: speaking as {person}, the first of {demo_file()}; choose with --as.", file=sys.stderr)
        others = ", ".join(tokens)
        doubt = f"Who does this? {demo_file()} knows {others}. Say --as NAME, or set BURGER_AS."
        return Client(url, tokens[person], doubt=doubt)

    def keep(self, url: str, token: str) -> str:
        """Put a new token in the place of the one that is used; returns where that is, "" if it came from elsewhere."""
        _, person = self._speaker(self._tokens(url))
        if not person:
            return ""
        data = _read(demo_file())
        data["tokens"][person] = token
        fresh = demo_file().with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(data, file, indent=2)
        fresh.replace(demo_file())
        return str(demo_file())

    def _tokens(self, url: str) -> dict[str, str]:
        """The demo's tokens are sent to the demo alone."""
        is_demo = url.rstrip("/") == self.demo.get("url", "")
        return self.demo.get("tokens", {}) if is_demo else {}

    def _speaker(self, tokens: dict[str, str]) -> tuple[str, str]:
        """(token, name in the demo's file): the options first, then the environment, then the only one there is. No
        token where several could be meant, but the name of the first."""
        if self.token:
            return self.token, ""
        given = "" if self.person else os.environ.get("BURGER_TOKEN", "")
        person = self.person or ("" if given else os.environ.get("BURGER_AS", ""))
        if person and person not in tokens:
            known = ", ".join(tokens) or "nobody"
            raise CommandError(f"{demo_file()} holds no token of {person} for this portal; it knows {known}.")
        if person:
            return str(tokens[person]), person
        first = next(iter(tokens), "")
        if given or not first:
            return given, ""
        return (str(tokens[first]) if len(tokens) == 1 else ""), first

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
