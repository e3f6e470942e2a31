"""The sweeper's round looks after what clusters keep, without waiting for them."""

from __future__ import annotations

import threading
import time

import pytest

from pipelines.engines import environments
from pipelines.engines.local import loop


@pytest.fixture
def rounds(db, monkeypatch):
    monkeypatch.setattr(loop, "RETIRE", 0.0)
    return loop.Loop()


def test_a_cluster_that_does_not_answer_holds_up_no_round(rounds, monkeypatch):
    asked, answer = [], threading.Event()

    def slow() -> list[str]:
        asked.append(time.monotonic())
        answer.wait(30)
        return ["r1"]

    monkeypatch.setattr(environments, "retire", slow)
    try:
        rounds.round()
        rounds.round()
        assert len(asked) == 1, "it is asked again only once it has answered"
    finally:
        answer.set()
    rounds._retiring.join(30)
    rounds.round()
    rounds._retiring.join(30)
    assert len(asked) == 2


def test_a_cluster_that_cannot_be_asked_is_logged(rounds, monkeypatch, caplog):
    def broken() -> list[str]:
        raise ValueError("the cluster main refuses")

    monkeypatch.setattr(environments, "retire", broken)
    rounds.round()
    rounds._retiring.join(30)
    assert "the cluster main refuses" in caplog.text
