"""Talking to a portal's REST API. Errors are whole sentences, made for being printed as they are."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from .errors import ApiError, CommandError, UnreachableError

TIMEOUT = 30.0


class Client:
    """One person's connection to a portal. Paths are relative to `/api/`. With a `doubt` about who that is, it may
    look and do nothing: every deed raises a CommandError with these words."""

    def __init__(self, url: str, token: str = "", *, doubt: str = "") -> None:
        self.url, self.token, self.doubt = url.rstrip("/"), token, doubt
        headers = {"Accept": "application/json", "User-Agent": "burger"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        # A proxy for the world outside has no way to this machine.
        near = urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(base_url=f"{self.url}/api/", headers=headers, timeout=TIMEOUT, trust_env=not near)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer. Raises ApiError, UnreachableError; so do all the others."""
        return self._ask("GET", path, params=query).json()

    def run(self, path: str) -> Any:
        """A run with all of its stages, page by page."""
        detail = self.get(path)
        while detail["stages_next"] is not None:
            more = self.get(path, stages_from=detail["stages_next"])
            detail["stages"] += more["stages"]
            detail["stages_next"] = more["stages_next"]
        return detail

    def text(self, path: str) -> str:
        return self._ask("GET", path, headers={"Accept": "text/plain"}).text

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, json=body or {}).json()

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def changed(self, path: str, tag: str, **query: Any) -> tuple[Any, str]:
        """The answer and its tag, or None and the old tag when nothing has changed since that one."""
        answer = self._ask("GET", path, params=query, headers={"If-None-Match": tag} if tag else {})
        if answer.status_code == 304:
            return None, tag
        return answer.json(), answer.headers.get("ETag", "")

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        if self.doubt and method != "GET":
            raise CommandError(self.doubt)
        try:
            answer = self._http.request(method, path, **more)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise UnreachableError(f"The portal at {self.url} does not answer: {why}.") from error
        if answer.status_code >= 500:
            raise UnreachableError(f"The portal at {self.url} cannot answer now: {_sentence(answer)}")
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, _sentence(answer))
        return answer


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}, and nothing else that is known here. Is this the address of a portal?"


def stage_path(run: str, stage: str) -> str:
    """The path of a stage of the run `pipeline/number`."""
    return f"runs/{run}/stages/{quote(stage, safe='')}"
