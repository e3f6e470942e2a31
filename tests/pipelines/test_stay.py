"""A worker that goes on with the run whose stage it has ended: what it saves, and what it must not overlook."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pipelines import runs
from pipelines.engines.local.claim import Stay, claim
from pipelines.executors.base import Artifact, Outcome
from pipelines.models import Attempt, Run
from pipelines.runs import record
from pipelines.runs.changes import Changes

from .helpers import begin, stage, states

pytestmark = pytest.mark.django_db

WORKER = "here:1:0.0"
DONE = Outcome("succeeded")
STATEMENTS = 10  # of each no-op stage in the middle of a run, BEGIN and COMMIT included

CHAIN = """
stages:
  - {name: a, kind: noop, owner: dev}
  - {name: b, kind: noop, owner: dev, needs: [a]}
  - {name: c, kind: noop, owner: dev, needs: [b]}
"""
FAN = """
stages:
  - {name: a, kind: noop, owner: dev}
  - {name: b, kind: noop, owner: dev}
  - {name: c, kind: noop, owner: dev}
"""


@pytest.fixture(autouse=True)
def nobody_else_is_there(monkeypatch):
    """A machine with other work is slow to begin a transaction, which looks as if somebody had held it up."""
    monkeypatch.setattr(record, "WAITED", 60.0)


def chain(length: int) -> str:
    return "stages:\n" + "".join(
        f"  - {{name: s{i}, kind: noop, owner: dev, needs: [{f's{i - 1}' if i else ''}]}}\n" for i in range(length)
    )


def taken(run: Run, name: str):
    claimed = claim(stage(run, name).pk, run.pk, WORKER, timezone.now())
    assert claimed is not None
    return claimed, Stay(claimed, WORKER, 60)


def ended(claimed, stay: Stay):
    runs.outcome(claimed.attempt, claimed.fence, DONE, stay)
    return stay.committed()


def test_the_next_stage_is_claimed_with_the_end_of_the_last(pipeline):
    run = begin(pipeline, CHAIN)
    claimed, stay = taken(run, "a")
    claimed = ended(claimed, stay)
    assert claimed is not None
    assert claimed.stage.name == "b"
    assert states(run) == {"a": "succeeded", "b": "running", "c": "pending"}
    assert Attempt.objects.get(open=True).key == claimed.key


def test_a_stage_costs_few_statements(pipeline, working):
    """If this fails because you added a statement to what every stage does: `make bench` says what it costs."""
    counts = []
    for length in (5, 15):
        begin(pipeline, chain(length))
        with CaptureQueriesContext(connection) as captured:
            working()
        counts.append(len(captured))
    assert counts[1] - counts[0] <= 10 * STATEMENTS


def test_what_is_claimed_so_is_what_the_database_says(pipeline):
    run = begin(pipeline, CHAIN)
    claimed, stay = taken(run, "a")
    artifact = Artifact("a", "report", "sha256:" + "0" * 64, 1)
    runs.produced(claimed.attempt, claimed.fence, artifact)
    claimed = ended(claimed, stay)
    stored = stage(run, "b")
    for field in stored._meta.concrete_fields:
        assert getattr(claimed.stage, field.attname) == getattr(stored, field.attname), field.name
    assert [(position, made[0]["name"]) for position, made in claimed.made] == [(0, "a")]


def test_what_others_did_meanwhile_is_seen(pipeline, cast):
    run = begin(pipeline, FAN)
    claimed, stay = taken(run, "a")
    claimed = ended(claimed, stay)
    runs.cancel(run=run.pk, user=cast.ann)
    assert ended(claimed, stay) is None
    assert states(run) == {"a": "succeeded", "b": "succeeded", "c": "canceled"}


def test_a_transaction_that_failed_is_forgotten(pipeline, monkeypatch):
    run = begin(pipeline, CHAIN)
    claimed, stay = taken(run, "a")
    claimed = ended(claimed, stay)

    def full(self: Changes) -> None:
        raise DatabaseError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Changes, "save", full)
        with pytest.raises(DatabaseError):
            runs.outcome(claimed.attempt, claimed.fence, DONE, stay)
    assert states(run) == {"a": "succeeded", "b": "running", "c": "pending"}
    claimed = ended(claimed, stay)
    assert claimed.stage.name == "c"
    assert states(run) == {"a": "succeeded", "b": "succeeded", "c": "running"}


def test_a_success_with_a_stale_token_is_refused(pipeline):
    run = begin(pipeline, CHAIN)
    claimed, stay = taken(run, "a")
    runs.lost(claimed.attempt, claimed.fence, "gone")
    with pytest.raises(runs.StaleResult, match="was taken over"):
        runs.outcome(claimed.attempt, claimed.fence, DONE, stay)
    assert states(run)["a"] == "unknown"
    assert stay.committed() is None


def test_a_newcomer_leaves_a_crowded_run(pipeline):
    run = begin(pipeline, FAN)
    _, stay = taken(run, "a")
    changes = Changes(Run.objects.get(pk=run.pk))
    stay.go_on(None, changes, waited=True)  # type: ignore[arg-type] it does not look at what it will not take
    assert stay.committed() is None
    assert stay.crowded


def reads_all_stages(captured) -> bool:
    return any("pipelines_stage" in query["sql"] and "artifacts" in query["sql"] for query in captured.captured_queries
               if query["sql"].startswith("SELECT") and "position" in query["sql"])  # fmt: skip


@pytest.mark.parametrize("whose", ["its own", "somebody else's"])
def test_its_own_output_makes_it_forget_nothing(pipeline, whose):
    """Else each stage that says something would cost as much as the run has stages."""
    run = begin(pipeline, chain(6))
    claimed, stay = taken(run, "s0")
    claimed = ended(claimed, stay)
    for text in ("one\n", "two\n"):
        runs.wrote(claimed.attempt, claimed.fence, text, stay if whose == "its own" else None)
    with CaptureQueriesContext(connection) as captured:
        claimed = ended(claimed, stay)
    assert claimed.stage.name == "s2"
    assert reads_all_stages(captured) == (whose != "its own")
    assert [event.seq for event in run.events.order_by("seq")] == list(range(1, run.events.count() + 1))
    assert Run.objects.get(pk=run.pk).last_seq == run.events.count()
