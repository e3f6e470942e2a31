"""The database is locked, full or read-only: a clear 503, nothing half written, and it goes on by itself."""

from __future__ import annotations

import itertools
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from pipelines.models import Approval, Event, Run, Stage
from teams.models import AuditEntry
from tests.pipelines.helpers import begin, stage

from .backstage import PASSWORD
from .installation import Installation, eventually
from .test_kills import WORK, check_books, command
from .test_kills import pipeline as file_of

Outage = Callable[[Installation], Any]
GATE = "name: demo\nstages:\n  - {name: ship, kind: gate, owner: ops, gate: {teams: {ops: 1}}}\n"


@contextmanager
def locked(site: Installation) -> Iterator[None]:
    with closing(sqlite3.connect(site.home / "burger.sqlite3", timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def unwritable(site: Installation) -> Iterator[None]:
    """No process of the portal can write to any file, as on a disk without room."""
    portal = [process.pid for some in site.processes().values() for process in some]
    hard = resource.RLIM_INFINITY

    def allow(most: int) -> None:
        for pid in portal:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))

    allow(0)
    try:
        yield
    finally:
        allow(hard)


class Visitor:
    """A browser, signed in as one person of ops unless `session` is empty."""

    def __init__(self, site: Installation, session: str) -> None:
        self.client = httpx.Client(base_url=site.url, timeout=30)
        self.client.get("/sign-in")  # for the token that each form carries
        if session:
            self.client.cookies.set(f"burger_session_{site.port}", session)

    def post(self, path: str, **data: str) -> httpx.Response:
        token = next((v for k, v in self.client.cookies.items() if k.startswith("burger_csrf")), "")
        headers = {"X-CSRFToken": token, "Referer": str(self.client.base_url)}
        return self.client.post(path, data=data, headers=headers)


@pytest.mark.parametrize("outage", [locked, unwritable])
def test_it_says_so_and_goes_on_by_itself(site: Installation, outage: Outage) -> None:
    commit = site.commit({"work.py": WORK})
    busy = site.backstage.begin(
        text=file_of(site, [command(site, "one", needs="source", seconds=2), command(site, "two", needs="one")]),
        commit=commit,
    )
    gated = site.backstage.begin(text=GATE)
    where = "SELECT p.slug || '/' || r.number FROM pipelines_run r JOIN pipelines_pipeline p ON p.id = r.pipeline_id"
    address = site.value(f"{where} WHERE r.id = ?", gated)
    asked = eventually(lambda: site.value("SELECT plan_digest FROM pipelines_stage WHERE run_id = ?", gated))
    eventually(lambda: site.ledger_of(busy), 30, site.logs)
    eventually(lambda: site.value("SELECT reason_code FROM pipelines_stage WHERE run_id = ?", gated) == "approval")
    visitor, stranger = Visitor(site, site.backstage.session(user="ops-0")), Visitor(site, "")
    program = {"Authorization": f"Bearer {site.tokens['ops-1']}"}
    body = {"digest": asked}
    with outage(site):
        began = time.monotonic()
        answers = [
            httpx.post(f"{site.url}/api/runs/{address}/stages/ship/approve", json=body, headers=program, timeout=30),
            visitor.post(f"/runs/{address}/stages/ship/do/approve", digest=asked),
            stranger.post("/sign-in", username="ops-1", password=PASSWORD),
        ]
        for answer in answers:
            assert answer.status_code == 503, (answer.url, answer.status_code, answer.text[:500])
            assert int(answer.headers["Retry-After"]) > 0
            assert "database cannot be used" in answer.text
        assert answers[0].json()["detail"].endswith("try again in a moment.")
        assert httpx.get(f"{site.url}/api/health", timeout=30).status_code in (200, 503)
        # Longer than a worker's lease: its work must not count as lost because nobody could write that it goes on.
        time.sleep(max(0.0, 5 - (time.monotonic() - began)))
        health = httpx.get(f"{site.url}/api/health", timeout=30)
        assert (health.status_code, health.json()["database"]) != (200, "ok")
    assert site.rows("SELECT 1 FROM pipelines_approval a JOIN pipelines_stage s ON s.id = a.stage_id "
                     "WHERE s.run_id = ?", gated) == []  # fmt: skip
    assert site.rows("SELECT 1 FROM teams_auditentry WHERE action = 'approve' AND target LIKE ?", f"%{address}%") == []
    again = eventually(lambda: visitor.post(f"/runs/{address}/stages/ship/do/approve", digest=asked), 20)
    assert again.status_code in (200, 302), again.text[:500]
    assert site.finished(gated, 20) == "succeeded"
    assert site.finished(busy, 20) == "succeeded", site.story(busy)
    assert site.ledger_of(busy) == ["one", "two"]
    claims = site.rows("SELECT a.claims FROM pipelines_attempt a JOIN pipelines_stage s ON s.id = a.stage_id "
                       "WHERE s.run_id = ?", busy)  # fmt: skip
    assert set(claims) == {(1,)}, "no worker was taken for lost"
    eventually(site.well, 20, site.logs)
    check_books(site)


PRAGMAS = {
    "read-only": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
    "full": ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1073741823"),
}


def fill(run: Run) -> None:
    """Use up what free room there is in the database's pages."""
    with suppress(OperationalError):
        for number in itertools.count(1_000):
            with transaction.atomic():
                Event.objects.create(run=run, seq=number, kind="log", data={"text": "x" * 2_000}, at=timezone.now())


@pytest.mark.django_db
@pytest.mark.parametrize("what", PRAGMAS)
def test_the_cause_is_named_and_nothing_is_half_written(
    what: str, pipeline: Any, working: Any, cast: SimpleNamespace
) -> None:
    begin_outage, end_outage = PRAGMAS[what]
    run = begin(pipeline, GATE.removeprefix("name: demo\n"))
    working()
    ship = stage(run, "ship")
    _, token = AuthToken.objects.create(user=cast.olga)
    client = Client(headers={"Authorization": f"Bearer {token}"})
    body = {"digest": ship.plan_digest, "reason": "because " * 240}
    path = f"/api/runs/{pipeline.slug}/{run.number}/stages/ship/approve"
    with connection.cursor() as cursor:
        cursor.execute(begin_outage)
    fill(run)
    try:
        answer = client.post(path, body, content_type="application/json")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(end_outage)
    assert answer.status_code == 503, answer.content[:500]
    assert what in answer.json()["detail"]
    assert answer["Retry-After"]
    assert not Approval.objects.exists()
    assert not AuditEntry.objects.filter(action="approve").exists()
    assert Stage.objects.get(pk=ship.pk).state == "waiting"
    assert client.post(path, body, content_type="application/json").status_code == 200
    assert Approval.objects.count() == 1
