"""What people do to a run, and who may."""

from __future__ import annotations

import errno
import os
from datetime import timedelta

import pytest
from django.utils import timezone

from pipelines import inbox, runs
from pipelines.engines.local import worker
from pipelines.engines.local.sweep import sweep
from pipelines.executors import registry
from pipelines.executors.base import EngineAwayError, Log, Outcome, PlanError, Probe, Receipt
from pipelines.models import Approval, Attempt, Event, Run, Stage
from pipelines.runs.questions import asked_digest
from teams.models import AuditEntry

from .helpers import begin, stage, states

pytestmark = pytest.mark.django_db

WORK = """
stages:
  - {name: build, kind: command, owner: dev, with: {command: [x]}}
  - {name: test, kind: command, owner: dev, needs: [build], with: {command: [x]}}
  - {name: ship, kind: command, owner: ops, needs: [test], with: {command: [x]}}
on_exit:
  - {name: report, kind: noop, owner: platform}
"""

GATED = """
stages:
  - {name: ship, kind: command, owner: ops, gate: %s, with: {command: [x]}}
"""

FAILED = Outcome("failed", "exit code 1")


def test_a_failed_stage_is_retried_in_the_same_run_and_what_succeeded_stays(pipeline, working, cast, scripts):
    scripts.ends("test", FAILED, Outcome("succeeded"))
    run = begin(pipeline, WORK)
    working()
    assert states(run) == {"build": "succeeded", "test": "failed", "ship": "omitted", "report": "succeeded"}
    runs.retry(stage=stage(run, "test").pk, user=cast.ann)
    working()
    assert set(states(run).values()) == {"succeeded"}
    assert [call for call in scripts.calls if call == ("start", "build")] == [("start", "build")]
    assert stage(run, "test").attempts_made == 2


def test_retry_failed_takes_up_all_that_failed(pipeline, working, cast, scripts):
    scripts.ends("build", FAILED, Outcome("succeeded"))
    run = begin(pipeline, WORK)
    working()
    runs.retry_failed(run=run.pk, user=cast.ann)
    working()
    assert set(states(run).values()) == {"succeeded"}
    with pytest.raises(runs.Conflict, match="Nothing in this run has failed"):
        runs.retry_failed(run=run.pk, user=cast.ann)


@pytest.mark.parametrize(("person", "allowed"), [("ann", True), ("dora", True), ("victor", False), ("olga", False)])
def test_only_the_owning_team_retries_and_a_refusal_is_written_down(pipeline, working, cast, scripts, person, allowed):
    scripts.ends("build", FAILED)
    run = begin(pipeline, WORK)
    working()
    user = getattr(cast, person)
    if allowed:
        runs.retry(stage=stage(run, "build").pk, user=user)
    else:
        with pytest.raises(runs.NotAllowed, match="Only members of dev"):
            runs.retry(stage=stage(run, "build").pk, user=user)
    entry = AuditEntry.objects.filter(action="retry").get()
    assert (entry.actor, entry.allowed) == (person, allowed)


def test_an_error_is_retried_with_backoff_by_itself(pipeline, working, scripts):
    scripts.ends("flaky", Outcome("error", "no route"), Outcome("succeeded"))
    run = begin(
        pipeline,
        "stages: [{name: flaky, kind: command, owner: dev, retry: {limit: 1, backoff: 1h}, with: {command: [x]}}]",
    )
    working()
    flaky = stage(run, "flaky")
    assert (flaky.state, flaky.reason_code) == ("queued", "retry")
    assert flaky.due_at > timezone.now() + timedelta(minutes=59)
    Stage.objects.filter(pk=flaky.pk).update(due_at=timezone.now())
    working()
    assert stage(run, "flaky").state == "succeeded"


def test_a_failure_is_not_retried_unless_the_file_says_so(pipeline, working, scripts):
    scripts.ends("flaky", FAILED, Outcome("succeeded"))
    run = begin(pipeline, "stages: [{name: flaky, kind: command, owner: dev, retry: 3, with: {command: [x]}}]")
    working()
    assert stage(run, "flaky").state == "failed"


