"""A change of ownership counts only once the present owner has agreed to it."""

from __future__ import annotations

import pytest

from pipelines import runs
from pipelines.definition import stages
from pipelines.executors.base import Outcome
from pipelines.models import Attempt, DefinitionVersion, Environment, Pipeline
from pipelines.runs.start import start

from .helpers import begin, stage, states

pytestmark = pytest.mark.django_db

BEFORE = """
environments: {production: {owner: ops}}
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: noop, owner: ops, needs: [build], environment: production, gate: ops}
"""
TAKEN = BEFORE.replace("{name: ship, kind: noop, owner: ops", "{name: ship, kind: noop, owner: dev").replace(
    "gate: ops", "gate: dev"
)


def test_the_first_file_of_the_default_branch_counts(pipeline, working):
    begin(pipeline, BEFORE)
    pipeline.refresh_from_db()
    assert pipeline.accepted is not None
    assert pipeline.accepted.accepted_at is not None


def test_the_first_file_of_another_branch_asks_the_pipelines_owner(pipeline, working):
    run = begin(pipeline, BEFORE, ref="refs/heads/feature")
    working()
    held = stage(run, "ownership-change")
    assert held.state == "waiting"
    assert [team["team"] for team in held.definition["gate"]["teams"]] == ["platform"]


def test_a_taken_stage_is_held_for_its_present_owner(pipeline, working, cast):
    begin(pipeline, BEFORE)
    working()
    run = begin(pipeline, TAKEN, commit="d" * 40)
    working()
    held = stage(run, "ownership-change")
    assert states(run) == {"ownership-change": "waiting", "build": "pending", "ship": "pending"}
    changed = {(change["title"], change["before"], change["after"]) for change in held.plan["changes"]}
    assert ("ship: owner (now decided by ops)", "ops", "dev") in changed
    with pytest.raises(runs.NotAllowed):
        runs.approve(stage=held.pk, user=cast.pete, digest=held.plan_digest)
    # It is taken from one and given to the other, and both agree.
    for user in (cast.ann, cast.olga):
        pipeline.refresh_from_db()
        assert pipeline.accepted != run.definition
        runs.approve(stage=held.pk, user=user, digest=held.plan_digest)
        working()
    pipeline.refresh_from_db()
    assert pipeline.accepted == run.definition
    assert stage(run, "ship").owner == "dev"


def test_a_rejected_change_does_not_count(pipeline, working, cast):
    first = begin(pipeline, BEFORE)
    working()
    run = begin(pipeline, TAKEN, commit="d" * 40)
    working()
    held = stage(run, "ownership-change")
    runs.reject(stage=held.pk, user=cast.olga, digest=held.plan_digest, reason="ours")
    working()
    pipeline.refresh_from_db()
    assert pipeline.accepted == first.definition
    assert set(states(run).values()) == {"rejected", "omitted"}


def test_an_unguarded_change_counts_at_once_and_every_version_is_kept(pipeline, working):
    begin(pipeline, BEFORE)
    begin(pipeline, BEFORE.replace("name: build,", "name: build, timeout: 5m,"), commit="e" * 40)
    begin(pipeline, BEFORE, commit="f" * 40)
    assert DefinitionVersion.objects.filter(pipeline=pipeline).count() == 2
    pipeline.refresh_from_db()
    assert "timeout" not in pipeline.accepted.text


@pytest.mark.parametrize("trigger", ["rerun", "manual"])
def test_an_old_commit_that_is_run_again_does_not_bring_its_file_back(pipeline, working, trigger):
    begin(pipeline, BEFORE)
    newer = begin(pipeline, BEFORE.replace("name: build,", "name: build, title: Build,"), commit="e" * 40)
    begin(pipeline, BEFORE, trigger=trigger)
    pipeline.refresh_from_db()
    assert pipeline.accepted == newer.definition
    begin(pipeline, BEFORE, commit="f" * 40)
    pipeline.refresh_from_db()
    assert pipeline.accepted != newer.definition


