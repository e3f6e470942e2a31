"""kill -9 of the controller, the API server, the portal's processes and what runs in pods; pods that are deleted; a
cluster that is cut off: at random.

Every run ends as its work ended, nothing is done twice, no gate is passed that nobody approved."""

from __future__ import annotations

import json
import os
import random
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from kubernetes import client

from tests.cluster import addons, argo, control_plane
from tests.cluster.argo_site import ArgoSite, kubectl, runner_image
from tests.cluster.conftest import pull_secret
from tests.cluster.facts import Facts
from tests.cluster.forwarder import Forwarder
from tests.cluster.layout import Layout, claimed, home_of
from tests.cluster.processes import recorded
from tests.torture import count
from tests.torture.installation import RUN_ENDED
from tests.torture.test_kills import check_books

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.torture]

MARK = """\
import os, sys, time, urllib.request
key = os.path.basename(os.path.dirname(os.getcwd()))
urllib.request.urlopen(f"{sys.argv[1]}/{key}", timeout=30).read()
for part in range(8):
    time.sleep(0.25)
    print("part", part, flush=True)
"""
FLOW = """
name: kills
engine: argo
stages:
  - {name: source, kind: source, owner: dev}
  - {name: again, kind: command, owner: dev, needs: [source],
     with: {command: [python3, -u, mark.py, MARKS], repeatable: true}}
  - {name: once, kind: command, owner: dev, needs: [source], with: {command: [python3, -u, mark.py, MARKS]}}
  - {name: ship, kind: command, owner: ops, needs: [again, once], gate: {teams: [ops]},
     with: {command: [python3, -u, mark.py, MARKS]}}
on_exit:
  - {name: clean, kind: noop, owner: dev}
"""
ONCE = ("once", "ship")
TOGETHER = 2  # runs at once
# The pods of stages are what is hit most: there are more of them, and they can be hit at more moments.
ROLES = {"processes": 3, "pod": 3, "controller": 3, "web": 3, "sweeper": 3, "cluster": 3, "apiserver": 2, "main": 1}
# Whoever else works on the cluster meanwhile has to do without its API server, too.
if os.environ.get("BURGER_CLUSTER_SHARED"):
    del ROLES["apiserver"]
PATIENCE = 600.0  # seconds until everything has ended after the last kill


class Marks:
    """What commands in pods did, by the keys of their attempts: when each began."""

    def __init__(self, host: str) -> None:
        self.began: dict[str, list[float]] = defaultdict(list)
        marks = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                marks.began[self.path.strip("/")].append(time.time())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.address = f"http://{host}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, site: ArgoSite, run: int) -> dict[str, list[float]]:
        """By the stages of a run."""
        rows = site.rows(
            "SELECT a.key, s.name FROM pipelines_attempt a JOIN pipelines_stage s ON s.id = a.stage_id "
            "WHERE s.run_id = ?", run)  # fmt: skip
        found: dict[str, list[float]] = defaultdict(list)
        for key, stage in rows:
            found[stage] += self.began.get(key, [])
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Controller:
    """A workflow controller of the test's own, which nobody else's Workflows wait for."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self.name = layout, f"kills-{secrets.token_hex(3)}"
        addons.apply(layout, [argo.configmap(self.name, {"instanceID": self.name})])
        self.start()

    def start(self) -> None:
        argo.run_controller(self._layout, self.name, self.name, machine=1)

    def kill(self) -> None:
        if process := recorded(self._layout.home, argo.ADDED).get(self.name):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(20)

    def close(self) -> None:
        self.kill()
        (self._layout.home / argo.ADDED / f"{self.name}.json").unlink(missing_ok=True)
        control_plane.kubectl(self._layout, "delete", "configmap", self.name, "-n", argo.NAMESPACE)


class ApiServer:
    """The cluster's one, which everything else goes on without for a while."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def kill(self) -> None:
        if process := recorded(self._layout.home).get("kube-apiserver"):
            process.kill()
            process.wait(20)

    def start(self) -> None:
        control_plane.start_apiserver(self._layout)
        control_plane.wait_apiserver(self._layout)


