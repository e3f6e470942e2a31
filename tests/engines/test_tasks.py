"""What wakes a worker up, while the database cannot be used."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError

from pipelines.engines.local import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def raising(error: Exception):
    def taken(worker: str) -> bool:
        raise error

    return taken


def test_a_database_that_is_locked_is_left_to_the_next_wake_up(monkeypatch, caplog):
    monkeypatch.setattr(tasks.intake, "take_one", raising(OperationalError("database is locked")))
    tasks.work()
    assert "Nothing can be taken now: database is locked" in caplog.text


def test_what_is_wrong_with_us_is_not_hidden(monkeypatch):
    monkeypatch.setattr(tasks.intake, "take_one", raising(IntegrityError("one_run_per_number")))
    with pytest.raises(IntegrityError):
        tasks.work()
