"""An engine on another machine, that only speaks with those who show a certificate."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pipelines.executors.connections import Docker
from pipelines.executors.publish.engine import EngineAway, connect
from tests.cluster.engine_door import EngineDoor


class Engine(BaseHTTPRequestHandler):
    """As much of one as a client asks at first."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": "1.41", "Version": "20.10"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "here"

    def log_message(self, *_: object) -> None: ...


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def door(tmp_path: Path) -> Iterator[EngineDoor]:
    with Server(str(tmp_path / "engine.sock"), Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with EngineDoor(f"unix://{tmp_path / 'engine.sock'}", "127.0.0.1", tmp_path / "door") as made:
            yield made
        server.shutdown()


def test_a_certificate_is_shown_where_the_environment_has_one(door, tmp_path, monkeypatch):
    for name, text in door.credential("dev").items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # for requests, these come before what Docker says
        monkeypatch.delenv(name, raising=False)
    client = connect(Docker(host=door.address))
    assert client.version()["Version"] == "20.10"
    client.close()


def test_who_shows_none_is_not_spoken_with(door, monkeypatch):
    for name in ("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EngineAway, match="does not answer"):
        connect(Docker(host=door.address))
