"""Several runs and one environment: its lock, its freezes, and which run counts."""

from __future__ import annotations

import io
import sys
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken
from rich.console import Console

from pipelines import runs
from pipelines.engines.local.sweep import sweep
from pipelines.executors.base import Outcome
from pipelines.models import Environment, Event, Release, Run, Stage
from pipelines.overtaken import taken_back
from pipelines.runs.questions import asked_digest, is_paused
from portal.cli.show import plan_view
from teams.models import AuditEntry

from .helpers import begin, stage, states

pytestmark = pytest.mark.django_db

ENVIRONMENT = """
environments: {production: {owner: ops, concurrency: %s}}
stages:
  - {name: ship, kind: command, owner: ops, environment: production, with: {command: [x]}}
  - {name: look, kind: command, owner: ops, environment: production, needs: [ship], with: {command: [x]}}
"""


@pytest.mark.django_db(transaction=True)
def test_an_environment_is_changed_by_one_run_at_a_time_in_their_order(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("paused", "half way"), Outcome("succeeded"))
    first = begin(pipeline, ENVIRONMENT % "queue")
    working()
    second, third = begin(pipeline, ENVIRONMENT % "queue"), begin(pipeline, ENVIRONMENT % "queue")
    working()
    waiting = stage(second, "ship")
    assert (waiting.state, waiting.reason_code) == ("waiting", "lock")
    assert waiting.reason == f"run #{first.number} is changing production"
    paused = stage(first, "ship")
    runs.approve(stage=paused.pk, user=cast.olga, digest=asked_digest(paused))
    working()
    assert states(first) == states(second) == states(third) == {"ship": "succeeded", "look": "succeeded"}
    assert Environment.objects.get().holder is None
    ended = [Run.objects.get(pk=run.pk).ended_at for run in (first, second, third)]
    assert ended == sorted(ended)


