"""What the rollout tests share: tiny slugs, an installation in a folder, a load generator, waiting with a
deadline."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.executors.base import Artifact, Outcome, StageSpec, Unattended, Workplace, Yielded
from pipelines.executors.rollout.executor import RolloutExecutor
from pipelines.executors.rollout.local import processes
from pipelines.executors.rollout.local.control import ensure_keeper, keeper, stop_keeper
from pipelines.executors.rollout.local.keeper import mark_of
from pipelines.executors.rollout.local.place import Place, read_json
from pipelines.executors.rollout.local.target import status
from pipelines.executors.store import Store

SERVER = """
import http.server, json, os, signal, sys, threading, time
active, lock, server = 0, threading.Lock(), None

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        global active
        with lock:
            active += 1
        try:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        finally:
            with lock:
                active -= 1
    do_POST = do_GET
    def log_message(self, *_):
        pass

def answer(path):
    if path == "/healthz":
        return (200 if os.environ.get("HEALTHY", "yes") == "yes" else 500), b"ok"
    if path == "/environ":
        return 200, json.dumps(dict(os.environ)).encode()
    if path == "/deadly":
        # Whoever is the first to be asked dies of it, after it has been asked.
        with open(os.path.join(os.environ["DATA_DIR"], "asked"), "a") as asked:
            asked.write("x")
            asked.flush()
            first = asked.tell() == 1
        if first:
            os._exit(9)
    if path == "/slow":
        time.sleep(0.4)
    if path.startswith("/errors/"):
        return 200, b"the error page"
    return 200, (os.environ["RELEASE"] + " " + os.environ.get("GREETING", "") + " " + path).encode()

def end(*_):
    threading.Thread(target=server.shutdown).start()

if os.environ.get("CRASH"):
    print("it breaks: " + os.environ["CRASH"], flush=True)
    sys.exit(3)
time.sleep(float(os.environ.get("START_SECONDS", "0")))
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
server.daemon_threads = True
signal.signal(signal.SIGTERM, end)
server.serve_forever(poll_interval=0.02)
server.socket.close()
while active:
    time.sleep(0.01)
"""


def free_ports(count: int) -> list[int]:
    """Ports of this part of the tests that nobody listens on."""
    found: list[int] = []
    for port in random.sample(range(8720, 8800), 80):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free port between 8720 and 8799")


def until(true: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@dataclass
class Installation:
    home: Path
    port: int
    runs: int = 0

    @property
    def workplace(self) -> Workplace:
        return Workplace(home=self.home, environment_ports={"staging": self.port})

    @property
    def place(self) -> Place:
        return Place(self.home, "staging")

    def slug(self, version: str) -> Artifact:
        """A slug whose digest depends on `version`."""
        tree = self.home.parent / f"tree-{version}"
        tree.mkdir(exist_ok=True)
        (tree / "serve.py").write_text(SERVER)
        (tree / "version").write_text(version)
        digest, size = Store(self.home).pack(tree)
        return Artifact("web", "slug", digest, size)

    def spec(self, version: str, strategy: Mapping[str, Any] | None = None, **changes: Any) -> StageSpec:
        """A rollout of one service. Changes of the service go in `service`, of the `with` mapping in
        `with_`."""
        self.runs += 1
        service = {
            "artifact": "web",
            "command": ["python", "-S", "serve.py", "{port}"],
            "route": "/",
            "replicas": 2,
            **changes.pop("service", {}),
        }
        with_ = {"services": {"web": service}, "progressDeadline": 15, **changes.pop("with_", {})}
        if strategy is not None:
            with_["strategy"] = strategy
        return StageSpec(
            run=self.runs,
            pipeline="shop",
            stage="rollout",
            kind="rollout",
            owner="dev",
            commit=f"{self.runs:040x}"[::-1],
            environment="staging",
            with_=with_,
            artifacts={"web": self.slug(version)},
            **changes,
        )

    def roll(
        self, spec: StageSpec, key: str = "", control: Any = None, measure: Any = None
    ) -> tuple[Outcome, list[Yielded]]:
        executor = RolloutExecutor(self.workplace, measure)
        events = list(executor.start(spec, key or f"run-{spec.run}", control or Unattended()))
        assert isinstance(events[-1], Outcome), events
        return events[-1], events

    def rolled(self, spec: StageSpec, **options: Any) -> str:
        """Roll out and expect that it succeeds; returns the release's name."""
        outcome, _ = self.roll(spec, **options)
        assert outcome.state == "succeeded", outcome
        return str(outcome.data["release"])

    def status(self) -> dict[str, Any]:
        return status(self.home, "staging")

    def replicas(self, release: str = "") -> list[dict[str, Any]]:
        seen = read_json(self.place.observed) or {}
        return [
            one
            for name, services in seen.get("sets", {}).items()
            if release in ("", name)
            for replicas in services.values()
            for one in replicas
        ]

    def get(self, path: str = "/", headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def kept(self) -> list[tuple[int, int, str, bool]]:
        return list(processes.marked(mark_of(self.home)))


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """A home of its own, and at the end not one process of it."""
    home = folder / "home"
    home.mkdir()
    made = Installation(home, free_ports(1)[0])
    try:
        yield made
    finally:
        stop_keeper(home)
        assert keeper(home) is None
        assert not made.kept()


def start_keeper(made: Installation) -> dict[str, Any]:
    return ensure_keeper(made.home, made.workplace.environment_ports)


@dataclass
class Load:
    """Clients with kept-alive connections that ask all the time. `failures` has what was not a 200."""

    port: int
    clients: int = 4
    path: str = "/"
    pause: float = 0.002
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    last: list[tuple[float, str]] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.failures)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", self.path)
                answer = connection.getresponse()
                body = answer.read().decode()
                release = answer.headers["X-Release"] or "nobody"
                if answer.status == 200 and body.startswith(release):
                    self.answers[release] += 1
                    self.last.append((time.monotonic(), release))
                else:
                    self.failures.append(f"{answer.status} {body[:80]}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            time.sleep(self.pause)
        connection.close()
