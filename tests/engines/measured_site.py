"""An installation whose releases measure themselves, a collector that takes what they report, and rollouts that read
it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipelines.engines import measurements
from pipelines.executors.base import Artifact, Measured, Workplace
from pipelines.executors.store import Store
from pipelines.performance.collect import Collector
from tests.executors.rollout_helpers import Installation


@dataclass
class Site(Installation):
    """`fill(tree, version)` writes the files of a release."""

    collector: Collector | None = None
    fill: Callable[[Path, str], None] | None = None

    @property
    def workplace(self) -> Workplace:
        assert self.collector is not None
        measured = reading(self.collector)
        return Workplace(self.home, environment_ports={"staging": self.port}, measured=measured)

    def slug(self, version: str) -> Artifact:
        assert self.fill is not None
        tree = self.home.parent / f"tree-{version}"
        tree.mkdir()
        self.fill(tree, version)
        digest, size = Store(self.home).pack(tree)
        return Artifact("web", "slug", digest, size)


def reading(collector: Collector) -> Callable[[str], Measured]:
    """What has come in by the moment that it is read."""

    def of(environment: str) -> Measured:
        def now(read: Callable[[], Any]) -> Any:
            collector.flush()
            return read()

        return measurements.of(environment, now)

    return of


@contextmanager
def door(collector: Collector, host: str = "127.0.0.1") -> Iterator[str]:
    """The address at which the collector takes reports."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken = collector.report(self.headers["Authorization"].removeprefix("Bearer "), body)
            self.send_response(204 if taken else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
