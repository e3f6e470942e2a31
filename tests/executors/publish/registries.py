"""Real registries on this machine: Debian's docker-registry with TLS, passwords or tokens, and a proxy that fails."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from pipelines.executors.connections import Registry
from tests.cluster import pki

USER, PASSWORD = "robot-of-dev", "pa/ss wörd+7%"
MISSING = "docker-registry and htpasswd are missing: apt-get install docker-registry apache2-utils"


def installed() -> bool:
    return bool(shutil.which("docker-registry") and shutil.which("htpasswd"))


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A registry that answers. `log` is what it wrote."""

    address: str
    ca: Path
    folder: Path

    def registry(self, **more: Any) -> Registry:
        return Registry(self.address, self.ca, **more)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def serve(folder: Path, *, host: str = "127.0.0.1", port: int = 0, auth: dict[str, Any] | None = None,
          trusts: bool = True) -> Iterator[Running]:  # fmt: skip
    """docker-registry with a certificate of an authority in `folder`. `auth` is its own setting; passwords if left
    out, nothing if empty."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port(host)
    pair = pki.issue(folder, "registry", "registry", hosts=[host, "localhost"])
    if auth is None:
        auth = {"htpasswd": {"realm": "here", "path": str(htpasswd(folder))}}
    config = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {
            "addr": f"{host}:{port}", "relativeurls": True, "secret": "tests",
            "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
        },
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(config | ({"auth": auth} if auth else {})))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log, env={"OTEL_SDK_DISABLED": "1"}
        )
    try:
        wait_for(host, port, process)
        yield Running(f"{host}:{port}", folder / "ca.crt", folder)
    finally:
        process.terminate()
        process.wait(10)


def htpasswd(folder: Path) -> Path:
    path = folder / "htpasswd"
    command = ["htpasswd", "-B", "-C", "4", "-i", "-c", path, USER]
    subprocess.run(command, input=PASSWORD.encode(), check=True, capture_output=True)
    return path


def wait_for(host: str, port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 20
    while True:
        with suppress(OSError), socket.create_connection((host, port), 1):
            return
        assert time.monotonic() < deadline, f"nothing listens on {host}:{port}"
        assert process is None or process.poll() is None, "docker-registry ended"
        time.sleep(0.02)


@contextmanager
def https(folder: Path, name: str, answer: Callable[[BaseHTTPRequestHandler], None], host: str) -> Iterator[int]:
    """An HTTPS server whose every request is answered by `answer`; yields its port."""
    pair = pki.issue(folder, name, name, hosts=[host, "localhost"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", lambda request: answer(request))
    server = Server((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


# --- a token service --------------------------------------------------------------------------------------------


@dataclass
class TokenService:
    """Gives tokens to USER with PASSWORD. `seen` and `agents` are the paths asked for and by whom,
    `lifetime` is in seconds; `allows` cuts what is granted."""

    host: str
    port: int = 0
    lifetime: int = 300
    allows: Callable[[str, str], bool] = lambda *_: True
    seen: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    pair: Any = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def auth(self) -> dict[str, Any]:
        return {
            "token": {
                "realm": f"https://{self.address}/token", "service": "test", "issuer": "tests",
                "rootcertbundle": str(self.pair.certificate.with_name("ca.crt")),
            }
        }  # fmt: skip

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.seen.append(request.path)
        self.agents.append(request.headers.get("User-Agent", ""))
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return reply(request, 401, b"{}")
        query = parse_qs(urlsplit(request.path).query)
        token = self._token([scope for line in query.get("scope", []) for scope in line.split()])
        body = {"token": token, "expires_in": self.lifetime}
        return reply(request, 200, json.dumps(body).encode(), Content_Type="application/json")

    def _token(self, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = [action for action in actions.split(",") if self.allows(name, action)]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        certificate = ssl.PEM_cert_to_DER_cert(self.pair.certificate.read_text())
        claims = {
            "iss": "tests", "sub": USER, "aud": "test", "nbf": now - 10, "iat": now, "exp": now + self.lifetime,
            "jti": str(time.monotonic_ns()), "access": access,
        }  # fmt: skip
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
        return signed(header, claims, self.pair.key.read_bytes())


def signed(header: dict[str, Any], claims: dict[str, Any], key_pem: bytes) -> str:
    """A JSON web token with an ES256 signature."""

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    message = f"{text(json.dumps(header).encode())}.{text(json.dumps(claims).encode())}"
    r, s = utils.decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{message}.{text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@contextmanager
def token_service(folder: Path, host: str = "127.0.0.1") -> Iterator[TokenService]:
    folder.mkdir(parents=True, exist_ok=True)
    service = TokenService(host, pair=pki.issue(folder, "signer", "signer"))
    with https(folder, "tokens", service.answer, host) as port:
        service.port = port
        yield service


# --- a registry that misbehaves ---------------------------------------------------------------------------------


@dataclass
class Seen:
    method: str
    path: str
    authorization: str


@dataclass
class Proxy:
    """Stands before a real registry. `meddle` may answer a request itself (True), or let it through (False); the
    registry's Location headers then lead to `request.leads_to`, if it sets that."""

    behind: Running
    address: str = ""
    meddle: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
    seen: list[Seen] = field(default_factory=list)

    def registry(self, **more: Any) -> Registry:
        return Registry(self.address, self.behind.ca, **more)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.seen.append(Seen(request.command, request.path, request.headers.get("Authorization", "")))
        if not self.meddle(request):
            self._forward(request)

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        context = ssl.create_default_context(cafile=str(self.behind.ca))
        onward = http.client.HTTPSConnection(self.behind.address, context=context, timeout=30)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "transfer-encoding")}
        if "chunked" in request.headers.get("Transfer-Encoding", ""):
            body: Any = chunks(request)
            headers["Transfer-Encoding"] = "chunked"
        else:
            body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        onward.request(request.command, request.path, body, headers, encode_chunked=True)
        answer = onward.getresponse()
        content = answer.read()
        skipped = ("content-length", "transfer-encoding", "connection")
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() == "location":
                value = getattr(request, "leads_to", "") + value
            if name.lower() not in skipped:
                request.send_header(name, value)
        length = answer.getheader("Content-Length") if request.command == "HEAD" else None
        request.send_header("Content-Length", length or str(len(content)))
        request.end_headers()
        request.wfile.write(content)
        onward.close()