class Destruction:
    """What is done to whom."""

    def __init__(
        self, site: ArgoSite, controller: Controller, server: ApiServer, way: Forwarder, chance: random.Random
    ) -> None:
        self._site, self._controller, self._server, self._way, self._chance = site, controller, server, way, chance
        self.victims: Counter[str] = Counter()
        self._next = ""

    def strike(self) -> None:
        """Hit the next one, if it is there by now: a pod is waited for, so that none is spared."""
        role = self._next = self._next or self._chance.choices(list(ROLES), list(ROLES.values()))[0]
        if role in ("processes", "pod"):
            if not (pod := self._pod()):
                return
            self._kill_pod(pod) if role == "processes" else self._delete_pod(pod)
        elif role in ("controller", "apiserver"):
            victim = self._controller if role == "controller" else self._server
            try:
                victim.kill()
                time.sleep(self._chance.uniform(0, 2))
            finally:
                victim.start()
        elif role == "cluster":
            self._way.__exit__()
            time.sleep(self._chance.uniform(0.5, 3))
            self._way.__enter__()
        else:
            self._site.kill(role, self._chance)
        self.victims[role] += 1
        self._next = ""

    def _pod(self) -> dict[str, Any] | None:
        found = json.loads(kubectl(
            self._site.facts, "get", "pods", "-n", self._site.namespace, "--field-selector=status.phase=Running",
            "-o", "json"))["items"]  # fmt: skip
        return self._chance.choice(found)["metadata"] if found else None

    def _delete_pod(self, pod: dict[str, Any]) -> None:
        force = ["--grace-period=0", "--force", "--ignore-not-found", "-n", self._site.namespace]
        kubectl(self._site.facts, "delete", "pod", pod["name"], *force)

    @staticmethod
    def _kill_pod(pod: dict[str, Any]) -> None:
        """Everything that runs in it, on whichever node: the nodes are on this machine."""
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, OSError):
                if f"pod{pod['uid']}" in Path(f"/proc/{process.pid}/cgroup").read_text():
                    process.kill()


@contextmanager
def installed(folder: Path, facts: Facts, namespace: str, instance: str) -> Iterator[tuple[ArgoSite, Forwarder]]:
    """A portal that reaches its cluster by a way that can be cut."""
    site = ArgoSite(folder, facts, namespace, runner_image(facts))
    way = Forwarder(str(site.home / "engine.kubeconfig"), site.home / "way.kubeconfig")
    known = yaml.safe_load((site.home / "connections.yaml").read_text())
    known["clusters"]["main"]["kubeconfig"] = "way.kubeconfig"
    known["argo"]["instance"] = instance
    (site.home / "connections.yaml").write_text(yaml.safe_dump(known))
    way.__enter__()
    try:
        site.start()
        yield site, way
    finally:
        site.close()
        way.__exit__()


