"""What the tests of `build` share: workspaces, stages, and engines to build with."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from pipelines.executors.base import Artifact, Log, Outcome, Produced, Progress, StageSpec, Unattended, Workplace
from pipelines.executors.build.executor import BuildExecutor
from pipelines.executors.store import Store
from tests.cluster.own_engine import BASE

COMMIT = "c" * 40
SHELL = f"ARG BASE={BASE}\nFROM ${{BASE}}\n"
# A host that no request leaves for: the engine of these tests has no network.
ABSENT = "registry.invalid/nothing:1"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(slots=True)
class Result:
    outcome: Outcome
    artifact: Artifact | None
    log: str
    progress: list[Progress] = field(default_factory=list)


class Site:
    """A state folder whose connections.yaml names an engine, and `registries` by their addresses."""

    def __init__(self, home: Path, host: str, **docker: Any) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.connect(host, **docker)
        self.executor = BuildExecutor(Workplace(home))

    def connect(self, host: str, **docker: Any) -> None:
        listed: dict[str, Any] = {address: {} for address in docker.pop("registries", ())}
        content = {"docker": {"host": host, **docker}, "registries": listed}
        (self.home / "connections.yaml").write_text(yaml.safe_dump(content))

    def secret(self, name: str, value: str) -> None:
        path = self.home / "secrets" / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
        path.chmod(0o600)

    def workspace(self, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> Artifact:
        tree = self.home.parent / f"tree-{time.monotonic_ns()}"
        for name, text in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, target in (links or {}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).symlink_to(target)
        return self.packed(tree)

    def packed(self, tree: Path, **chosen: Any) -> Artifact:
        digest, size = Store(self.home).pack(tree, **chosen)
        return Artifact("source", "workspace", digest, size, {"commit": COMMIT})

    def spec(self, workspace: Artifact, *, ref: str = "refs/heads/main", **changes: Any) -> StageSpec:
        fields = {name: changes.pop(name) for name in ("stage", "pipeline", "timeout", "released") if name in changes}
        fields = {"stage": "build-shop", "pipeline": "shop", **fields}
        return StageSpec(
            run=7, kind="build", owner="dev", commit=COMMIT, ref=ref, artifacts={"source": workspace},
            with_={"component": "shop", **changes}, **fields,
        )  # fmt: skip

    def build(self, spec: StageSpec, key: str = "k-1", control: Any = None) -> Result:
        return gather(self.executor.start(spec, key, control or Unattended()))


def gather(events: Any) -> Result:
    seen = list(events)
    outcomes = [event for event in seen if isinstance(event, Outcome)]
    assert outcomes == seen[-1:], f"exactly one Outcome, and last: {seen}"
    made = [event.artifact for event in seen if isinstance(event, Produced)]
    return Result(
        outcomes[0],
        made[0] if made else None,
        "".join(event.text for event in seen if isinstance(event, Log)),
        [event for event in seen if isinstance(event, Progress)],
    )


class Running:
    """A build in a thread, so that a test can do something to it meanwhile."""

    def __init__(self, site: Site, spec: StageSpec, key: str = "k-1") -> None:
        self.events: list[Any] = []
        self.stop = False
        self._thread = threading.Thread(target=self._run, args=(site, spec, key), daemon=True)
        self._thread.start()

    def _run(self, site: Site, spec: StageSpec, key: str) -> None:
        for event in site.executor.start(spec, key, Unattended(stop=lambda: self.stop)):
            self.events.append(event)

    def has_said(self, text: str) -> bool:
        return text in "".join(event.text for event in list(self.events) if isinstance(event, Log))

    def result(self, seconds: float = 90) -> Result:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still building after {seconds} s: {self.events[-3:]}"
        return gather(self.events)


def processes(word: str) -> list[int]:
    """The pids of living processes, of containers too, that have `word` among their arguments."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            words = (path / "cmdline").read_bytes().split(b"\0") if path.name.isdigit() else []
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(path.name))
    return found


@contextmanager
def resetting() -> Iterator[int]:
    """The port of a server on this machine that breaks each connection off once it was asked something."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
                connection.recv(100)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            except OSError:
                if server.fileno() < 0:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def config_of(inspected: str) -> dict[str, Any]:
    return dict(json.loads(inspected)[0]["Config"])


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of a page of this machine; (0, "") where nobody answers."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5)
    except httpx.HTTPError:
        return 0, ""
    return answer.status_code, answer.text
