"""A change of ownership counts only once the present owner has agreed to it."""

from __future__ import annotations

import pytest

from pipelines import runs
from pipelines.models import DefinitionVersion

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
        runs.approve(stage=held.pk, user=cast.ann, digest=held.plan_digest)
    runs.approve(stage=held.pk, user=cast.olga, digest=held.plan_digest)
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


def test_a_branch_never_changes_what_counts(pipeline, working):
    first = begin(pipeline, BEFORE)
    begin(pipeline, BEFORE.replace("name: build,", "name: build, timeout: 5m,"), ref="refs/heads/feature")
    pipeline.refresh_from_db()
    assert pipeline.accepted == first.definition
