"""Which kinds a server has. Those that we work with ourselves are known beforehand; others are asked for once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pipelines.executors.kubernetes import kinds
from pipelines.executors.kubernetes.errors import Refused
from pipelines.executors.kubernetes.kinds import Kind

if TYPE_CHECKING:
    from pipelines.executors.kubernetes.client import Client

_lock = threading.Lock()
# (server, api version) -> its kinds. A kind that is missing is asked for again: it may have been installed since.
_served: dict[tuple[str, str], dict[str, Kind]] = {}


class Discovery:
    def __init__(self, client: Client) -> None:
        self._client = client

    def kind(self, text: str) -> Kind:
        """The kind "Deployment" (one of ours) or "GROUP/VERSION/Kind". Raises Refused if the server has none."""
        known = kinds.named(text)
        api_version, _, name = text.rpartition("/")
        if known and api_version in ("", known.api_version):
            return known
        if not api_version:
            raise Refused(f"The kind {text} needs its API version, as in apps/v1/Deployment.", 404, "NotFound")
        found = self._kinds(api_version, fresh=False).get(name) or self._kinds(api_version, fresh=True).get(name)
        if found is None:
            raise Refused(
                f"The cluster {self._client.cluster.name} has no kind {name} in {api_version}.", 404, "NotFound"
            )
        return found

    def has(self, text: str) -> bool:
        known = kinds.named(text)
        api_version, name = (known.api_version, known.name) if known else text.rpartition("/")[::2]
        return name in self._kinds(api_version, fresh=True)

    def _kinds(self, api_version: str, *, fresh: bool) -> dict[str, Kind]:
        place = (self._client.server, api_version)
        with _lock:
            if not fresh and place in _served:
                return _served[place]
        found = self._ask(api_version)
        with _lock:
            _served[place] = found
        return found

    def _ask(self, api_version: str) -> dict[str, Kind]:
        group, _, version = api_version.rpartition("/")
        try:
            path = f"/apis/{api_version}" if group else f"/api/{api_version}"
            answer = self._client.raw("GET", path, what=f"the kinds of {api_version}")
        except Refused as refused:
            if refused.code == 404:
                return {}
            raise
        return {
            one["kind"]: Kind(group, version, one["kind"], one["name"], namespaced=bool(one["namespaced"]))
            for one in answer.get("resources", ())
            if "/" not in one["name"]
        }
