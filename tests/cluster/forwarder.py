"""A way to a cluster that a test can open and close: the API server, once more, at a port of this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Forwarder:
    """Within `with`, connections to its port reach the API server of `original`; outside of it, none do, and those that
    were open are cut. `kubeconfig` leads there."""

    def __init__(self, original: str, kubeconfig: Path) -> None:
        content = yaml.safe_load(Path(original).read_text())
        (entry,) = content["clusters"]
        server = urlsplit(entry["cluster"]["server"])
        assert server.hostname
        assert server.port
        self._server = (server.hostname, server.port)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        entry["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        entry["cluster"]["tls-server-name"] = server.hostname
        kubeconfig.write_text(yaml.safe_dump(content))
        self.kubeconfig = kubeconfig
        self._open: list[socket.socket] = []

    def __enter__(self) -> Forwarder:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        _cut(self._listener)
        self._accepting.join(10)  # what it has just accepted is cut as well
        for found in self._open:
            _cut(found)
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _cut(found: socket.socket) -> None:
    with contextlib.suppress(OSError):
        found.shutdown(socket.SHUT_RDWR)
    found.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
