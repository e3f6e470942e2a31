"""A page costs the same number of statements, however much is stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from pipelines import events
from pipelines.models import Attempt, Delivery, Release, Run
from teams import audit
from tests.pipelines.helpers import begin, stage

pytestmark = pytest.mark.django_db

GATED = """
environments: {{production: {{owner: ops}}}}
stages:
  - {{name: build, kind: noop, owner: dev}}
  - {{name: ship, kind: gate, owner: ops, needs: [build], gate: {{teams: {{ops: 1}}}}}}
{more}
"""


def file_of(stages):
    """A pipeline file with a gate and `stages` stages behind it."""
    more = "\n".join(f"  - {{name: s{i}, kind: noop, owner: dev, needs: [ship]}}" for i in range(stages))
    return GATED.format(more=more)


def grow(pipeline, cast, working, amount):
    """`amount` more runs, and as much history of everything else; the last run has as many stages."""
    for number in range(amount):
        begin(pipeline, file_of(amount if number == amount - 1 else 2), requested_by=cast.ann)
    working()
    run = Run.objects.order_by("pk").last()
    ship = stage(run, "ship")
    now = timezone.now()
    for number in range(amount):
        Attempt.objects.create(stage=ship, number=number, key=f"x{run.pk}-{number}", open=False, started_at=now)
        audit.write(actor="ann", action="start", target=f"run:demo/{number}")
        Delivery.objects.create(pipeline=pipeline, provider="git", delivery=f"{run.pk}-{number}", ref="x", run=run)
        Release.objects.create(
            environment=pipeline.environments.get(), name=f"r{run.pk}-{number}", run=run, commit="c" * 40,
            verified_at=now - timedelta(days=number),
        )  # fmt: skip
    said = [events.Decided(action="approve", actor="olga", team="ops"), events.LogWritten(text="line\n" * 50)]
    events.append(run.pk, [events.New(one, ship.pk, 1) for one in said * amount])
    return run


def addresses(run):
    page = reverse("portal:run", args=["demo", run.number])
    return {
        "inbox": reverse("portal:inbox"),
        "question": reverse("portal:inbox-question", args=[stage(run, "ship").pk]),
        "runs": reverse("portal:runs"),
        **{tab: f"{page}?stage=ship&tab={tab}" for tab in ("plan", "log", "attempts", "decisions")},
        "header": reverse("portal:run-header", args=["demo", run.number]),
        "list": reverse("portal:stage-list", args=["demo", run.number]),
        "environment": reverse("portal:environment", args=["demo", "production"]),
        "pipeline": reverse("portal:pipeline", args=["demo"]),
        "teams": reverse("portal:teams"),
        "audit": reverse("portal:audit"),
    }


def counted(client, run):
    found = {}
    for name, address in addresses(run).items():
        client.get(address)  # what is cached for good is not counted
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(address).status_code == 200, address
        found[name] = len(queries)
    return found


def test_pages_cost_the_same_with_much_as_with_little(sign_in, pipeline, cast, working):
    client = sign_in("olga")
    few = counted(client, grow(pipeline, cast, working, 5))
    many = counted(client, grow(pipeline, cast, working, 50))
    assert many == few
    assert max(many.values()) <= 25, many


def test_lists_are_read_page_by_page(sign_in, pipeline, cast):
    for _ in range(65):
        begin(pipeline, "stages: [{name: only, kind: noop, owner: dev}]")
    client = sign_in("ann")
    address, seen = reverse("portal:runs"), []
    while address:
        page = client.get(address)
        seen += [run.number for run, _ in page.context["rows"]]
        older = page.context["older"]
        address = f"{reverse('portal:runs')}?before={older}" if older else ""
    assert seen == list(range(65, 0, -1))
