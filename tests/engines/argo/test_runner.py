"""What runs in a stage's pod, without a pod: it knows no Django, and loses nothing while the portal is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.argo.runner import readings
from pipelines.engines.argo.runner.__main__ import identify, remember_a_loss, take_over
from pipelines.engines.argo.runner.desk import Remote
from pipelines.engines.argo.runner.spool import Spool
from pipelines.engines.work import LeaseLost, NotNow
from pipelines.executors import registry
from pipelines.executors.base import StageSpec, Workplace
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.performance.sketch import Sketch
from pipelines.performance.verdict import Reading

ROOT = Path(__file__).resolve().parents[3]


class Portal:
    """Takes reports while it is `there`."""

    def __init__(self) -> None:
        self.there, self.stale = threading.Event(), False
        self.taken: list[dict[str, Any]] = []
        self.calls = 0

    def report(self, token: str, first: int, reports: list[dict[str, Any]]) -> int:
        self.calls += 1
        if self.stale:
            raise LeaseLost("taken over")
        if not self.there.is_set():
            raise NotNow("away")
        for number, report in enumerate(reports, start=first):
            if number == len(self.taken) + 1:
                self.taken.append(report)
        if self.calls % 2 == 0:
            raise NotNow("the answer was lost")
        return len(self.taken)


def test_every_kind_of_work_does_without_django():
    code = (
        "import sys; sys.modules['django'] = None\n"
        "import pipelines.engines.argo.runner.__main__, pathlib\n"
        "from pipelines.executors import base, registry\n"
        "for kind in registry.EXECUTORS: registry.make(kind, base.Workplace(pathlib.Path('/tmp')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_reports_outlive_a_portal_that_is_away(tmp_path):
    portal = Portal()
    spool = Spool(portal, "token", 0, tmp_path)
    for number in range(300):
        spool.add({"kind": "log", "text": f"{number}\n"})
    portal.there.set()
    spool.flush()
    assert [report["text"] for report in portal.taken] == [f"{number}\n" for number in range(300)]


def test_who_was_taken_over_reports_nothing_more(tmp_path):
    portal = Portal()
    portal.stale = True
    spool = Spool(portal, "token", 0, tmp_path)
    spool.add({"kind": "log", "text": "late"})
    with pytest.raises(LeaseLost):
        spool.flush()
    with pytest.raises(LeaseLost):
        spool.add({"kind": "log", "text": "later"})
    assert portal.taken == []


@pytest.mark.parametrize(("repeatable", "state"), [(True, "never_started"), (False, "unknown")])
def test_what_another_pod_did_is_taken_for_cut_off(tmp_path, repeatable, state):
    executor = registry.make("command", Workplace(tmp_path))
    with_ = {"command": ["x"], "repeatable": repeatable}
    wanted = StageSpec(run=1, pipeline="p", stage="s", kind="command", owner="dev", commit="c" * 40, with_=with_)
    assert executor.probe(wanted, "s1-1").state == "never_started"
    remember_a_loss(tmp_path, "s1-2")
    assert executor.probe(wanted, "s1-2").state == state


def test_two_pods_digest_secrets_alike(tmp_path):
    keys = {"content.key": "0" * 64}
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
        take_over(home, keys)
        assert (home / "content.key").stat().st_mode & 0o077 == 0
    one, two = (ContentKey.of(home).digest(["a secret"]) for home in homes)
    assert one == two


def test_an_engine_is_shown_the_certificate_of_a_team_that_has_one(tmp_path, monkeypatch):
    for name in ("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"):
        monkeypatch.setenv(name, "")
    folder = tmp_path / "secrets" / "dev"
    folder.mkdir(parents=True)
    (folder / "ca.pem").touch()
    identify(tmp_path)
    assert os.environ["DOCKER_CERT_PATH"] == ""
    for name in ("cert.pem", "key.pem"):
        (folder / name).touch()
    identify(tmp_path)
    assert os.environ["DOCKER_CERT_PATH"] == str(folder)
    assert os.environ["DOCKER_TLS_VERIFY"] == "1"


class Reader:
    """A portal that is away for as long as `away` counts, and has measured some customers."""

    def __init__(self, away: int) -> None:
        self.away = away

    def measured(self, token: str, release: str, sources: Sequence[str], since: float, until: float) -> Reading:
        if self.away:
            self.away -= 1
            raise NotNow("away")
        assert (token, release, list(sources), since, until) == ("t", "r1", ["LCP"], 1.0, 2.0)
        reading = Reading({"LCP": Sketch([1.0, 2.0])}, readings.Counts(5, 1, 2, 0))
        return readings.of_json(json.loads(json.dumps(readings.as_json(reading))))


@pytest.mark.parametrize("away", [0, 2])
def test_what_customers_measured_is_read_from_the_portal_even_if_it_was_away(tmp_path, away):
    answer = {"token": "t", "reported": 0, "stop": "", "commands": []}
    found = Remote(Reader(away), answer, tmp_path).measured("staging")("r1", ["LCP"], 1.0, 2.0)
    assert found.counts == readings.Counts(5, 1, 2, 0)
    assert list(found.sketches["LCP"]) == list(Sketch([1.0, 2.0]))


def test_nothing_counted_stays_nothing():
    assert readings.of_json(readings.as_json(Reading())) == Reading()