def test_a_branch_never_changes_what_counts(pipeline, working):
    first = begin(pipeline, BEFORE)
    begin(pipeline, BEFORE.replace("name: build,", "name: build, timeout: 5m,"), ref="refs/heads/feature")
    pipeline.refresh_from_db()
    assert pipeline.accepted == first.definition


LOOKED_AT = """
parameters: {soak: {default: 5s}}
environments: {production: {owner: ops}}
stages:
  - {name: look, kind: verify, owner: ops, environment: production, gate: ops, with: {soak: "{{parameters.soak}}"}}
"""


def test_who_is_asked_sees_the_files_own_words_and_its_approval_counts(pipeline, working, cast):
    """The run's values are in neither side of the change: they would show what the file does not say."""
    begin(pipeline, LOOKED_AT)
    run = begin(pipeline, LOOKED_AT.replace("soak}}", "soak}}0"), commit="d" * 40)
    working()
    held = stage(run, "ownership-change")
    (change,) = (change for change in held.plan["changes"] if change["title"].startswith("look: with"))
    assert "{{parameters.soak}}" in change["before"]
    assert "{{parameters.soak}}0" in change["after"]
    runs.approve(stage=held.pk, user=cast.olga, digest=held.plan_digest)
    working()
    assert stage(run, "ownership-change").state == "succeeded"
    pipeline.refresh_from_db()
    assert pipeline.accepted == run.definition


EVIL_EXIT = TAKEN + "on_exit: [{name: evil, kind: noop, owner: ops, environment: production}]\n"
SLY = TAKEN.replace("needs: [build], environment", 'depends: "build.Omitted || build.Succeeded", environment')


@pytest.mark.parametrize("text", [TAKEN, EVIL_EXIT, SLY], ids=["plain", "exit stage", "depends"])
@pytest.mark.parametrize("way", ["reject", "cancel", "skip"])
def test_nothing_of_a_held_file_runs_whatever_its_author_tries(pipeline, working, cast, text, way):
    begin(pipeline, BEFORE)
    working()
    run = begin(pipeline, text, commit="d" * 40, requested_by=cast.ann)
    working()
    held = stage(run, "ownership-change")
    if way == "reject":
        runs.reject(stage=held.pk, user=cast.olga, digest=held.plan_digest, reason="ours")
    elif way == "cancel":
        runs.cancel(run=run.pk, user=cast.ann)
    else:
        runs.skip(stage=stage(run, "build").pk, user=cast.ann, reason="let me in")
    working()
    assert "succeeded" not in states(run).values()
    assert not Attempt.objects.filter(stage__run=run, phase="work").exists()


def test_a_team_that_never_agreed_is_asked_about_the_first_file(pipeline, working):
    pipeline.agreed = []
    pipeline.save()
    run = begin(pipeline, BEFORE)
    working()
    asked = [team["team"] for team in stage(run, "ownership-change").definition["gate"]["teams"]]
    assert asked == ["dev", "ops"]


def test_an_environment_belongs_to_one_pipeline(pipeline, working):
    begin(pipeline, BEFORE)
    other = Pipeline.objects.create(slug="other", name="Other", owner="dev", repository="/x", agreed=["ops"])
    run = start(
        pipeline=other, push=runs.Push(ref="refs/heads/main", commit="d" * 40), text=b"name: x\n" + BEFORE.encode()
    )
    assert run.state == "error"
    assert "belongs to the pipeline demo and its team ops" in run.reason


def test_no_stage_is_for_an_environment_that_its_file_does_not_declare(pipeline, monkeypatch):
    """Lint says so too; what it overlooks would be somebody else's environment."""
    monkeypatch.setattr(stages._OneStage, "environments_of", lambda *_: [])
    text = BEFORE.replace("environment: production", 'environment: "{{parameters.where}}"')
    head = b"name: x\nparameters: {where: {default: elsewhere, choices: [elsewhere]}}\n"
    run = start(pipeline=pipeline, push=runs.Push(ref="refs/heads/main", commit="d" * 40), text=head + text.encode())
    assert run.state == "error"
    assert run.reason == "Stage ship is for the environment 'elsewhere'; the file has production."


