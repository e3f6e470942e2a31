"""What measuring costs: `python -m tests.bench.measure`.

1,000 beacons a second are sent to the portal's own web process, and to one that only reads a body and answers 204 (the
floor), in turns; what counts is the processor time of either. How large the rows are after ten times as many beacons.
And the processor time of a request to the shop's menu, with its agent and without (the floor), in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from .beacons import Sent, bodies, send
from .place import ROOT, free_port, home, until
from .result import Result, median, percentile, tell

RATE, SECONDS, ROUNDS = 1000, 10.0, 3
WRITTEN_WITHIN = 30.0
BARE = "tests.bench.measure:bare"
REQUESTS, TURNS = 600, 7
TOKEN = "eyJlIjoiZSJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


async def bare(scope: dict, receive: object, send: object) -> None:
    """Reads a body and answers 204."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()  # type: ignore[operator]
            await send({"type": f"{message['type']}.complete"})  # type: ignore[operator]
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):  # type: ignore[operator]
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]


@contextlib.contextmanager
def served(*command: str, env: dict[str, str] | None = None, path: str = "/healthz") -> Iterator[tuple[int, int]]:
    """(port, process id) of a server started with `--port`."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr
    )

    def answers() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            return connection.getresponse().status > 0
        return False

    try:
        until(answers, "it answers", process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def web(app: str) -> contextlib.AbstractContextManager[tuple[int, int]]:
    return served("-m", "uvicorn", app, "--no-access-log", "--log-level", "warning")


def processor(pid: int) -> float:
    """Seconds of processor time that a process has used, its threads' included."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def flood(port: int, pid: int, what: list[bytes], done: Callable[[], bool]) -> tuple[float, Sent]:
    """(percent of a core used until all is done, what was answered) while beacons come at the rate."""
    before, began = processor(pid), time.monotonic()
    sent = asyncio.run(send(port, "/measure/beacon", what, len(what) / RATE))
    took = time.monotonic() - began
    deadline = time.monotonic() + WRITTEN_WITHIN
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)
    return 100 * (processor(pid) - before) / took, sent


def beacons() -> list[Result]:
    with home() as folder:
        from pipelines.performance import tokens
        from pipelines.performance.models import Measurement

        token = tokens.mint(tokens.key(folder), "production", "shop-1")
        what = bodies(lambda r: tokens.narrow(token, route=r, until=time.time() + 86_400), int(RATE * SECONDS))
        ours, floors, answers = [], [], Sent()

        def counted() -> int:
            return sum(Measurement.objects.filter(metric="view.navigate").values_list("count", flat=True))

        with web("portal.asgi:application") as (port, pid), web(BARE) as (floor_port, floor_pid):
            for due in range(len(what), (ROUNDS + 1) * len(what), len(what)):
                used, sent = flood(port, pid, what, lambda due=due: counted() >= due)  # type: ignore[misc]
                ours.append(used)
                floors.append(flood(floor_port, floor_pid, what, lambda: True)[0])
                answers.times += sent.times
                for status, count in sent.answers.items():
                    answers.answers[status] = answers.answers.get(status, 0) + count
        lost = len(what) * ROUNDS - counted()
        note = f"answered {answers.answers}, p99 {1000 * percentile(answers.times, 0.99):.1f} ms, not counted {lost}"
        percent = None if lost else median(ours)
        return [
            Result("1,000 beacons/s, portal", percent, median(floors), 100, "% of a core", judged="ours", note=note),
            _storage(folder),
        ]


def _storage(folder: Path) -> Result:
    """Bytes of what is stored for an hour, by how many beacons came in it."""
    from datetime import UTC, datetime, timedelta

    from pipelines.performance import rollup, tokens
    from pipelines.performance.collect import Collector
    from pipelines.performance.models import Measurement

    token = tokens.mint(tokens.key(folder), "production", "shop-1")
    sizes = []
    for count in (10_000, 100_000):
        Measurement.objects.all().delete()
        hour = time.time() // 3600 * 3600
        now = [hour]
        collector = Collector(lambda: tokens.key(folder), lambda now=now: now[0])  # type: ignore[misc]
        collector._wake = lambda: None  # type: ignore[method-assign]
        what = bodies(lambda r: tokens.narrow(token, route=r, until=time.time() + 86_400), count)
        for minute in range(60):
            now[0] = hour + 60 * minute
            part = what[minute * count // 60 : (minute + 1) * count // 60]
            for body in part:
                collector.beacon(body)
            collector.flush()
        while rollup.fold(datetime.fromtimestamp(hour, UTC) + timedelta(days=2)):
            pass
        sizes.append(sum(len(one) + 120 for one in Measurement.objects.values_list("sketch", flat=True)))
    note = f"{sizes[1]:,} bytes for 100,000 views of an hour, {sizes[0]:,} for 10,000"
    return Result("stored bytes, ten times the views", sizes[1] / 1024, sizes[0] / 1024, 1.5, "KiB", note=note)


def shop() -> Result:
    """Processor time of a request to the menu, with the agent and without, in turns."""
    with tempfile.TemporaryDirectory(prefix="burger-bench-") as folder:
        base = {
            "PATH": os.environ["PATH"],
            "SECRET_KEY": "only-for-a-benchmark-" * 3,
            "DATA_DIR": folder,
            "RELEASE": "bench",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)]),
        }
        subprocess.run(
            [sys.executable, "-m", "ordering.site.manage", "migrate", "-v", "0"], cwd=ROOT, env=base, check=True
        )
        with served("-c", SINK) as (sink, _):
            with_agent = {**base, "MEASURE_URL": f"http://127.0.0.1:{sink}", "MEASURE_TOKEN": TOKEN}
            program = ("-m", "ordering.site.serve")
            with served(*program, env=with_agent) as ours, served(*program, env=base) as floor:
                times: tuple[list[float], list[float]] = ([], [])
                for turn in range(TURNS + 1):
                    for side, found in zip((ours, floor), times, strict=True):
                        took = _requests(*side)
                        if turn:  # the first one starts what the processes keep
                            found.append(took)
    note = f"{REQUESTS} requests a turn, {TURNS} turns; the agent's own reports included"
    return Result("shop's menu with its agent", median(times[0]), median(times[1]), 1.05, "ms of processor", note=note)


def _requests(port: int, pid: int) -> float:
    """Milliseconds of processor time that a request takes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    before = processor(pid)
    for _ in range(REQUESTS):
        connection.request("GET", "/", headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"The shop answered {answer.status}.")
        answer.read()
    connection.close()
    return 1000 * (processor(pid) - before) / REQUESTS


SINK = """
import http.server, sys
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
    do_GET = lambda self: self.send_error(404)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Sink).serve_forever()
"""


if __name__ == "__main__":
    tell([*beacons(), shop()])
