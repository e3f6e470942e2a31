"""A proxy in front of a real API server that answers in its place, cuts what it says, or is not there at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes.transport import Transport


@dataclass(frozen=True)
class Answer:
    """Answered without asking the server; a code of 0 hangs up without a word."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """What the server says, up to this many lines of it; then `last`, if any, and the connection is cut."""

    lines: int
    last: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"


Fault = Answer | Cut | None


class Proxy:
    """`fault` is asked about each request; `requests` are those that came, `away` cuts everything."""

    def __init__(self, cluster: Cluster) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[Request], Fault] = lambda _: None
        self.away = False
        self.transport = Transport(cluster, timeout=30)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def once(self, *faults: Fault, to: Callable[[Request], bool] = lambda _: True) -> None:
        """The next requests that `to` is true of get these faults, one each."""
        left = list(faults)
        self.fault = lambda request: left.pop(0) if left and to(request) else None

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)


@contextmanager
def proxy_to(cluster: Cluster) -> Iterator[Proxy]:
    proxy = Proxy(cluster)
    thread = threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        proxy.transport.close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, parts.path, query)
        self.proxy.requests.append(request)
        fault = Answer(0) if self.proxy.away else self.proxy.fault(request)
        if isinstance(fault, Answer):
            return self._answer(fault)
        content_type = self.headers.get("Content-Type", "application/json")
        value = json.loads(body) if body else None
        reply = self.proxy.transport.send(self.command, parts.path, query, value, content_type, stream=request.is_watch)
        if request.is_watch:
            return self._relay(reply, fault)
        return self._send(reply.status, dict(reply.headers), reply.data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _answer(self, fault: Answer) -> None:
        if not fault.code:
            self.close_connection = True
            return
        status = {"kind": "Status", "code": fault.code, "message": f"injected {fault.code}"} | fault.body
        self._send(fault.code, fault.headers, json.dumps(status).encode())

    def _send(self, code: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(code)
        for name, value in headers.items():
            if name.lower() in ("content-type", "retry-after"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _relay(self, reply: Any, fault: Fault) -> None:
        """A watch, line by line, until the server ends it or the proxy is to cut it."""
        self.send_response(reply.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = fault.lines if isinstance(fault, Cut) else None
        with reply:
            try:
                for line in _lines(reply):
                    if left == 0 or self.proxy.away:
                        break
                    self._chunk(line)
                    left = left - 1 if left else left
                    if left == 0:
                        break
                else:
                    self.wfile.write(b"0\r\n\r\n")
                    return
                if isinstance(fault, Cut) and fault.last:
                    self._chunk(json.dumps(fault.last).encode() + b"\n")
            except OSError:
                pass
        self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _lines(reply: Any) -> Iterator[bytes]:
    held = b""
    for piece in reply.stream(4096):
        *lines, held = (held + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