def test_a_skipped_stage_counts_as_done_for_those_behind_it(pipeline, working, cast, scripts):
    scripts.ends("test", FAILED)
    run = begin(pipeline, WORK)
    working()
    with pytest.raises(runs.Conflict, match="Say why"):
        runs.skip(stage=stage(run, "test").pk, user=cast.ann, reason=" ")
    runs.skip(stage=stage(run, "test").pk, user=cast.ann, reason="flaky today")
    working()
    assert states(run) == {"build": "succeeded", "test": "skipped", "ship": "succeeded", "report": "succeeded"}


EXITS = """
stages:
  - {name: ship, kind: command, owner: ops, with: {command: [x]}}
on_exit:
  - {name: report, kind: command, owner: ops, with: {command: [x]}}
  - {name: tidy, kind: command, owner: ops, with: {command: [x]}}
"""


@pytest.mark.parametrize("how", ["skip", "retry", "retry-failed"])
def test_an_exit_stage_is_skipped_or_retried_alone(pipeline, working, cast, scripts, how):
    scripts.ends("report", FAILED, Outcome("succeeded"))
    run = begin(pipeline, EXITS)
    working()
    assert Run.objects.get(pk=run.pk).state == "failed"
    report = stage(run, "report").pk
    if how == "skip":
        runs.skip(stage=report, user=cast.olga, reason="nobody reads it")
    elif how == "retry":
        runs.retry(stage=report, user=cast.olga)
    else:
        runs.retry_failed(run=run.pk, user=cast.olga)
    working()
    assert states(run) == {
        "ship": "succeeded",
        "report": "skipped" if how == "skip" else "succeeded",
        "tidy": "succeeded",
    }
    assert Run.objects.get(pk=run.pk).state == "succeeded"
    assert scripts.calls.count(("start", "tidy")) == 1, "who has tidied up does not do so twice"
    assert scripts.calls.count(("start", "report")) == (1 if how == "skip" else 2)


def test_a_lost_exit_stage_of_a_canceled_run_is_retried_and_the_cancel_stands(pipeline, working, cast, scripts):
    run = begin(pipeline, EXITS)
    runs.cancel(run=run.pk, user=cast.pete, reason="stop")
    scripts.probes["report"] = Probe("unknown", "look whether it was sent")
    claimed_and_lost(run, "report")
    working()
    assert stage(run, "report").reason_code == "person"
    assert [question.stage.name for question in inbox.open_questions()] == ["report"]
    runs.retry(stage=stage(run, "report").pk, user=cast.olga)
    working()
    assert states(run) == {"ship": "canceled", "report": "succeeded", "tidy": "succeeded"}
    assert Run.objects.get(pk=run.pk).state == "canceled"


def test_a_skipped_stage_that_others_went_on_from_is_not_done_after_them(pipeline, working, cast, scripts):
    scripts.ends("test", FAILED)
    run = begin(pipeline, WORK)
    working()
    runs.skip(stage=stage(run, "test").pk, user=cast.ann, reason="flaky today")
    working()
    with pytest.raises(runs.Conflict, match="was skipped, and ship went on from there"):
        runs.retry(stage=stage(run, "test").pk, user=cast.ann)


def test_what_a_person_skipped_of_the_exit_stages_stays_skipped(pipeline, working, cast, scripts):
    scripts.ends("ship", FAILED, Outcome("succeeded"))
    run = begin(pipeline, EXITS)
    runs.skip(stage=stage(run, "report").pk, user=cast.olga, reason="nobody reads it")
    working()
    runs.retry(stage=stage(run, "ship").pk, user=cast.olga)
    working()
    assert states(run) == {"ship": "succeeded", "report": "skipped", "tidy": "succeeded"}


