"""Keeps one environment as desired. Level-triggered: each tick compares what is with what shall be."""

from __future__ import annotations

import secrets as random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipelines.executors.rollout.local import processes
from pipelines.executors.rollout.local.config import Config, read_access, read_config, signature
from pipelines.executors.rollout.local.desired import DesiredState, read_desired, stamp
from pipelines.executors.rollout.local.health import Checker, Result
from pipelines.executors.rollout.local.output import Outputs
from pipelines.executors.rollout.local.place import Place, read_json, write_json
from pipelines.executors.rollout.local.replica import (
    SETTLED,
    Replica,
    backoff,
    command,
    environment,
    hidden,
    next_moves,
    revision,
)
from pipelines.executors.rollout.local.router import route
from pipelines.executors.rollout.local.traefik import Traefik, free_port
from pipelines.executors.secrets import SecretError
from pipelines.executors.store import Store, StoreError

BUSY = 0.05
SOON = 0.02
IDLE = 1.0
CHECK_EVERY = 3.0
# A request that the router took in just before its new routes is on its way to the replica for this long.
SETTLE = 0.1
MISSES_TO_LEAVE_TRAFFIC = 2
MISSES_TO_RESTART = 5
SLOW_START = 2.0


@dataclass(slots=True)
class EnvironmentKeeper:
    """`hosts` are the names under which customers reach the environment, for ALLOWED_HOSTS. `away` is for the
    router, which see. `collector` is where replicas report what they measure, "" for nowhere."""

    place: Place
    store: Store
    router: Traefik
    checker: Checker
    mark: str
    watch: Callable[[int], None]
    hosts: str = "127.0.0.1,localhost"
    away: tuple[str, str] = ("", "")
    collector: str = ""
    replicas: dict[str, Replica] = field(default_factory=dict)
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    outputs: Outputs = field(init=False)
    state: DesiredState = field(default_factory=DesiredState)
    config: Config = field(default_factory=Config)
    allow: tuple[str, ...] = ()
    access_problem: str = ""
    weights: Mapping[str, int] = field(default_factory=dict)
    in_force: bool = False
    checked: dict[str, float] = field(default_factory=dict)
    left_at: dict[str, float] = field(default_factory=dict)
    seen: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outputs = Outputs(self.watch)

    def adopt(self, found: Mapping[str, tuple[int, int]]) -> set[str]:
        """Take over the replicas of a keeper that is gone; returns the identities that are known here."""
        known = set()
        for data in read_json(self.place.memory) or []:
            replica = Replica(**data)
            self.replicas[replica.id] = replica
            if replica.state == "backoff":
                # If it runs all the same, its keeper died while starting it, and nobody knows its port.
                continue
            identity = self._identity(replica)
            known.add(identity)
            replica.pid, replica.started = found.get(identity, (replica.pid, replica.started))
            self.watch(replica.pid)
            self.watch(replica.output_pid)
        return known

    def tick(self, results: list[Result]) -> float:
        """Look, act, write down; returns the seconds until the next look is due."""
        now = time.time()
        self._read()
        self._collect_deaths(now)
        self._take_results(results, now)
        self._plan()
        self._start_due(now)
        self._route()
        self._stop_leaving(now)
        self._check_health(now)
        self._write(now)
        self.outputs.tidy(self.place.logs, {self._log(replica) for replica in self.replicas.values()}, now)
        return self._delay(now)

    # --- reading ----------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._changed("desired", stamp(self.place)):
            self.state = read_desired(self.place)
        if self._changed("config", signature(self.place)):
            config = read_config(self.place)
            if config.problem and self.config.digest:
                # Replicas keep what they have until somebody has mended the file.
                config = Config(self.config.values, self.config.digest, config.problem)
            self.config = config
            self.allow, self.access_problem = read_access(self.place)

    def _changed(self, what: str, stamp: object) -> bool:
        changed = self.seen.get(what, self) != stamp
        self.seen[what] = stamp
        return changed

    def _collect_deaths(self, now: float) -> None:
        for replica in list(self.replicas.values()):
            if not replica.pid:
                continue
            if processes.alive(replica.pid, replica.started):
                self.outputs.keep(replica, self._log(replica), partial(self._hidden, replica))
                continue
            child = self.children.pop(replica.id, None)
            code = child.wait() if child else None
            processes.end_remains(self.mark, self._identity(replica))
            self.outputs.finish(replica)
            replica.pid = replica.started = 0
            if not replica.going:
                self._forget(replica)
                continue
            settled = replica.ready and now - replica.since > SETTLED
            replica.restarts += 1
            replica.deaths_in_row = 1 if settled else replica.deaths_in_row + 1
            how = "ended" if code is None else f"ended with code {code}" if code >= 0 else f"signal {-code}"
            replica.error = self._with_last_words(replica, how)
            replica.state, replica.since = "backoff", now
            replica.next_start = now + backoff(replica.deaths_in_row)

    def _take_results(self, results: list[Result], now: float) -> None:
        for result in results:
            replica = self.replicas.get(result.replica)
            if replica is None or replica.pid != result.pid or not replica.going:
                continue
            if not result.problem and processes.alive(replica.pid, replica.started):
                replica.misses, replica.error = 0, ""
                if not replica.ready:
                    replica.state, replica.since = "ready", now
                continue
            if replica.state == "starting":
                slow = now - replica.since > SLOW_START
                if slow:
                    replica.error = self._with_last_words(replica, result.problem)
                elif not replica.deaths_in_row:
                    replica.error = result.problem
                # Else what it died of says more than that it does not answer yet.
                continue
            replica.misses += 1
            if replica.misses >= MISSES_TO_LEAVE_TRAFFIC and replica.ready:
                replica.state, replica.since, replica.error = "unready", now, result.problem
            if replica.misses >= MISSES_TO_RESTART:
                processes.send(replica.pid, replica.started, signal.SIGKILL, group=True)

    # --- acting -----------------------------------------------------------------------------------

    def _plan(self) -> None:
        sets = self.state.current_sets(time.time())
        wanted = {(r, s): n for r, services in sets.items() for s, n in services.items()}
        present = {(one.release, one.service) for one in self.replicas.values() if one.going}
        for release, service in sorted(present | set(wanted)):
            self._plan_set(release, service, wanted.get((release, service), 0))

    def _plan_set(self, release: str, service: str, count: int) -> None:
        going = [r for r in self.replicas.values() if (r.release, r.service) == (release, service) and r.going]
        definition = self.state.releases.get(release)
        if not count or definition is None or service not in definition.services:
            for replica in going:
                self._leave(replica)
            return
        current = revision(definition, definition.services[service], self.config)
        fresh = [(r.id, r.ready) for r in going if r.revision == current]
        stale = [(r.id, r.ready) for r in going if r.revision != current]
        start, leave = next_moves(count, fresh, stale)
        for identifier in leave:
            self._leave(self.replicas[identifier])
        for _ in range(start):
            identifier = f"{release}.{service}.{random.token_hex(3)}"
            drain = definition.services[service].drain
            self.replicas[identifier] = Replica(identifier, release, service, current, drain=drain)

    def _leave(self, replica: Replica) -> None:
        if not replica.pid:
            self._forget(replica)
        else:
            replica.state, replica.since = "leaving", time.time()

    def _forget(self, replica: Replica) -> None:
        self.replicas.pop(replica.id, None)
        self.checked.pop(replica.id, None)
        self.left_at.pop(replica.id, None)

    def _start_due(self, now: float) -> None:
        due = [r for r in self.replicas.values() if r.state == "backoff" and r.next_start <= now]
        if due:
            # Known before it runs: a keeper that dies in between leaves a mark to find the process by.
            self._remember()
        for replica in due:
            self._start(replica, now)

    def _start(self, replica: Replica, now: float) -> None:
        release = self.state.releases[replica.release]
        service = release.services[replica.service]
        replica.revision = revision(release, service, self.config)
        replica.port, replica.misses = free_port(), 0
        try:
            slug = self.store.unpacked(service.digest)
            self.place.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            env = environment(
                release,
                service,
                replica,
                slug=slug,
                place=self.place,
                config=self.config.values,
                hosts=self.hosts,
                collector=self.collector,
            )
            env[processes.MARK] = f"{self.mark}:{self._identity(replica)}"
            argv = command(service, replica, slug, self.place)
            output = self.outputs.begin(replica, self._log(replica), self._hidden(replica, env))
            child = processes.spawn(argv, cwd=slug, env=env, output=output)
        except (OSError, SecretError, StoreError, ValueError) as error:
            self.outputs.finish(replica)
            replica.deaths_in_row += 1
            replica.restarts += 1
            replica.error = str(error)
            replica.next_start = now + backoff(replica.deaths_in_row + 1)
            return
        self.children[replica.id] = child
        replica.pid, replica.started = child.pid, processes.started(child.pid)
        replica.state, replica.since = "starting", now
        self.watch(replica.pid)

    def _route(self) -> None:
        ready: dict[tuple[str, str], list[int]] = {}
        for replica in self.replicas.values():
            if replica.ready and replica.release in self.state.releases:
                ready.setdefault((replica.release, replica.service), []).append(replica.port)
        routing = route(self.place.name, self.state, ready, self.allow, away=self.away)
        self.router.write(self.place.name, routing)
        # Asked once in a tick, so that everything that depends on it agrees.
        self.in_force = self.router.in_force(self.place.name)
        if self.in_force:
            self.weights = routing.weights

    def _stop_leaving(self, now: float) -> None:
        """SIGTERM once the router sends nothing any more, SIGKILL once its time is over."""
        out = self.in_force or not self.router.running
        for replica in self.replicas.values():
            if replica.state == "leaving" and out:
                if now - self.left_at.setdefault(replica.id, now) >= SETTLE:
                    processes.send(replica.pid, replica.started, signal.SIGTERM)
                    replica.state, replica.kill_at = "stopping", now + replica.drain
            elif replica.state == "stopping" and now >= replica.kill_at:
                processes.send(replica.pid, replica.started, signal.SIGKILL, group=True)

    def _check_health(self, now: float) -> None:
        for replica in self.replicas.values():
            if replica.state not in ("starting", "ready", "unready"):
                continue
            every = CHECK_EVERY
            if replica.state != "ready" or replica.misses:
                every = BUSY if now - replica.since < 3 else 0.5
            if now - self.checked.get(replica.id, 0.0) >= every:
                self.checked[replica.id] = now
                service = self.state.releases[replica.release].services[replica.service]
                self.checker.check(replica.id, replica.pid, replica.port, service.health)

    def stop_all(self) -> None:
        """Every replica ends: SIGTERM, and SIGKILL after its own drain time."""
        now = time.time()
        for replica in self.replicas.values():
            processes.send(replica.pid, replica.started, signal.SIGTERM)
            replica.kill_at = now + replica.drain
        while any(r.pid for r in self.replicas.values()):
            for replica in list(self.replicas.values()):
                if time.time() >= replica.kill_at:
                    processes.send(replica.pid, replica.started, signal.SIGKILL, group=True)
                if replica.pid and not processes.alive(replica.pid, replica.started):
                    processes.end_remains(self.mark, self._identity(replica))
                    self.outputs.finish(replica)
                    replica.pid = 0
            time.sleep(0.02)
        for child in self.children.values():
            child.wait()
        self.replicas.clear()
        self.weights = {}
        self._write(time.time())

    # --- writing ----------------------------------------------------------------------------------

    def _write(self, now: float) -> None:
        self._remember()
        sets: dict[str, dict[str, list[dict[str, object]]]] = {}
        for replica in self.replicas.values():
            services = sets.setdefault(replica.release, {})
            services.setdefault(replica.service, []).append(replica.facts())
        value = {
            "generation": self.state.generation,
            "sets": sets,
            "weights": dict(self.weights),
            "router": {
                "ok": self.router.running and self.in_force,
                "problem": self.router.problem,
                "restarts": self.router.restarts,
            },
            "config": {"digest": self.config.digest, "problem": self.config.problem},
            "access": {"allow": list(self.allow), "problem": self.access_problem},
        }
        if self._changed("observed", repr(value)):
            write_json(self.place.observed, {**value, "at": now})

    def _remember(self) -> None:
        memory = [replica.as_dict() for replica in self.replicas.values()]
        if self._changed("memory", repr(memory)):
            write_json(self.place.memory, memory)

    def _delay(self, now: float) -> float:
        if self.replicas and not self.in_force:
            return SOON
        if any(replica.state in ("starting", "leaving", "stopping") for replica in self.replicas.values()):
            return BUSY
        due = [r.next_start - now for r in self.replicas.values() if r.state == "backoff"]
        due += [at - now for at in self.state.retire.values() if at > now]
        return max(BUSY, min([IDLE, *due]))

    def _with_last_words(self, replica: Replica, how: str) -> str:
        return f"{how}\n{processes.tail(self._log(replica))}".strip()

    def _hidden(self, replica: Replica, variables: Mapping[str, str]) -> list[str]:
        release = self.state.releases.get(replica.release)
        service = release.services.get(replica.service) if release else None
        return hidden(variables, service, self.config)

    def _identity(self, replica: Replica) -> str:
        return f"{self.place.name}/{replica.id}"

    def _log(self, replica: Replica) -> Path:
        return self.place.logs / f"{replica.id}.log"