def test_a_file_that_nobody_agreed_to_takes_no_environment(pipeline, working, cast):
    """An environment's name is taken once its file counts: nobody keeps a name from others by a push alone."""
    other = Pipeline.objects.create(slug="other", name="Other", owner="dev", repository="/x")
    held = begin(other, BEFORE)
    working()
    assert not Environment.objects.filter(pipeline=other).exists()
    begin(pipeline, BEFORE)
    assert Environment.objects.get(name="production").pipeline == pipeline
    question = stage(held, "ownership-change")
    runs.approve(stage=question.pk, user=cast.olga, digest=question.plan_digest)
    working()
    assert "belongs to the pipeline demo" in stage(held, "ownership-change").reason


def test_an_environment_stays_whose_it_is_though_a_file_leaves_it_out(pipeline, working, cast):
    """What runs in it, and what was kept of it, are still there."""
    begin(pipeline, BEFORE)
    working()
    without = "stages: [{name: build, kind: noop, owner: dev}]"
    run = begin(pipeline, without, commit="d" * 40)
    working()
    held = stage(run, "ownership-change")
    runs.approve(stage=held.pk, user=cast.olga, digest=held.plan_digest)
    working()
    back = begin(pipeline, "environments: {production: {owner: platform}}\n" + without, commit="e" * 40)
    working()
    changes = stage(back, "ownership-change").definition["with_"]["changes"]
    assert [(one["stage"], one["before"], one["after"], one["team"]) for one in changes] == [
        ("environment production", "ops", "platform", "ops")
    ]


def test_an_agreed_file_has_its_environments_also_on_a_branch(pipeline, working, cast):
    run = begin(pipeline, BEFORE.replace("gate: ops", ""), ref="refs/heads/feature")
    working()
    held = stage(run, "ownership-change")
    runs.approve(stage=held.pk, user=cast.pete, digest=held.plan_digest)
    working()
    assert set(states(run).values()) == {"succeeded"}
    pipeline.refresh_from_db()
    assert pipeline.accepted is None


def test_what_another_teams_stage_does_is_held_where_a_third_keeps_the_pipeline(pipeline, working):
    """A scan without secrets or an environment is its owner's all the same; the keeper's own stages are its own."""
    text = "stages: [{name: scan, kind: command, owner: dev, with: {command: [scan]}}, "
    text += "{name: note, kind: command, owner: platform, with: {command: [note]}}]\n"
    begin(pipeline, text)
    run = begin(pipeline, text.replace("[scan]", '["true"]').replace("[note]", "[tell]"), commit="d" * 40)
    working()
    changes = stage(run, "ownership-change").definition["with_"]["changes"]
    assert [(one["stage"], one["field"], one["team"]) for one in changes] == [("scan", "with", "dev")]


def test_no_file_names_a_stage_like_the_portals_own(pipeline):
    text = b"name: x\nstages: [{name: ownership-change, kind: gate, owner: dev, gate: dev}]\n"
    run = start(pipeline=pipeline, push=runs.Push(ref="refs/heads/main", commit="d" * 40), text=text)
    assert run.state == "error"
    assert "the portal itself adds" in run.reason


def test_an_approval_that_was_overtaken_changes_nothing(pipeline, working, cast):
    """Two changes ask the same team; once one has been accepted, the other no longer fits what counts."""
    text = "stages: [{name: ship, kind: noop, owner: %s}, {name: other, kind: noop, owner: %s}]\n"
    begin(pipeline, text % ("dev", "dev"))
    working()
    gives, keeps = (
        begin(pipeline, text % ("ops", "dev"), commit="d" * 40),
        begin(pipeline, text % ("dev", "ops"), commit="e" * 40),
    )
    working()
    for run in (gives, keeps):
        held = stage(run, "ownership-change")
        for user in (cast.ann, cast.olga):
            runs.approve(stage=held.pk, user=user, digest=held.plan_digest)
        working()
    assert stage(gives, "ownership-change").state == "succeeded"
    assert stage(keeps, "ownership-change").state == "failed"
    pipeline.refresh_from_db()
    assert pipeline.accepted == gives.definition