def test_nothing_is_done_again_beside_what_is_to_come_last(pipeline, working, cast, scripts):
    scripts.ends("ship", FAILED)
    run = begin(pipeline, EXITS)
    scripts.ends("report", Outcome("engine", "no engine"))
    working()
    assert stage(run, "report").state == "waiting"
    for again in (
        lambda: runs.retry(stage=stage(run, "ship").pk, user=cast.olga),
        lambda: runs.retry_failed(run=run.pk, user=cast.olga),
    ):
        with pytest.raises(runs.Conflict, match="report is under way, which runs at the end"):
            again()
    assert scripts.calls.count(("start", "ship")) == 1


def test_what_would_only_be_omitted_again_is_not_retried(pipeline, working, cast, scripts):
    scripts.ends("build", FAILED)
    run = begin(pipeline, WORK)
    working()
    with pytest.raises(runs.Conflict, match=r"only be omitted: a stage that it needs did not succeed \(build\)"):
        runs.retry(stage=stage(run, "test").pk, user=cast.ann)
    assert stage(run, "report").state == "succeeded", "what came last is not done again"


def test_who_has_approved_may_think_again_while_the_gate_is_closed(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "{teams: {ops: 1, platform: 1}}")
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    runs.reject(stage=ship.pk, user=cast.olga, digest=ship.plan_digest, reason="I misread it")
    assert stage(run, "ship").state == "rejected"
    assert [row.voided for row in Approval.objects.order_by("pk")] == ["olga took it back", ""]


def test_an_exit_stage_that_looks_at_a_failure_does_not_hide_it(pipeline, working, scripts):
    scripts.ends("ship", FAILED)
    text = EXITS.replace("name: report,", "name: report, depends: 'ship.Failed || ship.Succeeded',")
    run = begin(pipeline, text)
    working()
    assert states(run) == {"ship": "failed", "report": "succeeded", "tidy": "succeeded"}
    assert Run.objects.get(pk=run.pk).state == "failed"


def test_a_push_by_people_with_long_names_starts_a_run(pipeline, working, scripts):
    author = f"{'Maximilian ' * 12}<m@example.com>, pushed by {'Release Bot ' * 8}"
    run = begin(pipeline, WORK, author=author[:300])
    working()
    assert set(states(run).values()) == {"succeeded"}
    assert AuditEntry.objects.filter(actor=author[:150]).exists()


def test_a_gate_cannot_be_skipped(pipeline, working, cast):
    run = begin(pipeline, "stages: [{name: go, kind: gate, owner: ops, gate: platform}]")
    working()
    with pytest.raises(runs.Conflict, match="cannot be skipped"):
        runs.skip(stage=stage(run, "go").pk, user=cast.olga, reason="in a hurry")


@pytest.mark.parametrize(
    ("gate", "author", "allowed"),
    [
        ("{teams: {ops: 1}}", "Olga <olga@example.com>", False),
        ("{teams: {ops: 1}}", "Ann <ann@example.com>", True),
        ("{teams: {ops: 1}, self_approval: true}", "Olga <olga@example.com>", True),
    ],
)
def test_who_pushed_cannot_approve_unless_the_gate_says_so(pipeline, working, cast, scripts, gate, author, allowed):
    run = begin(pipeline, GATED % gate, author=author)
    working()
    ship = stage(run, "ship")
    if allowed:
        runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
        working()
        assert stage(run, "ship").state == "succeeded"
    else:
        with pytest.raises(runs.NotAllowed, match="You pushed or requested this run"):
            runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)


def test_a_person_counts_once_and_a_quorum_needs_its_number(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "{teams: {ops: 2}}")
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    with pytest.raises(runs.Conflict, match="counts once"):
        runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    assert stage(run, "ship").state == "waiting"
    runs.approve(stage=ship.pk, user=cast.otto, digest=ship.plan_digest)
    assert stage(run, "ship").state == "queued"


