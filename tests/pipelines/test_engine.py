"""The engine from start to end, with stages that need no executor but the gate's."""

from __future__ import annotations

import pytest

from pipelines import runs
from pipelines.models import Attempt, Event, Run

from .helpers import begin, stage, states

pytestmark = pytest.mark.django_db

CHAIN = """
stages:
  - {name: a, kind: noop, owner: dev}
  - {name: b, kind: noop, owner: dev, needs: [a]}
  - {name: c, kind: noop, owner: dev, needs: [b]}
"""

GATED = """
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: {ops: 1, platform: 1}}}
  - {name: after, kind: noop, owner: dev, needs: [ship]}
on_exit:
  - {name: report, kind: noop, owner: platform}
"""


def test_a_chain_runs_to_its_end(pipeline, working):
    run = begin(pipeline, CHAIN)
    working()
    run.refresh_from_db()
    assert states(run) == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}
    assert run.state == "succeeded"
    assert run.ended_at is not None


def test_events_are_numbered_without_gaps(pipeline, working):
    run = begin(pipeline, CHAIN)
    working()
    numbers = list(Event.objects.filter(run=run).values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    run.refresh_from_db()
    assert run.last_seq == numbers[-1]


def test_a_gate_waits_and_its_last_approval_starts_the_stage(pipeline, working, cast):
    run = begin(pipeline, GATED, requested_by=cast.ann)
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("waiting", "approval")
    assert ship.plan_digest.startswith("sha256:")

    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    assert stage(run, "ship").state == "waiting"
    runs.approve(stage=ship.pk, user=cast.pete, digest=ship.plan_digest)
    assert stage(run, "ship").state == "queued"
    working()
    assert set(states(run).values()) == {"succeeded"}


def test_a_rejection_ends_the_run_and_exit_stages_run(pipeline, working, cast):
    run = begin(pipeline, GATED)
    working()
    ship = stage(run, "ship")
    runs.reject(stage=ship.pk, user=cast.olga, digest=ship.plan_digest, reason="not on a Friday")
    working()
    assert states(run) == {"build": "succeeded", "ship": "rejected", "after": "omitted", "report": "succeeded"}
    run.refresh_from_db()
    assert run.state == "rejected"


def test_cancel_runs_exit_stages_and_terminate_does_not(pipeline, working, cast):
    canceled, terminated = begin(pipeline, GATED), begin(pipeline, GATED)
    working()
    runs.cancel(run=canceled.pk, user=cast.ann)
    runs.terminate(run=terminated.pk, user=cast.pete, reason="now")
    working()
    assert states(canceled)["report"] == "succeeded"
    assert states(terminated)["report"] == "canceled"
    assert set(Run.objects.values_list("state", flat=True)) == {"canceled"}


def test_every_attempt_is_closed_at_the_end(pipeline, working):
    begin(pipeline, CHAIN)
    working()
    assert not Attempt.objects.filter(open=True).exists()


def test_a_run_of_a_tag_has_no_branch(pipeline):
    text = """
      on: {tags: ["*"]}
      stages: [{name: say, title: "<{{run.branch}}>", kind: noop, owner: dev, when: "run.tag == 'v1' && !run.branch"}]
    """
    run = begin(pipeline, text, ref="refs/tags/v1")
    assert (run.tag, run.branch) == ("v1", "")
    assert (stage(run, "say").definition["title"], stage(run, "say").state) == ("<>", "pending")
    other = begin(pipeline, text)
    assert (other.tag, other.branch) == ("", "main")
    assert (stage(other, "say").definition["title"], stage(other, "say").state) == ("<main>", "skipped")
