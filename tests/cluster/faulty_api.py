"""A cluster's API server as it is on a bad day: a proxy that now and then answers for it, swallows what it said, cuts
watches off, or is not there at all."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import config

BUSY = (429, 500, 502, 503, 504)
REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
# What passes on from one side to the other.
HEADERS = ("Accept", "Content-Type", "User-Agent")
# Instead of a status: the request is done and its answer lost, nothing comes at all, the watch ends early.
LOST, DROPPED, CUT = "answer lost", "request lost", "watch cut"


class FaultyApi:
    """Speaks plain HTTP on this machine, with the rights of `original`, a kubeconfig. `share` of all requests go wrong
    (0 to 1), each in a way drawn from `chance`; `injected` counts them. `cut` is a partition: nobody gets through, and
    who was connected is not any more."""

    def __init__(self, original: str, chance: random.Random | None = None, share: float = 0.0) -> None:
        self._client = config.new_client_from_config(config_file=original)
        self._chance, self.share = chance or random.Random(), share
        self._guard = threading.Lock()
        self.injected: Counter[str] = Counter()
        self.is_cut = False
        self._open: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def kubeconfig(self, path: Path) -> str:
        """Write one that leads here; returns its path."""
        cluster = {"name": "faulty", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}
        context = {"name": "faulty", "context": {"cluster": "faulty", "user": "nobody"}}
        users = [{"name": "nobody", "user": {}}]
        whole = {"clusters": [cluster], "contexts": [context], "users": users, "current-context": "faulty"}
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}))
        return str(path)

    def cut(self) -> None:
        self.is_cut = True
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    @contextmanager
    def well(self) -> Iterator[None]:
        """Nothing goes wrong meanwhile."""
        share, self.share = self.share, 0.0
        try:
            yield
        finally:
            self.share = share

    def close(self) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    # --- for the handlers -----------------------------------------------------------------------------

    def fault(self, method: str, path: str) -> int | str:
        """A status to answer with, a word for worse, 0 for nothing."""
        with self._guard:
            if self._chance.random() >= self.share:
                return 0
            if "watch=true" in path:
                found: int | str = self._chance.choice((410, 429, 500, 503, CUT, CUT))
            elif method == "GET":
                # Only what is read in pages can expire.
                found = self._chance.choice((*BUSY, DROPPED, *((410,) if "limit=" in path else ())))
            else:
                found = self._chance.choice((*BUSY, 409, 409, LOST, LOST, DROPPED))
            self.injected[str(found)] += 1
            return found

    def delay(self) -> float:
        with self._guard:
            return self._chance.uniform(0.0, 1.0)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        pool = self._client.rest_client.pool_manager
        url = self._client.configuration.host + path
        return pool.request(
            method, url, body=body, headers=headers, retries=False, redirect=False, preload_content=False, timeout=30
        )


class _Handler(BaseHTTPRequestHandler):
    api: FaultyApi
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.api._open.add(self.connection)

    def finish(self) -> None:
        self.api._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a partition
            super().handle()

    def log_message(self, *_: Any) -> None:
        """What is said here interests nobody."""

    def _any(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        fault = 0 if self.api.is_cut else self.api.fault(self.command, self.path)
        if self.api.is_cut or fault == DROPPED:
            return
        if isinstance(fault, int) and fault:
            self._say(fault, self._status(fault), {"Retry-After": "1"} if fault == 429 else {})
            return
        with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
            headers = {name: self.headers[name] for name in HEADERS if self.headers[name]}
            reply = self.api.ask(self.command, self.path, body, headers)
            if "watch=true" in self.path and reply.status == 200:
                self._stream(reply, self.api.delay() if fault == CUT else 0.0)
                return
            data = reply.read()
            if fault != LOST and not self.api.is_cut:
                self._say(reply.status, data, {"Content-Type": reply.headers.get("Content-Type", "application/json")})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - as http.server calls them

    def _say(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = False

    def _status(self, code: int) -> bytes:
        reason = REASONS.get(code, "Injected")
        return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": f"injected {code}"}).encode()

    def _stream(self, reply: urllib3.BaseHTTPResponse, ends_after: float) -> None:
        """A watch, for `ends_after` seconds at most where that is not 0; it may end in the middle of a line."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        until = time.monotonic() + ends_after
        try:
            for piece in reply.stream(64 * 1024):
                late = ends_after and time.monotonic() > until
                self.wfile.write(piece[: len(piece) // 2] if late else piece)
                self.wfile.flush()
                if late or self.api.is_cut:
                    return
        finally:
            reply.close()
