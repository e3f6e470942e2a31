"""An ASGI app over a folder that `ordering.site.build_frontend` made. It reads every file once, at start:
what it serves cannot change, and no request can name anything outside of it."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ordering.serving import App, Receive, Scope, Send

_HASHED = re.compile(r"\.[0-9a-f]{12}\.")
_GZIP = re.compile(rb"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_FOREVER = "public, max-age=31536000, immutable"
_SHORTLY = "public, max-age=60"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
# Not left to the machine's own table, so that every machine says the same.
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}


@dataclass(frozen=True, slots=True)
class File:
    body: bytes
    gzipped: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]
    etag: bytes


def load(folder: Path, *, below: str) -> dict[str, File]:
    """Every file of the folder by its address, which begins with `below`."""
    return {
        below + path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".gz" and path.name != "staticfiles.json"
    }


def load_built(root: Path, *, static_url: str) -> dict[str, File]:
    """ROOT/static below `static_url` and ROOT/errors below /errors/."""
    for folder in (root / "static", root / "errors"):
        if not folder.is_dir():
            raise SystemExit(
                f"{folder} is missing. Expected a folder made by: python -m ordering.site.build_frontend {root}"
            )
    return load(root / "static", below=static_url) | load(root / "errors", below="/errors/")


def _read(path: Path) -> File:
    body = path.read_bytes()
    compressed = path.with_name(path.name + ".gz")
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    caching = _FOREVER if _HASHED.search(path.name) else _SHORTLY
    headers = [("content-type", kind), ("cache-control", caching), ("vary", "Accept-Encoding")]
    if path.suffix == ".html":
        headers.append(("content-security-policy", _POLICY))
    return File(
        body=body,
        gzipped=compressed.read_bytes() if compressed.is_file() else None,
        headers=tuple((name.encode(), value.encode()) for name, value in headers),
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode(),
    )


def make_app(files: dict[str, File], *, release: str) -> App:
    """The app. /healthz answers 200 once it exists, because by then every file has been read."""
    always = [
        (b"x-release", release.encode("latin-1", "replace")),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, headers, body = _answer(scope, files)
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*always, *headers, length]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


def with_static(files: dict[str, File], *, below: str, release: str, otherwise: App) -> App:
    """An app that answers for the files, and hands every other request on."""
    static = make_app(files, release=release)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and scope["path"].startswith(below)
        await (static if here else otherwise)(scope, receive, send)

    return app


def _answer(scope: Scope, files: dict[str, File]) -> tuple[int, Iterable[tuple[bytes, bytes]], bytes]:
    if scope["method"] not in ("GET", "HEAD"):
        return 405, [(b"allow", b"GET, HEAD")], b""
    if scope["path"] == "/healthz":
        return (
            200,
            [(b"content-type", b"application/json"), (b"cache-control", b"no-store")],
            b'{"state": "ok"}',
        )
    asked = dict(scope["headers"])
    file = files.get(scope["path"])
    if file is None:
        missing = files.get("/errors/404.html")
        return (404, missing.headers, missing.body) if missing else (404, [], b"")
    headers = [*file.headers, (b"etag", file.etag)]
    if file.etag in asked.get(b"if-none-match", b""):
        return 304, headers, b""
    if file.gzipped is not None and _GZIP.search(asked.get(b"accept-encoding", b"")):
        return 200, [*headers, (b"content-encoding", b"gzip")], file.gzipped
    return 200, headers, file.body
