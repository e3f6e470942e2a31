"""A way to the Docker Engine for those who have a certificate: its socket once more, at a port, by TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

from tests.cluster import pki


class EngineDoor:
    """Within `with`, `address` leads to the engine's socket. `folder` holds an authority made for it alone."""

    def __init__(self, docker_host: str, host: str, folder: Path) -> None:
        self._socket, self._host, self._folder = docker_host.removeprefix("unix://"), host, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._authority = pki.authority(folder)
        pair = pki.issue(folder, "door", "engine", hosts=[host])
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self._context.load_verify_locations(self._authority.certificate)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self.address = ""

    def credential(self, name: str) -> dict[str, str]:
        """What somebody shows at the door, by the names that Docker's clients look for."""
        pair = pki.issue(self._folder, f"client-{name}", name)
        files = {"ca.pem": self._authority.certificate, "cert.pem": pair.certificate, "key.pem": pair.key}
        return {file: Path(path).read_text() for file, path in files.items()}

    def __enter__(self) -> EngineDoor:
        self._listener = socket.create_server((self._host, 0))
        self.address = f"tcp://{self._host}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            near.settimeout(20)
            with self._context.wrap_socket(near, server_side=True) as guest:
                guest.settimeout(None)
                with socket.socket(socket.AF_UNIX) as engine:
                    engine.connect(self._socket)
                    back = threading.Thread(target=_pump, args=(engine, guest), daemon=True)
                    back.start()
                    _pump(guest, engine)
                    back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Until one side ends. TLS has no half of an end, so the other way goes on only towards the engine's answer."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        if isinstance(sink, ssl.SSLSocket):
            sink.unwrap()
        sink.shutdown(socket.SHUT_WR)
