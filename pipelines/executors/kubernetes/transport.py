"""The connection itself: a kubeconfig or the pod's own account, TLS, credentials, one request at a time.

It retries nothing and reads no meaning into an answer; `client` does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.errors import ClusterAway

CONNECT_TIMEOUT = 3.0
AGENT = "burger-stack"
# Connections kept open; more threads than this open some more for a while.
POOL = 16


class Unreachable(Exception):
    """No answer; the message says why, without the query."""


@dataclass(frozen=True, slots=True)
class _Connection:
    """`host` stands by itself: renewing a token reads the kubeconfig anew, and its address with it."""

    host: str
    configuration: Any
    pool: Any


class Transport:
    """Thread-safe. `address` replaces the server's address of the kubeconfig. Connects on first use."""

    def __init__(self, cluster: Cluster, timeout: float, address: str | None = None) -> None:
        self.cluster, self.timeout, self._address = cluster, timeout, address
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    @property
    def server(self) -> str:
        return self._connected().host

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        *,
        stream: bool = False,
        timeout: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """The answer, whatever its status. Raises Unreachable; ClusterAway if the kubeconfig cannot be used."""
        connection = self._connected()
        url = connection.host + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": AGENT, **self._credentials(connection.configuration)}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        with self._telling_why():
            return connection.pool.request(
                method,
                url,
                body=data,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=timeout or self.timeout),
            )

    @contextmanager
    def _telling_why(self) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(_why(error)) from None

    def renew(self) -> None:
        """Read the credentials anew, after the server did not take them any more."""
        with self._lock:
            self._connection = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.pool.clear()
            self._connection = None

    def _connected(self) -> _Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> _Connection:
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            if self.cluster.kubeconfig is None:
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(
                    config_file=str(self.cluster.kubeconfig),
                    context=self.cluster.context or None,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (config.ConfigException, OSError, ValueError, TypeError) as error:
            source = self.cluster.kubeconfig or "the account of this pod"
            raise ClusterAway(f"The cluster {self.cluster.name} cannot be used: {source}: {_one_line(error)}") from None
        if self._address:
            configuration.host = self._address
        configuration.connection_pool_maxsize = POOL
        pool = client.ApiClient(configuration).rest_client.pool_manager
        return _Connection(configuration.host.rstrip("/"), configuration, pool)

    def _credentials(self, configuration: Any) -> dict[str, str]:
        """The bearer token, renewed by the kubeconfig's own means when it has run out."""
        with self._lock:
            settings = configuration.auth_settings()
        return {str(one["key"]): str(one["value"]) for one in settings.values() if one.get("value")}


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"its certificate or ours was not accepted ({_one_line(error)})"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "it took the request and did not answer in time"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return str(error).rpartition(": ")[2] or "no connection"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT:g} s"
    return _one_line(reason or error)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