class Runs:
    """They are begun, and asked gates are answered, as people would; `approved` is when, by run."""

    def __init__(self, site: ArgoSite, marks: Marks, commit: str) -> None:
        self._site, self._marks, self._commit = site, marks, commit
        self.all: list[int] = []
        self.approved: dict[int, float] = {}
        self.looked_at: list[tuple[int, str, bool]] = []
        self.retried: list[int] = []

    def going(self) -> list[int]:
        return [run for run in self.all if self._site.state(run) not in RUN_ENDED]

    def begin(self) -> None:
        text = FLOW.replace("MARKS", f'"{self._marks.address}"')
        self.all.append(self._site.backstage.begin(text=text, commit=self._commit))

    def answer(self) -> None:
        """What waits for a person is decided by one."""
        for run in self.going():
            for name, state, code, *_ in self._site.story(run):
                if (state, code) == ("waiting", "approval"):
                    self._approve(run, name)
                elif (state, code) == ("unknown", "person"):
                    self._look(run, name)

    def _approve(self, run: int, name: str) -> None:
        assert not self._marks.of(self._site, run)[name], "it began before its gate was opened"
        question = self._site.backstage.question(run=run, name=name)
        self.approved[run] = time.time()
        self._site.backstage.approve(**question, user="ops-0", reason="it may")

    def _look(self, run: int, name: str) -> None:
        """Its pod was lost while it worked, and it must not be done twice: a person looks whether it was done."""
        assert name in ONCE
        user, stage = "ops-0" if name == "ship" else "dev-0", self._site.stage(run, name)["id"]
        done = bool(self._marks.of(self._site, run)[name])
        if done:
            self._site.backstage.skip(stage=stage, user=user, reason="I looked: it was done")
        else:
            self._site.backstage.retry(stage=stage, user=user)
        self.looked_at.append((run, name, done))

    def retry(self) -> None:
        """The one bad end that kills may bring about: the same stage in one pod after another that was killed."""
        for run in self.all:
            if self._site.state(run) in RUN_ENDED and self._site.state(run) != "succeeded":
                bad = [row for row in self._site.story(run) if row[1] in ("failed", "error")]
                assert bad, self._site.story(run)
                assert all(state == "error" for _, state, *_ in bad), bad
                self._site.backstage.retry_failed(run=run, user="dev-0")
                self.retried.append(run)

    def check(self, run: int) -> None:
        found, skipped = self._marks.of(self._site, run), {(at, name) for at, name, done in self.looked_at if done}
        for name, state, _, reason, _ in self._site.story(run):
            assert state == ("skipped" if (run, name) in skipped else "succeeded"), (name, state, reason)
            if name in ONCE:
                assert len(found[name]) == 1, (run, name, found[name])
        assert found["again"]
        assert all(began >= self.approved[run] for began in found["ship"])
        assert not [one for one in self._site.told(run, "notice") if one["what"] == "breach"]


def test_every_run_ends_as_its_work_ended(cluster: Facts, kubernetes_client: client.ApiClient, tmp_path: Path) -> None:
    layout = claimed(home_of())
    if layout is None or cluster.host is None:
        pytest.skip("KUBECONFIG names another cluster, whose controller is not the tests' to kill")
    core, namespace = client.CoreV1Api(kubernetes_client), f"test-kills-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": namespace, "labels": {"burger-stack/test": "true"}}})
    core.create_namespaced_secret(namespace, pull_secret(cluster))
    marks, controller = Marks(cluster.host), Controller(layout)
    try:
        with installed(tmp_path / "site", cluster, namespace, controller.name) as (site, way):
            _torture(site, way, controller, ApiServer(layout), marks)
    finally:
        controller.close()
        marks.close()
        core.delete_namespace(namespace, grace_period_seconds=0)


def _torture(site: ArgoSite, way: Forwarder, controller: Controller, server: ApiServer, marks: Marks) -> None:
    kills, seed = count(20, 200), int(os.environ.get("BURGER_SEED", time.time_ns() % 2**32))
    chance = random.Random(seed)
    print(f"BURGER_SEED={seed}")
    runs = Runs(site, marks, site.commit({"mark.py": MARK}))
    destruction = Destruction(site, controller, server, way, chance)
    while destruction.victims.total() < kills:
        if len(runs.going()) < TOGETHER:
            runs.begin()
        destruction.strike()
        runs.answer()
        time.sleep(chance.uniform(0.2, 3))
    last = time.monotonic()
    print(f"killed {dict(destruction.victims)} while {len(runs.all)} runs went on")
    runs.retry()
    while runs.going():
        runs.answer()
        runs.retry()
        assert time.monotonic() - last < PATIENCE, (
            [site.story(run) for run in runs.going()], site.cluster_says(), site.logs())  # fmt: skip
        time.sleep(0.5)
    print(f"everything had ended {time.monotonic() - last:.1f} s after the last kill; "
          f"looked at {runs.looked_at}, retried {runs.retried}")  # fmt: skip
    for run in runs.all:
        assert site.state(run) == "succeeded", site.story(run)
        runs.check(run)
    check_books(site)