def chunks(request: BaseHTTPRequestHandler) -> Iterator[bytes]:
    """The pieces of a body that comes in chunks."""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        yield request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()


@contextmanager
def proxy(behind: Running, host: str = "127.0.0.1") -> Iterator[Proxy]:
    between = Proxy(behind)
    with https(behind.folder, "proxy", between.answer, host) as port:
        between.address = f"{host}:{port}"
        yield between


# --- images without an engine -----------------------------------------------------------------------------------


def put_image(running: Running, repository: str, tag: str, *layers: bytes, config: bytes = b"{}") -> tuple[str, str]:
    """Write an image into a registry that takes USER's password; returns the digests of manifest and config."""
    base = f"https://{running.address}/v2/{repository}"
    context = ssl.create_default_context(cafile=str(running.ca))
    with httpx.Client(verify=context, auth=(USER, PASSWORD)) as client:

        def blob(content: bytes, kind: str) -> dict[str, Any]:
            name = digest_of(content)
            place = urljoin(base, client.post(f"{base}/blobs/uploads/").headers["location"])
            assert client.put(f"{place}&digest={name}", content=content).status_code == 201
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": name, "size": len(content)}

        parts = {"config": blob(config, "config.v1+json"), "layers": [blob(each, "layer.v1.tar") for each in layers]}
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, **parts}).encode()
        answer = client.put(f"{base}/manifests/{tag}", content=manifest, headers={"Content-Type": kind})
        assert answer.status_code == 201, answer.text
    return digest_of(manifest), digest_of(config)


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
