"""A database that only reads, for real: a clear answer, nothing half written, and it goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import InternalError, connection
from django.test import Client
from knox.models import AuthToken

from pipelines.engines import work
from pipelines.engines.local import worker
from pipelines.executors.base import Outcome
from pipelines.models import Approval
from pipelines.outages import is_outage
from teams.models import AuditEntry

from .helpers import begin, stage

pytestmark = pytest.mark.django_db(transaction=True)

GATED = "stages: [{name: ship, kind: command, owner: ops, gate: ops, with: {command: [x]}}]"


def read_only(on: bool) -> None:
    """SQLite by its connection; PostgreSQL as an administrator does it, for every session from now on."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA query_only = {'ON' if on else 'OFF'}")
            return
        cursor.execute("SET default_transaction_read_only = off")
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'on' if on else 'off'}")
    connection.close()


@contextmanager
def outage() -> Iterator[None]:
    read_only(True)
    try:
        yield
    finally:
        read_only(False)


def test_pages_and_api_say_so_and_write_nothing(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED)
    working()
    ship = stage(run, "ship")
    _, token = AuthToken.objects.create(user=cast.olga)
    program, browser = Client(headers={"Authorization": f"Bearer {token}"}), Client()
    browser.force_login(cast.olga)
    api, page = (f"{start}/runs/demo/{run.number}/stages/ship" for start in ("/api", ""))
    body = {"digest": ship.plan_digest}
    with outage():
        answers = [
            program.post(f"{api}/approve", body, content_type="application/json"),
            browser.post(f"{page}/do/approve", body),
        ]
        assert browser.get(f"/runs/demo/{run.number}").status_code == 200, "it can still be read"
    for answer in answers:
        assert answer.status_code == 503, answer.content[:300]
        assert "it is read-only" in answer.content.decode()
        assert answer["Retry-After"]
    assert not Approval.objects.exists()
    assert not AuditEntry.objects.filter(action="approve").exists()
    assert program.post(f"{api}/approve", body, content_type="application/json").status_code == 200


def test_a_worker_keeps_its_result_until_it_can_be_written(pipeline, working, scripts, monkeypatch):
    slept: list[float] = []

    def does(spec: Any, control: Any) -> Iterator[Outcome]:
        read_only(True)
        yield Outcome("succeeded")

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            read_only(False)

    scripts.work["build"] = does
    monkeypatch.setattr(worker.time, "sleep", sleep)
    monkeypatch.setattr(work, "_pulse", Still)
    try:
        run = begin(pipeline, "stages: [{name: build, kind: command, owner: dev, with: {command: [x]}}]")
        working()
    finally:
        monkeypatch.undo()
        read_only(False)
    assert slept[:2] == [0.2, 0.4], "between its tries"
    assert (stage(run, "build").state, stage(run, "build").attempts_made) == ("succeeded", 1)


class Still:
    """Stands for the worker's second thread, whose sleep is not the one that is counted."""

    def watch(self, watch: object) -> None: ...


def test_another_error_of_that_class_is_no_outage():
    assert not is_outage(InternalError("current transaction is aborted"))
    assert not is_outage(ValueError("read-only"))
