"""The portal, as a pod speaks to it: again and again while it is away."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from pipelines.engines.work import LeaseLost, NotNow
from pipelines.performance.verdict import Reading

from .readings import of_json

log = logging.getLogger(__name__)

TOKEN = Path("/var/run/burger/token")
LONGEST = 5.0  # seconds between two tries
PATIENCE = 30.0  # seconds for one answer
STALE, REFUSED = 409, (401, 403)
BLOCK = 1024 * 1024


class Refused(Exception):
    """The portal says no, and would again."""


class Portal:
    """`credential` is a file with the token of this pod's account, which its node renews."""

    def __init__(self, address: str, credential: Path = TOKEN) -> None:
        self.address, self._credential = address, credential
        self._client = httpx.Client(base_url=f"{address}/api/engine/", timeout=PATIENCE, verify=_trust())

    def claim(self) -> dict[str, Any]:
        """What to do next. Raises Refused."""
        delay = 0.2
        while True:
            try:
                token = self._credential.read_text().strip()
                return dict(self._once("POST", "claim", token, {}))
            except NotNow as away:
                log.warning("The portal does not answer, trying again in %.1f s: %s", delay, away)
                time.sleep(delay)
                delay = min(LONGEST, delay * 2)

    def report(self, token: str, first: int, reports: list[dict[str, Any]]) -> int:
        """How many reports the portal has by now. Raises NotNow, LeaseLost."""
        body = {"first": first, "reports": reports}
        return int(self._mine("POST", "reports", token, body)["reported"])

    def look(self, token: str) -> dict[str, Any]:
        """Raises NotNow, LeaseLost."""
        return dict(self._mine("GET", "wanted", token))

    def measured(self, token: str, release: str, sources: Sequence[str], since: float, until: float) -> Reading:
        """Raises NotNow, LeaseLost."""
        asked = {"release": release, "sources": ",".join(sources), "since": since, "until": until}
        try:
            return of_json(self._mine("GET", f"measured?{urlencode(asked)}", token))
        except (KeyError, TypeError, ValueError) as error:
            raise NotNow(f"what was measured cannot be understood: {error!r}") from error

    def fetch(self, token: str, digest: str, to: Path) -> bool:
        """Write a content of the portal's store into the file `to`; False where it has none of it. Raises NotNow,
        Refused."""
        try:
            with self._client.stream("GET", f"store/{digest}", headers=_bearer(token)) as answer:
                if answer.status_code == 404:
                    return False
                self._judge(answer.status_code, lambda: answer.read().decode(errors="replace"))
                with to.open("wb") as file:
                    for block in answer.iter_bytes(BLOCK):
                        file.write(block)
                return True
        except httpx.HTTPError as error:
            raise NotNow(str(error)) from error

    def keep(self, token: str, digest: str, content: Path) -> None:
        """Give the portal a content for its store. Raises NotNow, LeaseLost."""
        try:
            with content.open("rb") as file:
                answer = self._client.put(
                    f"store/{digest}", content=iter(lambda: file.read(BLOCK), b""), headers=_bearer(token)
                )
        except httpx.HTTPError as error:
            raise NotNow(str(error)) from error
        self._judge_mine(answer)

    def _mine(self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            return self._once(method, path, token, body)
        except Refused as refused:
            raise LeaseLost(str(refused)) from None

    def _judge_mine(self, answer: httpx.Response) -> None:
        try:
            self._judge(answer.status_code, lambda: answer.text)
        except Refused as refused:
            raise LeaseLost(str(refused)) from None

    def _once(self, method: str, path: str, token: str, body: Mapping[str, Any] | None) -> Any:
        try:
            answer = self._client.request(method, path, json=body, headers=_bearer(token))
        except httpx.HTTPError as error:
            raise NotNow(str(error) or type(error).__name__) from error
        self._judge(answer.status_code, lambda: answer.text)
        try:
            return answer.json()
        except ValueError as error:
            raise NotNow("what answered is not the portal") from error

    @staticmethod
    def _judge(status: int, said: Callable[[], str]) -> None:
        if status < 400:
            return
        words = f"{status}: {said()[:500]}"
        if status in (STALE, *REFUSED) or status in (400, 413, 422):
            raise Refused(words)
        raise NotNow(words)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def further_certificates() -> list[Path]:
    """What is trusted beside the system's certificates."""
    folder = os.environ.get("BURGER_CA", "")
    return sorted(path for kind in ("*.crt", "*.pem") for path in Path(folder).glob(kind)) if folder else []


def _trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    for file in further_certificates():
        context.load_verify_locations(file)
    return context