def test_an_approval_names_the_plan_that_was_read(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "ops")
    working()
    with pytest.raises(runs.Conflict, match="The plan has changed"):
        runs.approve(stage=stage(run, "ship").pk, user=cast.olga, digest="sha256:" + "0" * 64)
    assert not Approval.objects.exists()


def test_a_reason_can_be_required(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "{teams: {ops: 1}, reason_required: true}")
    working()
    ship = stage(run, "ship")
    with pytest.raises(runs.Conflict, match="asks for a reason"):
        runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest, reason="hotfix")
    assert stage(run, "ship").state == "queued"


def test_a_plan_that_changed_after_its_approval_is_not_executed(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "ops")
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    scripts.facts["ship"] = "otherwise"
    working()
    again = stage(run, "ship")
    assert (again.state, again.reason_code) == ("waiting", "approval")
    assert again.plan_digest != ship.plan_digest
    assert Approval.objects.get().voided == "the plan has changed"
    assert (again.attempts_made, again.started_at) == (0, None), "nothing was tried"
    runs.approve(stage=ship.pk, user=cast.olga, digest=again.plan_digest)
    working()
    assert stage(run, "ship").state == "succeeded"


def test_a_gate_expires(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "{teams: {ops: 1}, expires: 1h}")
    working()
    Stage.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    sweep()
    ship = stage(run, "ship")
    assert ship.state == "rejected"
    assert "expired" in ship.reason


def test_a_gate_that_has_expired_is_closed_before_anybody_came_by(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "{teams: {ops: 1}, expires: 1h}")
    working()
    Stage.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    ship = stage(run, "ship")
    with pytest.raises(runs.Conflict, match="This gate expired"):
        runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    sweep()
    assert stage(run, "ship").state == "rejected"


def test_a_paused_stage_goes_on_with_the_same_attempt(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("paused", "25 % of all requests go to the canary"), Outcome("succeeded"))
    run = begin(pipeline, WORK, author="Olga <olga@example.com>")
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("waiting", "approval")
    with pytest.raises(runs.NotAllowed):
        runs.approve(stage=ship.pk, user=cast.ann, digest=asked_digest(ship))
    runs.approve(stage=ship.pk, user=cast.olga, digest=asked_digest(ship))
    working()
    assert stage(run, "ship").state == "succeeded"
    assert Attempt.objects.filter(stage=ship).count() == 1


@pytest.mark.parametrize("how", ["reject", "cancel", "terminate", "skip"])
def test_a_paused_stage_that_is_stopped_is_stopped_by_its_executor(pipeline, working, cast, scripts, how):
    scripts.ends("ship", Outcome("paused", "half way"))
    run = begin(pipeline, WORK)
    working()
    ship = stage(run, "ship")
    if how == "reject":
        runs.reject(stage=ship.pk, user=cast.olga, digest=asked_digest(ship), reason="slow")
    elif how == "skip":
        runs.skip(stage=ship.pk, user=cast.olga, reason="later")
    else:
        getattr(runs, how)(run=run.pk, user=cast.pete, reason="stop")
    working()
    assert ("cancel", "ship") in scripts.calls
    ended = {"reject": "rejected", "skip": "skipped"}.get(how, "canceled")
    assert stage(run, "ship").state == ended
    assert not Attempt.objects.filter(open=True).exists()
    assert states(run)["report"] == ("canceled" if how == "terminate" else "succeeded")


def test_a_rollout_is_steered_only_while_it_is_under_way(pipeline, working, cast, scripts):
    run = begin(pipeline, WORK)
    with pytest.raises(runs.Conflict, match="no rollout under way"):
        runs.steer(stage=stage(run, "ship").pk, user=cast.olga, command="promote")


def test_an_engine_that_is_away_is_waited_for(pipeline, working, scripts):
    scripts.ends("build", Outcome("engine", "no Docker Engine"), Outcome("succeeded"))
    run = begin(pipeline, WORK)
    working()
    build = stage(run, "build")
    assert (build.state, build.reason_code, build.reason) == ("waiting", "engine", "no Docker Engine")
    Stage.objects.filter(pk=build.pk).update(due_at=timezone.now())
    sweep()
    working()
    assert stage(run, "build").state == "succeeded"
    assert Attempt.objects.filter(stage=build).count() == 1


