"""Webhooks against the real web server: what a client of any temper can do to it, and a real push."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlsplit

import httpx
import pytest

from pipelines.webhooks import post_receive
from pipelines.webhooks.install import HookError, install_hook
from tests.api.site import Site, eventually, git, serve
from tests.webhooks.messages import MAKERS

MIB = 2**20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp("site")) as site:
        yield site


def runs(site: Site) -> list[str]:
    return [run["commit"] for run in site.get("runs")["results"]]


def test_fifty_parallel_copies_of_one_delivery_are_one_run(site):
    commit = git(site.repository, "rev-parse", "main")
    # As the provider sends it: `head_commit` says what `after` is.
    message = MAKERS["github"](site.secret, after=commit, head_commit=None, delivery="fifty")

    def send(_: int) -> httpx.Response:
        return httpx.post(site.url + message.path, content=message.body, headers=message.headers, timeout=60)

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(send, range(50)))
    assert sorted({answer.status_code for answer in answers}) == [200, 202]
    assert sum(answer.status_code == 202 for answer in answers) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1
    delivery = answers[0].json()["id"]
    eventually(lambda: not site.get(f"deliveries/{delivery}")["open"])
    assert runs(site) == [commit]


def receive(connection: socket.socket) -> bytes:
    """What comes next, nothing at the end; how the server hangs up on a client in mid-sentence does not matter."""
    try:
        return connection.recv(65_536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_25_mib_is_refused_early_and_the_server_goes_on(site, chunked):
    address = urlsplit(site.url)
    sent = 0
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {25 * MIB}"
        connection.sendall(f"POST /hooks/github/demo HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n\r\n".encode())
        part = b" " * 65_536
        framed = b"10000\r\n" + part + b"\r\n" if chunked else part
        connection.settimeout(0.05)
        answer = b""
        while sent < 25 * MIB and not answer:
            try:
                connection.sendall(framed)
                sent += len(part)
                if sent > MIB:
                    answer = connection.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                break
        connection.settimeout(20)
        while part := receive(connection):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"larger than 1 MiB" in answer
    assert sent < 20 * MIB
    assert httpx.get(f"{site.url}/api/me").status_code == 401


def test_an_ordinary_client_with_25_mib_hears_why(site):
    answer = httpx.post(f"{site.url}/hooks/github/demo", content=b"x" * (25 * MIB), timeout=60)
    assert (answer.status_code, "1 MiB" in answer.json()["detail"]) == (413, True)
    answer = httpx.post(f"{site.url}/api/lint", content=b"x" * (25 * MIB), timeout=60)
    assert answer.status_code == 413


def test_a_body_that_never_ends_holds_up_nobody_else(site):
    address = urlsplit(site.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as slow:
        slow.sendall(b"POST /hooks/github/demo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx")
        begun = time.monotonic()
        assert httpx.get(f"{site.url}/api/me").status_code == 401
        assert time.monotonic() - begun < 5


def test_a_real_push_with_the_installed_hook_becomes_a_run(site, monkeypatch):
    git(site.repository, "config", "burger.o.lga@server.username", "olga")
    monkeypatch.setenv("GL_USERNAME", "o.lga@server")
    hook = install_hook(site.repository, url=f"{site.url}/hooks/git/demo", secret=site.secret)
    assert (site.repository / "burger-secret").stat().st_mode & 0o077 == 0
    assert site.secret not in hook.read_text()
    commit = site.commit("A push with a hook")
    found = eventually(lambda: [run for run in site.get("runs")["results"] if run["commit"] == commit])
    assert found[0]["subject"] == "A push with a hook"
    assert found[0]["author"].startswith("Dora <dora@example.com>, pushed by olga")
    assert found[0]["requested_by"] == "olga"
    git(site.home / "checkout", "push", "--quiet", "origin", "HEAD:refs/heads/short-lived")
    git(site.home / "checkout", "push", "--quiet", "origin", ":short-lived")


def test_a_portal_that_is_away_or_refuses_does_not_hold_up_a_push(site, tmp_path):
    for url, secret in (("http://127.0.0.1:1/hooks/git/demo", site.secret), (f"{site.url}/hooks/git/demo", "wrong")):
        install_hook(site.repository, url=url, secret=secret)
        commit = site.commit("Nobody hears this")
        assert git(site.repository, "rev-parse", "main") == commit
        assert commit not in runs(site)
    install_hook(site.repository, url=f"{site.url}/hooks/git/demo", secret=site.secret)


def test_a_hook_of_somebody_else_is_left_alone(tmp_path):
    with pytest.raises(HookError, match="no git repository"):
        install_hook(tmp_path, url="http://x", secret="s")
    git(tmp_path, "init", "--quiet", "--bare")
    (tmp_path / "hooks" / "post-receive").parent.mkdir(exist_ok=True)
    (tmp_path / "hooks" / "post-receive").write_text("#!/bin/sh\n")
    with pytest.raises(HookError, match="not ours"):
        install_hook(tmp_path, url="http://x", secret="s")


def test_a_portal_that_is_busy_is_asked_again_under_the_same_id(tmp_path, monkeypatch):
    """As it says itself: a locked database, or a proxy before a portal that is being started."""
    told: list[str] = []

    class Portal(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            told.append(self.headers["X-Burger-Delivery"])
            self.send_response(503 if len(told) < 3 else 202)
            self.end_headers()
            self.wfile.write(b'{"detail": "Taken."}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Portal)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        monkeypatch.setattr(post_receive.time, "sleep", lambda _: None)
        url = f"http://127.0.0.1:{server.server_port}/hooks/git/demo"
        push = ("0" * 40, "0" * 40, "refs/heads/main")
        assert post_receive.announce_patiently(*push, url=url, secret=b"s") == "Taken."
        assert (len(told), len(set(told))) == (3, 1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