RIGHTS = """
environments: {production: {owner: ops}}
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: command, owner: ops, needs: [build], environment: production, gate: ops, with: {command: [x]}}
"""
NOW_PLATFORMS = RIGHTS.replace("ops", "platform")
TWO_OF_OPS = RIGHTS.replace("gate: ops", "gate: {teams: {ops: 2}}")


@pytest.mark.parametrize("now", [NOW_PLATFORMS, TWO_OF_OPS])
def test_a_run_under_an_older_file_keeps_no_rights_that_were_given_away(pipeline, working, cast, scripts, now):
    scripts.ends("ship", Outcome("failed", "no"))
    failed = begin(pipeline, RIGHTS, commit="a" * 40)
    working()
    runs.approve(stage=stage(failed, "ship").pk, user=cast.olga, digest=stage(failed, "ship").plan_digest)
    working()
    assert states(failed)["ship"] == "failed"
    waiting = begin(pipeline, RIGHTS, commit="b" * 40)
    working()
    change = begin(pipeline, now, commit="c" * 40)
    working()
    held = stage(change, "ownership-change")
    for team in held.definition["gate"]["teams"]:
        user = {"ops": cast.olga, "platform": cast.pete}[team["team"]]
        runs.approve(stage=held.pk, user=user, digest=held.plan_digest)
    working()
    begun = scripts.calls.count(("start", "ship"))
    ship = stage(waiting, "ship")
    for attempt in (
        lambda: runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest),
        lambda: runs.retry(stage=stage(failed, "ship").pk, user=cast.olga),
        lambda: runs.retry_failed(run=failed.pk, user=cast.olga),
        lambda: runs.skip(stage=stage(failed, "ship").pk, user=cast.olga, reason="in a hurry"),
    ):
        with pytest.raises(runs.Conflict, match="Another pipeline file counts since this run began"):
            attempt()
    working()
    assert scripts.calls.count(("start", "ship")) == begun
    runs.reject(stage=ship.pk, user=cast.olga, digest=ship.plan_digest, reason="it is theirs now")


def test_a_run_that_asked_for_its_own_change_keeps_what_it_was_given(pipeline, working, cast, scripts):
    begin(pipeline, RIGHTS)
    working()
    run = begin(pipeline, RIGHTS.replace("gate: ops", "gate: dev"), commit="d" * 40, ref="refs/heads/other")
    working()
    held = stage(run, "ownership-change")
    for team in held.definition["gate"]["teams"]:
        user = {"ops": cast.olga, "platform": cast.pete, "dev": cast.ann}[team["team"]]
        runs.approve(stage=held.pk, user=user, digest=held.plan_digest)
    working()
    ship = stage(run, "ship")
    runs.approve(stage=ship.pk, user=cast.ann, digest=ship.plan_digest)
    working()
    assert states(run)["ship"] == "succeeded"


@pytest.mark.parametrize("trigger", ["rerun", "manual", "schedule"])
def test_who_pushed_a_commit_has_pushed_it_in_every_run_of_it(pipeline, working, cast, scripts, trigger):
    begin(pipeline, RIGHTS, requested_by=cast.olga, author="Eve <eve@elsewhere.example>")
    working()
    again = begin(pipeline, RIGHTS, requested_by=None if trigger == "schedule" else cast.ann, trigger=trigger)
    working()
    ship = stage(again, "ship")
    with pytest.raises(runs.NotAllowed, match="You pushed or requested this run"):
        runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    runs.approve(stage=ship.pk, user=cast.otto, digest=ship.plan_digest)