def test_an_engine_that_asks_to_be_left_alone_is_but_not_for_ever(pipeline, working, scripts):
    asked = [Outcome("engine", "too many requests", {"retry_after": seconds}) for seconds in (90, 10**6)]
    scripts.ends("build", *asked, Outcome("succeeded"))
    run = begin(pipeline, WORK)
    for least, most in ((80, 90), (590, 600)):
        working()
        build = stage(run, "build")
        assert least < (build.due_at - timezone.now()).total_seconds() <= most
        Stage.objects.filter(pk=build.pk).update(due_at=timezone.now())
        sweep()
    working()
    assert stage(run, "build").state == "succeeded"


def test_what_cannot_be_stopped_now_is_stopped_once_its_engine_is_back(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("engine", "the cluster is away"))
    scripts.unstoppable["ship"] = "the cluster is away"
    run = begin(pipeline, WORK)
    working()
    runs.cancel(run=run.pk, user=cast.pete, reason="stop")
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code) == ("queued", "stop")
    assert ship.reason == "the run was canceled; it cannot be stopped yet: the cluster is away"
    assert ship.due_at > timezone.now()
    assert scripts.calls.count(("cancel", "ship")) == 1
    assert Run.objects.get(pk=run.pk).state == "running"
    scripts.unstoppable.clear()
    Stage.objects.filter(pk=ship.pk).update(due_at=timezone.now())
    sweep()
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason) == ("canceled", "the run was canceled")
    assert states(run)["report"] == "succeeded"
    assert not Attempt.objects.filter(open=True).exists()


def test_who_terminates_a_run_does_not_wait_for_an_engine_that_is_gone(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("engine", "the cluster is away"))
    scripts.unstoppable["ship"] = "the cluster is away"
    run = begin(pipeline, WORK)
    working()
    runs.cancel(run=run.pk, user=cast.pete, reason="stop")
    working()
    runs.terminate(run=run.pk, user=cast.pete, reason="it burned down")
    Stage.objects.filter(run=run, name="ship").update(due_at=timezone.now())
    working()
    ship = stage(run, "ship")
    assert ship.state == "error"
    assert ship.reason == "terminated without being stopped, so what it left there is unknown: the cluster is away"
    assert Run.objects.get(pk=run.pk).state == "error"
    assert not Attempt.objects.filter(open=True).exists()


def test_a_lost_stage_whose_engine_is_away_waits_for_it(pipeline, working, scripts):
    run = begin(pipeline, WORK)
    claimed_and_lost(run)
    scripts.probes["build"] = Probe("away", "the cluster is away")
    working()
    build = stage(run, "build")
    assert (build.state, build.reason_code, build.reason) == ("waiting", "engine", "the cluster is away")
    Stage.objects.filter(pk=build.pk).update(due_at=timezone.now())
    sweep()
    working()
    assert set(states(run).values()) == {"succeeded"}


def test_a_lost_stage_is_probed_and_joined(pipeline, working, scripts):
    run = begin(pipeline, WORK)
    claimed_and_lost(run)
    build = stage(run, "build")
    assert (build.state, build.reason_code) == ("unknown", "lost")
    working()
    assert ("probe", "build") in scripts.calls
    assert set(states(run).values()) == {"succeeded"}


def test_what_cannot_be_known_waits_for_a_person(pipeline, working, cast, scripts):
    from pipelines.executors.base import Probe

    scripts.probes["build"] = Probe("unknown", "the machine was restarted; look whether it had been pushed")
    run = begin(pipeline, WORK)
    claimed_and_lost(run)
    working()
    build = stage(run, "build")
    assert (build.state, build.reason_code) == ("unknown", "person")
    assert ("start", "build") not in scripts.calls
    runs.retry(stage=build.pk, user=cast.ann)
    working()
    assert set(states(run).values()) == {"succeeded"}