@pytest.mark.django_db(transaction=True)
def test_who_is_asked_again_before_anything_was_done_holds_up_nobody(pipeline, working, cast, scripts):
    gated = ENVIRONMENT.replace("with: {command: [x]}}", "with: {command: [x]}, gate: ops}", 1) % "queue"
    first = begin(pipeline, gated)
    working()
    ship = stage(first, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    scripts.facts["ship"] = "otherwise"
    working()
    again = stage(first, "ship")
    assert (again.state, again.reason_code) == ("waiting", "approval")
    assert Environment.objects.get().holder is None
    second = begin(pipeline, gated)
    working()
    ship = stage(second, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    working()
    assert states(second) == {"ship": "succeeded", "look": "succeeded"}
    runs.approve(stage=again.pk, user=cast.olga, digest=again.plan_digest)
    working()
    assert states(first) == {"ship": "succeeded", "look": "succeeded"}


HALF_WAY = """
environments: {production: {owner: ops}}
stages:
  - {name: migrate, kind: command, owner: ops, environment: production, with: {command: [x]}}
  - {name: ship, kind: command, owner: ops, environment: production, needs: [migrate], gate: ops, with: {command: [x]}}
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("woken", [True, False], ids=["at once", "by the sweeper"])
def test_a_roll_back_goes_before_a_run_that_only_asks(pipeline, working, cast, scripts, monkeypatch, woken):
    """The run that asked goes on afterwards, once it has the environment again."""
    first = begin(pipeline, HALF_WAY)
    working()
    assert states(first) == {"migrate": "succeeded", "ship": "waiting"}
    assert Environment.objects.get().holder == first
    queued = begin(pipeline, HALF_WAY)
    working()
    assert stage(queued, "migrate").reason_code == "lock"
    back = Release.objects.create(name="r1", environment=Environment.objects.get(), commit="c" * 40)
    with monkeypatch.context() as patch:
        if not woken:  # the process died in the moment after
            patch.setattr(sys.modules["pipelines.runs.advance"], "advance", lambda _: None)
        run = runs.roll_back(release=back.pk, user=cast.olga, reason="it is broken")
    if not woken:
        assert Environment.objects.get().holder == first
        sweep()
    assert Environment.objects.get().holder == run
    working()
    assert stage(run, "roll-back").started_at
    assert Environment.objects.get().holder == queued
    asked = stage(first, "ship")
    assert (asked.state, asked.reason_code) == ("waiting", "approval")
    runs.approve(stage=asked.pk, user=cast.olga, digest=asked.plan_digest)
    asked = stage(first, "ship")
    assert (asked.reason_code, asked.reason) == ("lock", f"run #{queued.number} is changing production")


@pytest.mark.django_db(transaction=True)
def test_a_roll_back_waits_for_what_is_under_way(pipeline, working, cast, scripts):
    scripts.ends("migrate", Outcome("paused", "half way"), Outcome("succeeded"))
    first = begin(pipeline, HALF_WAY)
    working()
    back = Release.objects.create(name="r1", environment=Environment.objects.get(), commit="c" * 40)
    run = runs.roll_back(release=back.pk, user=cast.olga, reason="it is broken")
    sweep()
    assert stage(run, "roll-back").reason == f"run #{first.number} is changing production"
    paused = stage(first, "migrate")
    runs.approve(stage=paused.pk, user=cast.olga, digest=asked_digest(paused))
    working()
    assert stage(run, "roll-back").started_at
    assert states(first) == {"migrate": "succeeded", "ship": "waiting"}


ROLLING = """
environments: {production: {owner: ops}}
stages:
  - {name: ship, kind: rollout, owner: ops, environment: production, with: {manifests: deploy}}
  - {name: after, kind: command, owner: ops, environment: production, needs: [ship], with: {command: [x]}}
"""


@pytest.mark.django_db(transaction=True)
def test_a_roll_back_aborts_the_rollout_that_pauses(pipeline, working, cast, scripts):
    scripts.kinds.add("rollout")
    scripts.ends("ship", Outcome("paused", "25 % go to the canary"), Outcome("failed", "it was aborted"))
    first = begin(pipeline, ROLLING)
    working()
    assert is_paused(stage(first, "ship"))
    back = Release.objects.create(name="r1", environment=Environment.objects.get(), commit="c" * 40)
    run = runs.roll_back(release=back.pk, user=cast.olga, reason="it is broken")
    assert stage(first, "ship").commands == ["abort"]
    entry = AuditEntry.objects.get(action="abort")
    assert (entry.actor, entry.reason) == ("olga", f"run #{run.number} rolls production back: it is broken")
    working()
    assert states(first) == {"ship": "failed", "after": "omitted"}
    assert stage(run, "roll-back").started_at


@pytest.mark.django_db(transaction=True)
def test_the_newest_run_replaces_those_that_wait(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("paused", "half way"), Outcome("succeeded"))
    first = begin(pipeline, ENVIRONMENT % "newest")
    working()
    second = begin(pipeline, ENVIRONMENT % "newest")
    third = begin(pipeline, ENVIRONMENT % "newest")
    working()
    second.refresh_from_db()
    assert second.state == "canceled"
    assert second.superseded_by == third
    assert second.reason == f"superseded by run #{third.number}"
    with pytest.raises(runs.Conflict, match=f"Run #{third.number} took its place"):
        runs.retry(stage=stage(second, "ship").pk, user=cast.olga)
    assert stage(third, "ship").reason_code == "lock"
    assert stage(first, "ship").state == "waiting"


FROZEN = """
environments: {production: {owner: ops, freeze: [{reason: audit, start: "%s", end: "%s"}]}}
stages: [{name: ship, kind: command, owner: ops, environment: production, with: {command: [x]}}]
"""


def frozen(hours: int) -> str:
    now = timezone.now()
    return FROZEN % ((now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=hours)).isoformat())


def test_a_freeze_is_waited_for_and_overridden_by_a_lead_with_a_reason(pipeline, working, cast, scripts):
    run = begin(pipeline, frozen(5))
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("waiting", "window")
    assert "audit" in ship.reason
    with pytest.raises(runs.NotAllowed, match="Only a lead of ops"):
        runs.override_freeze(stage=ship.pk, user=cast.olga, reason="hotfix")
    with pytest.raises(runs.Conflict, match="Say why"):
        runs.override_freeze(stage=ship.pk, user=cast.otto, reason="")
    runs.override_freeze(stage=ship.pk, user=cast.otto, reason="hotfix")
    working()
    assert stage(run, "ship").state == "succeeded"


def test_an_override_is_for_one_go(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("failed", "exit code 1"), Outcome("succeeded"))
    run = begin(pipeline, frozen(5))
    runs.override_freeze(stage=stage(run, "ship").pk, user=cast.otto, reason="hotfix")
    working()
    assert stage(run, "ship").state == "failed"
    runs.retry(stage=stage(run, "ship").pk, user=cast.olga)
    working()
    assert (stage(run, "ship").state, stage(run, "ship").reason_code) == ("waiting", "window")


def test_a_freeze_ends_by_itself(pipeline, working, scripts):
    run = begin(pipeline, frozen(5))
    Environment.objects.update(freeze=[])
    Stage.objects.update(due_at=timezone.now())
    sweep()
    working()
    assert stage(run, "ship").state == "succeeded"


def test_a_freeze_that_overlaps_another_is_waited_out_too(pipeline, working, scripts):
    now = timezone.now()
    windows = [(-60, 60), (30, 120)]
    run = begin(pipeline, frozen(1))
    Environment.objects.update(
        freeze=[
            {
                "reason": "x",
                "start": (now + timedelta(minutes=a)).isoformat(),
                "end": (now + timedelta(minutes=b)).isoformat(),
            }
            for a, b in windows
        ]
    )
    Stage.objects.update(due_at=now)
    sweep()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("waiting", "window")
    assert ship.due_at is not None


CROSSED = """
environments: {%s: {owner: ops}, %s: {owner: ops}}
stages:
  - {name: first, kind: command, owner: ops, environment: %s, with: {command: [x]}}
  - {name: second, kind: command, owner: ops, environment: %s, needs: [first], with: {command: [x]}}
  - {name: last, kind: command, owner: ops, environment: %s, needs: [second], with: {command: [x]}}
"""


@pytest.mark.django_db(transaction=True)
def test_of_two_runs_that_wait_for_each_other_the_newer_makes_way(pipeline, working, cast, scripts):
    scripts.ends("first", Outcome("paused", "half way"))
    one = begin(pipeline, CROSSED % ("a", "b", "a", "b", "a"))
    two = begin(pipeline, CROSSED % ("a", "b", "b", "a", "b"), ref="refs/heads/other", author="x")
    held = Stage.objects.filter(run=two, name="ownership-change").first()
    working()
    if held is not None:
        held.refresh_from_db()
        runs.approve(stage=held.pk, user=cast.otto, digest=held.plan_digest)
        working()
    scripts.ends("first", Outcome("succeeded"))
    for run in (one, two):
        paused = stage(run, "first")
        runs.approve(stage=paused.pk, user=cast.otto, digest=asked_digest(paused))
    working()
    sweep()
    working()
    one.refresh_from_db()
    two.refresh_from_db()
    assert one.state == "succeeded"
    assert two.state == "canceled"
    assert "the newer one made way" in two.reason


@pytest.mark.django_db(transaction=True)
def test_an_older_run_does_not_undo_what_a_newer_one_brought(pipeline, working, cast, scripts):
    scripts.ends("build", Outcome("paused", "slow today"), Outcome("succeeded"))
    text = """
environments: {staging: {owner: ops, concurrency: newest}}
stages:
  - {name: build, kind: command, owner: dev, with: {command: [x]}}
  - {name: ship, kind: command, owner: ops, environment: staging, needs: [build], with: {command: [x]}}
"""
    slow = begin(pipeline, text)
    working()
    quick = begin(pipeline, text)
    working()
    assert states(quick)["ship"] == "succeeded"
    build = stage(slow, "build")
    runs.approve(stage=build.pk, user=cast.ann, digest=asked_digest(build))
    working()
    slow.refresh_from_db()
    assert (slow.state, slow.superseded_by) == ("canceled", quick)
    assert ("start", "ship") in scripts.calls
    assert scripts.calls.count(("start", "ship")) == 1


def test_who_waits_for_a_lock_names_its_present_holder(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("paused", "half way"))
    first = begin(pipeline, ENVIRONMENT % "queue")
    working()
    second, third = begin(pipeline, ENVIRONMENT % "queue"), begin(pipeline, ENVIRONMENT % "queue")
    before = stage(third, "ship")
    assert before.reason == f"run #{first.number} is changing production"
    runs.cancel(run=first.pk, user=cast.olga)
    working()
    sweep()
    working()
    assert Environment.objects.get().holder == second
    sweep()
    now = stage(third, "ship")
    assert now.reason == f"run #{second.number} is changing production"
    assert now.since == before.since, "it goes on waiting"
    assert Event.objects.filter(stage=now.pk).latest("seq").data["reason"] == now.reason
    last = Event.objects.count()
    sweep()
    assert Event.objects.count() == last, "it is said once"


@pytest.mark.parametrize("reached", ["waits", "has been there"])
def test_a_run_is_replaced_even_if_whoever_was_to_end_it_died_after_its_commit(
    pipeline, working, cast, scripts, reached
):
    """Nothing that waits for a commit happens in this test: it runs in one transaction."""
    scripts.ends("ship", Outcome("paused", "half way"), Outcome("succeeded"))
    holder = begin(pipeline, ENVIRONMENT % "newest")
    working()
    second, third = begin(pipeline, ENVIRONMENT % "newest"), begin(pipeline, ENVIRONMENT % "newest")
    if reached == "has been there":
        Stage.objects.filter(run=third).update(state="succeeded", started_at=timezone.now())
    assert stage(second, "ship").reason_code == "lock"
    sweep()
    second.refresh_from_db()
    assert (second.state, second.superseded_by) == ("canceled", third)
    holder.refresh_from_db()
    assert holder.state == "waiting", "who changes the environment finishes"


def test_a_newer_run_that_has_not_come_as_far_replaces_nobody(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("paused", "half way"))
    begin(pipeline, ENVIRONMENT % "newest")
    working()
    second, third = begin(pipeline, ENVIRONMENT % "newest"), begin(pipeline, ENVIRONMENT % "newest")
    Stage.objects.filter(run=third).update(state="pending", reason_code="")
    sweep()
    assert stage(second, "ship").reason_code == "lock"


GATED = """
environments: {production: {owner: ops}}
stages:
  - {name: ship, kind: command, owner: ops, environment: production, gate: ops, with: {command: [x]}}
"""


def released(run: Run, name: str, *, verified: bool, commit: str = "beef" * 10) -> Release:
    when = timezone.now() if verified else None
    environment = Environment.objects.get()
    return Release.objects.create(environment=environment, name=name, run=run, commit=commit, verified_at=when)


def test_who_approves_an_older_run_is_warned_of_what_that_takes_back(pipeline, working, cast, scripts):
    older, newer = begin(pipeline, GATED), begin(pipeline, GATED)
    working()
    asked, digest = stage(older, "ship"), stage(older, "ship").plan_digest
    assert taken_back([asked]) == {}
    row = released(newer, "r2", verified=False)
    assert taken_back([asked]) == {}
    Release.objects.filter(pk=row.pk).update(verified_at=timezone.now())
    words = f"Run #{newer.number} (newer, commit beefbee) is verified in production; approving takes it back."
    assert taken_back([asked, stage(newer, "ship")]) == {asked.pk: words}
    assert stage(older, "ship").plan_digest == digest

    client, (_, token) = Client(), AuthToken.objects.create(user=cast.olga)
    client.force_login(cast.olga)
    page = client.get(f"/runs/demo/{older.number}?stage=ship&tab=plan").content.decode()
    assert words in page
    program = Client(headers={"Authorization": f"Bearer {token}"})
    address = f"/api/runs/demo/{older.number}"
    assert program.get(f"{address}/stages/ship").json()["warning"] == words
    assert [one["warning"] for one in program.get(address).json()["stages"]] == [words]
    told = {one["run"]: one["warning"] for one in program.get("/api/inbox").json()["mine"]}
    assert told == {f"demo/{older.number}": words, f"demo/{newer.number}": ""}
    console = Console(file=io.StringIO(), width=300)
    console.print(plan_view(program.get(f"{address}/stages/ship").json()))
    assert words in console.file.getvalue()


@pytest.mark.parametrize(("back_to", "warned"), [("r1", False), ("r2", True)])
def test_what_was_rolled_back_from_is_not_taken_back_again(pipeline, working, cast, scripts, back_to, warned):
    older, newer = begin(pipeline, GATED), begin(pipeline, GATED)
    working()
    released(older, "r1", verified=True)
    released(newer, "r2", verified=True)
    rollback = Run.objects.create(pipeline=pipeline, number=9, commit="c" * 40, ref="", trigger="rollback")
    released(rollback, back_to, verified=False)
    assert bool(taken_back([stage(older, "ship")])) == warned
