"""How long an event takes from a worker's transaction to a client's socket.

The floor is a bare asyncio `websockets` server that broadcasts what another process writes to its standard input:
no database, no sign-in, no order to keep. Both are watched by the same client process, in turns, at the same rate.

    python -m tests.bench.live [--quick] [--json FILE]

Each result is {name, ours, floor, ratio, goal}: p99 in milliseconds, the median of the rounds. Times of clients that
did not get everything are worth nothing, so then `ours` is null and the command ends with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
STAMP = re.compile(rb"@(\d{19})@")
TEXT = 100  # characters of an event's text beside its time stamp
QUIET = 15.0  # seconds without an event after which clients give up


@dataclass(frozen=True)
class Load:
    sockets: int
    rate: int  # events a second
    seconds: float
    goal: float  # ours / floor

    @property
    def events(self) -> int:
        return int(self.rate * self.seconds)

    @property
    def name(self) -> str:
        return f"live: {self.sockets} sockets, {self.rate} events/s, p99 (ms)"


LOADS = (Load(200, 5, 12, 2.5), Load(500, 50, 8, 3.0))
QUICK = (Load(20, 5, 2, 2.5), Load(20, 50, 2, 3.0))


# --- the clients: as little work as possible, since they share the machine with what is measured ---


class Client(asyncio.Protocol):
    """A WebSocket client that only looks for time stamps in what it gets."""

    def __init__(self, url: str, cookie: str, crowd: Crowd) -> None:
        self.crowd = crowd
        path = "/" + url.split("/", 3)[3]
        host = url.split("/")[2]
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"Origin: http://{host}", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
        self.request = "\r\n".join([*lines, f"Cookie: {cookie}", "", ""]).encode()
        self.buffer = b""
        self.open = False
        self.got = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        self.buffer += data
        if not self.open:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head.split(b"\r\n", 1)[0], head
            self.open, self.buffer = True, rest
        while self._take_frame(now):
            pass

    def _take_frame(self, now: int) -> bool:
        buffer = self.buffer
        if len(buffer) < 2:
            return False
        opcode, length, start = buffer[0] & 15, buffer[1], 2
        if length > 125:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return False
            length = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + length:
            return False
        payload, self.buffer = buffer[start : start + length], buffer[start + length :]
        if opcode == 9:  # a ping: the same back, masked by nothing
            self.transport.write(bytes([0x8A, 0x80 | length, 0, 0, 0, 0]) + payload)
        elif opcode == 1:
            self.crowd.got(self, payload, now)
        return True


class Crowd:
    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.times: list[int] = []
        self.last_news = time.monotonic()
        self.ready = self.finished = 0

    def got(self, client: Client, payload: bytes, now: int) -> None:
        stamps = STAMP.findall(payload)
        if not stamps:
            self.ready += 1
            return
        self.last_news = time.monotonic()
        self.times += [now - int(stamp) for stamp in stamps]
        client.got += len(stamps)
        self.finished += client.got == self.expected

    async def watch(self, url: str, cookie: str, sockets: int) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        host, port = url.split("/")[2].split(":")
        for _ in range(sockets):
            await loop.create_connection(lambda: Client(url, cookie, self), host, int(port))
        while self.ready < sockets:
            await asyncio.sleep(0.02)
        print("ready", flush=True)
        self.last_news = time.monotonic()
        while self.finished < sockets and time.monotonic() - self.last_news < QUIET:
            await asyncio.sleep(0.05)
        times = sorted(self.times) or [0]
        return {
            "delivered": len(self.times),
            "p50": times[len(times) // 2] / 1e6,
            "p99": times[int(len(times) * 0.99)] / 1e6,
        }


def run_clients(url: str, cookie: str, sockets: int, expected: int) -> None:
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    print(json.dumps(asyncio.run(Crowd(expected).watch(url, cookie, sockets))), flush=True)


# --- the floor ---


async def floor_server() -> None:
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    connections: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        await connection.send("welcome")
        connections.add(connection)
        await connection.wait_closed()
        connections.discard(connection)

    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with serve(handler, HOST, 0) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        while line := await reader.readline():
            broadcast(connections, line.decode())


# --- the rounds ---


def python(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.live", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ, **options)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def watch(load: Load, url: str, cookie: str, publish: Any) -> dict[str, Any]:
    with ended(python("clients", url, cookie, str(load.sockets), str(load.events))) as clients:
        assert clients.stdout
        assert clients.stdout.readline() == "ready\n", "the clients could not connect"
        publish()
        result: dict[str, Any] = json.loads(clients.stdout.readline())
        return result


def measure_floor(load: Load) -> dict[str, Any]:
    with ended(python("floor", stdin=subprocess.PIPE)) as server:
        assert server.stdin
        assert server.stdout
        port = server.stdout.readline().strip()

        def publish() -> None:
            begun = time.monotonic()
            for i in range(load.events):
                time.sleep(max(0.0, begun + i / load.rate - time.monotonic()))
                data = {"text": f"@{time.time_ns()}@" + "x" * TEXT}
                event = {"seq": i, "kind": "log", "stage": 1, "attempt": 1, "data": data}
                server.stdin.write(json.dumps({"type": "events", "last": i, "events": [event]}) + "\n")
                server.stdin.flush()

        return watch(load, f"ws://{HOST}:{port}/", "", publish)


def measure_ours(load: Load, site: Any, session: str) -> dict[str, Any]:
    pk, number = site.backstage.run()
    url = f"ws://{HOST}:{site.port}/ws/runs/demo/{number}/"
    # A worker's first transaction opens its connection; that is no part of what is compared.
    site.backstage.append(run=site.backstage.run()[0], count=5)

    def publish() -> None:
        site.backstage.append(run=pk, count=load.events, size=TEXT, every=1 / load.rate)

    return watch(load, url, site.cookie(session), publish)


def compare(load: Load, rounds: int, site: Any, session: str) -> dict[str, Any]:
    expected = load.sockets * load.events
    floors, ours, complete = [], [], True
    for _ in range(rounds):
        floors.append(measure_floor(load)["p99"])
        result = measure_ours(load, site, session)
        ours.append(result["p99"])
        complete = complete and result["delivered"] == expected
        print(f"{load.name}: {result}, floor {floors[-1]:.1f}", file=sys.stderr)
    floor, own = statistics.median(floors), statistics.median(ours)
    return {
        "name": load.name,
        "ours": round(own, 2) if complete else None,
        "floor": round(floor, 2),
        "ratio": round(own / floor, 2) if complete else None,
        "goal": load.goal,
    }


PAGE = """<!doctype html><title>live</title><main data-live="/ws/runs/demo/{number}/" data-live-since="0">
<p data-live-status></p><pre data-live-log="{stage}"></pre></main><script src="/static/portal/live.js"></script>"""
# When each line came out of a socket, and when it was in the page.
WATCH = """(() => {
  window.came = {}; window.shown = {};
  const note = (into, text) => {
    for (const [, line] of text.matchAll(/line (\\d+)\\b/g)) into[line] ??= performance.now();
  };
  const add = EventTarget.prototype.addEventListener;
  window.WebSocket = class extends WebSocket {
    constructor(...given) { super(...given); add.call(this, "message", (event) => note(window.came, event.data)); }
  };
  new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach((node) =>
    node.nodeType === 3 && note(window.shown, node.data)))).observe(document, { childList: true, subtree: true });
})()"""


def measure_page(site: Any, session: str, lines: int) -> dict[str, Any]:
    """From a line's frame to the line in the page, in a real browser; what is allowed stands in the floor's place."""
    from playwright.sync_api import sync_playwright

    pk, number = site.backstage.run()
    stage = site.backstage.stage(run=pk, name="build")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(permissions=["local-network-access"])
        name, _, value = site.cookie(session).partition("=")
        context.add_cookies([{"name": name, "value": value, "url": site.own_origin}])
        page = context.new_page()
        page.add_init_script(WATCH)
        body = PAGE.format(number=number, stage=stage)
        page.route("**/page", lambda route: route.fulfill(body=body, content_type="text/html"))
        page.goto(f"{site.own_origin}/page")
        page.wait_for_selector("[data-state=live]")
        site.backstage.write(run=pk, stage=stage, lines=[f"line {i}" for i in range(lines)])
        page.wait_for_function(f"Object.keys(window.shown).length === {lines}", timeout=30_000)
        late = page.evaluate("Object.entries(window.shown).map(([line, at]) => at - window.came[line])")
        browser.close()
    p99 = sorted(late)[int(len(late) * 0.99)]
    name = "live: text in the page after its frame came, p99 (ms)"
    return {"name": name, "ours": round(p99, 2), "floor": 100.0, "ratio": round(p99 / 100, 3), "goal": 1.0}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few sockets, for a look at whether it works at all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=0, help="of the web process; 0: any free one")
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args(arguments)

    from tests.portal.live_site import live_site

    with tempfile.TemporaryDirectory(prefix="burger-bench-") as home, live_site(Path(home), port=options.port) as site:
        session = site.backstage.person(name="watcher")
        loads = QUICK if options.quick else LOADS
        results = [compare(load, 1 if options.quick else options.rounds, site, session) for load in loads]
        results.append(measure_page(site, session, 100 if options.quick else 1000))
    text = json.dumps(results, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0 if all(result["ours"] is not None for result in results) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["clients"]:
        run_clients(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    elif sys.argv[1:2] == ["floor"]:
        asyncio.run(floor_server())
    else:
        sys.exit(main())