def test_a_stage_that_takes_its_workers_with_it_is_quarantined(pipeline, working, scripts):
    run = begin(pipeline, WORK)
    other = begin(pipeline, WORK)
    for _ in range(3):
        claimed_and_lost(run)
    build = stage(run, "build")
    assert build.state == "error"
    assert build.reason.startswith("quarantined: 3 workers were lost")
    working()
    assert set(states(other).values()) == {"succeeded"}


def test_a_stale_token_is_refused(pipeline, working, scripts):
    run = begin(pipeline, WORK)
    old = claimed_and_lost(run)
    working()
    with pytest.raises(runs.StaleResult, match="was taken over"):
        runs.outcome(old.attempt, old.fence, FAILED)
    assert set(states(run).values()) == {"succeeded"}


def claimed_and_lost(run: Run, name: str = "build"):
    """A worker takes a stage and dies."""
    from pipelines.engines.local.claim import claim

    build = stage(run, name)
    claimed = claim(build.pk, run.pk, "elsewhere:1:0.0", timezone.now())
    assert claimed is not None
    Attempt.objects.filter(pk=claimed.attempt).update(lease_until=timezone.now() - timedelta(seconds=1))
    sweep()
    return claimed


def test_cancel_of_an_ended_run_is_a_conflict(pipeline, working, cast, scripts):
    run = begin(pipeline, WORK)
    working()
    with pytest.raises(runs.Conflict, match="has ended already"):
        runs.cancel(run=run.pk, user=cast.ann)


def test_an_owner_cannot_skip_past_another_teams_gate(pipeline, working, cast, scripts):
    run = begin(pipeline, GATED % "{teams: {ops: 1, platform: 1}}")
    working()
    with pytest.raises(runs.Conflict, match="Its gate asks platform"):
        runs.skip(stage=stage(run, "ship").pk, user=cast.olga, reason="in a hurry")


PLANNED = """
stages:
  - {name: ship, kind: command, owner: ops, gate: platform, retry: %s, with: {command: [x]}}
"""


def test_a_plan_that_cannot_be_made_ends_the_stage_and_begins_nothing(pipeline, working, cast, scripts):
    scripts.unplannable["ship"] = PlanError("no such playbook")
    run = begin(pipeline, PLANNED % 0)
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason) == ("error", "its plan could not be made: no such playbook")
    assert scripts.calls == [("plan", "ship")]
    assert Run.objects.get(pk=run.pk).state == "error"
    del scripts.unplannable["ship"]
    runs.retry(stage=ship.pk, user=cast.olga)
    working()
    assert stage(run, "ship").reason_code == "approval"
    assert ("start", "ship") not in scripts.calls


def test_a_plan_is_tried_again_as_often_as_the_file_says(pipeline, working, scripts):
    scripts.unplannable["ship"] = PlanError("no route")
    run = begin(pipeline, PLANNED % "{limit: 2, backoff: 1h, factor: 1}")
    for made in (1, 2):
        working()
        ship = stage(run, "ship")
        assert (ship.state, ship.reason_code, len(scripts.calls)) == ("queued", "plan", made)
        assert ship.due_at > timezone.now() + timedelta(minutes=59)
        Stage.objects.filter(pk=ship.pk).update(due_at=timezone.now())
    working()
    assert (stage(run, "ship").state, scripts.calls) == ("error", [("plan", "ship")] * 3)


def test_a_plan_that_could_be_made_at_last_is_asked_about(pipeline, working, scripts):
    scripts.unplannable["ship"] = PlanError("no route")
    run = begin(pipeline, PLANNED % "{limit: 1, backoff: 1h}")
    working()
    del scripts.unplannable["ship"]
    Stage.objects.update(due_at=timezone.now())
    working()
    assert (stage(run, "ship").state, stage(run, "ship").reason_code) == ("waiting", "approval")
    assert ("start", "ship") not in scripts.calls


def test_a_plan_waits_for_an_engine_that_is_away_and_is_still_asked_about(pipeline, working, cast, scripts):
    scripts.unplannable["ship"] = EngineAwayError("the cluster is away")
    run = begin(pipeline, PLANNED % 0)
    working()
    ship = stage(run, "ship")
    assert (ship.state, ship.reason_code, ship.reason) == ("waiting", "engine", "the cluster is away")
    del scripts.unplannable["ship"]
    Stage.objects.update(due_at=timezone.now())
    sweep()
    working()
    assert (stage(run, "ship").state, stage(run, "ship").reason_code) == ("waiting", "approval")
    assert ("start", "ship") not in scripts.calls


def test_nor_past_one_that_was_never_asked_because_the_plan_could_not_be_made(pipeline, working, cast, scripts):
    scripts.unplannable["ship"] = PlanError("no such playbook")
    run = begin(pipeline, GATED % "{teams: {ops: 1, platform: 1}}")
    working()
    assert stage(run, "ship").state == "error"
    with pytest.raises(runs.Conflict, match="Its gate asks platform"):
        runs.skip(stage=stage(run, "ship").pk, user=cast.olga, reason="in a hurry")


def test_what_was_approved_and_failed_is_its_owners_to_skip(pipeline, working, cast, scripts):
    scripts.ends("ship", FAILED)
    run = begin(pipeline, GATED % "{teams: {ops: 1, platform: 1}}")
    working()
    for user in (cast.olga, cast.pete):
        runs.approve(stage=stage(run, "ship").pk, user=user, digest=stage(run, "ship").plan_digest)
    working()
    assert stage(run, "ship").state == "failed"
    runs.skip(stage=stage(run, "ship").pk, user=cast.olga, reason="done by hand")
    assert stage(run, "ship").state == "skipped"


def test_an_attempts_key_is_never_used_again(pipeline, working, scripts):
    first, second = begin(pipeline, WORK), begin(pipeline, WORK)
    working()
    keys = list(Attempt.objects.values_list("key", flat=True))
    assert len(set(keys)) == len(keys)
    assert all(len(key.rpartition("-")[2]) == 8 for key in keys)
    assert {first.state, second.state} == {"running"}


def test_a_stage_that_others_went_on_from_is_not_done_again(pipeline, working, cast, scripts):
    run = begin(pipeline, WORK)
    working()
    with pytest.raises(runs.Conflict, match="test went on from there"):
        runs.retry(stage=stage(run, "build").pk, user=cast.ann)


def test_nobody_skips_in_a_terminated_run(pipeline, working, cast, scripts):
    scripts.ends("test", FAILED)
    run = begin(pipeline, WORK)
    working()
    Run.objects.filter(pk=run.pk).update(stopping="terminate")
    with pytest.raises(runs.Conflict, match="was terminated"):
        runs.skip(stage=stage(run, "test").pk, user=cast.ann, reason="why not")
    assert states(run)["test"] == "failed"


def test_nobody_takes_up_a_terminated_run(pipeline, working, cast, scripts):
    scripts.ends("test", FAILED)
    run = begin(pipeline, WORK)
    runs.terminate(run=run.pk, user=cast.pete, reason="stop")
    working()
    with pytest.raises(runs.Conflict, match="was terminated"):
        runs.retry(stage=stage(run, "build").pk, user=cast.ann)


def test_a_cancel_is_not_undone_by_who_goes_on_with_a_stage_of_theirs(pipeline, working, cast, scripts):
    other = "  - {name: other, kind: command, owner: ops, with: {command: [x]}}\n"
    run = begin(pipeline, WORK.replace("on_exit", f"{other}on_exit"))
    Run.objects.filter(pk=run.pk).update(stopping="cancel")
    Stage.objects.filter(run=run, name="test").update(state="failed")
    failed = stage(run, "test")
    for act in (
        lambda: runs.retry(stage=failed.pk, user=cast.ann),
        lambda: runs.skip(stage=failed.pk, user=cast.ann, reason="mine"),
        lambda: runs.retry_failed(run=run.pk, user=cast.ann),
    ):
        with pytest.raises(runs.Conflict, match="being canceled"):
            act()
    working()
    run.refresh_from_db()
    assert run.state in ("canceled", "failed")
    with pytest.raises(runs.Conflict, match="was canceled"):
        runs.skip(stage=failed.pk, user=cast.ann, reason="mine")
    assert stage(run, "ship").state in ("canceled", "omitted")


def test_a_paused_exit_stage_of_a_canceled_run_can_be_answered(pipeline, working, cast, scripts):
    scripts.ends("report", Outcome("paused", "look"), Outcome("succeeded"))
    text = WORK.replace(
        "{name: report, kind: noop, owner: platform}",
        "{name: report, kind: command, owner: platform, with: {command: [x]}}",
    )
    run = begin(pipeline, text)
    runs.cancel(run=run.pk, user=cast.ann)
    working()
    report = stage(run, "report")
    runs.approve(stage=report.pk, user=cast.pete, digest=asked_digest(report))
    working()
    assert stage(run, "report").state == "succeeded"


def test_a_changed_plan_uses_up_none_of_the_tries_that_the_file_allows(pipeline, working, cast, scripts):
    scripts.ends("ship", Outcome("error", "no route"), Outcome("succeeded"))
    text = GATED.replace("with:", "retry: {limit: 1, backoff: 1h}, with:") % "ops"
    run = begin(pipeline, text)
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    scripts.facts["ship"] = "otherwise"
    working()
    runs.approve(stage=ship.pk, user=cast.olga, digest=stage(run, "ship").plan_digest)
    working()
    Stage.objects.filter(pk=ship.pk).update(due_at=timezone.now())
    working()
    ended = stage(run, "ship")
    assert (ended.state, ended.attempts_made) == ("succeeded", 2)
    numbers = list(Attempt.objects.filter(stage=ship.pk, phase="work").order_by("pk").values_list("number", "state"))
    assert numbers == [(1, "canceled"), (1, "error"), (2, "succeeded")]


@pytest.mark.parametrize(("number", "state"), [(errno.ENOSPC, "canceled"), (errno.EACCES, "error")])
def test_a_stop_that_a_full_disk_does_not_take_is_tried_again(
    pipeline, working, cast, scripts, monkeypatch, number, state
):
    scripts.ends("ship", Outcome("paused", "half way"))
    run = begin(pipeline, "stages: [{name: ship, kind: command, owner: ops, with: {command: [x]}}]")
    working()
    real, tries = registry.make, []

    def make(kind, workplace):
        executor = real(kind, workplace)

        def cancel(spec, key):
            tries.append(key)
            if len(tries) < 3:
                raise OSError(number, os.strerror(number))

        executor.cancel = cancel
        return executor

    monkeypatch.setattr(registry, "make", make)
    monkeypatch.setattr(worker.time, "sleep", lambda _: None)
    runs.cancel(run=run.pk, user=cast.olga)
    working()
    assert stage(run, "ship").state == state
    assert len(tries) == (3 if state == "canceled" else 1)


def test_output_counts_as_stored_once_it_is_in_the_database(pipeline, working, scripts):
    """Whoever keeps it for a worker that may die lets go of it then, and not before."""
    there: list[bool] = []

    def work(spec, control):
        receipt = Receipt(lambda: there.append(Event.objects.filter(kind="log", data__text="hello\n").exists()))
        yield Log("hello\n", receipt)
        assert receipt.kept
        assert there == []
        yield Outcome("succeeded")

    scripts.work["build"] = work
    run = begin(pipeline, "stages: [{name: build, kind: command, owner: dev, with: {command: [x]}}]")
    working()
    assert (stage(run, "build").state, there) == ("succeeded", [True])
