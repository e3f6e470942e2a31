"""The page of a run with ten thousand stages: small, fast, and still of use."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from pipelines import selectors
from pipelines.models import Pipeline, Run, Stage

pytestmark = pytest.mark.django_db

GATE = {"teams": [{"team": "ops", "quorum": 1}], "self_approval": False, "reason_required": False}


def filled(pipeline: Pipeline, cast: Any, shards: int, state: Callable[[int], str] = lambda _: "succeeded") -> Run:
    """One build, a matrix of `shards`, and a gate of ops that waits."""
    number = Run.objects.count() + 1
    run = Run.objects.create(
        pipeline=pipeline, number=number, commit="c" * 40, ref="refs/heads/main", trigger="push", state="waiting",
        requested_by=cast.ann,
    )  # fmt: skip
    given: list[dict[str, Any]] = [{"name": "build", "state": "succeeded"}]
    given += [
        {"name": f"test/{i:05}", "title": "Test", "group": "test", "matrix": {"n": f"{i:05}"}, "needs": ["build"]}
        | {"state": state(i), "owner": "platform" if i % 2 else "dev"}
        for i in range(shards)
    ]
    given += [{"name": "ship", "title": "Ship it", "kind": "gate", "owner": "ops", "gate": GATE, "state": "waiting"}]
    rows = []
    for position, one in enumerate(given):
        definition = {"kind": "noop", "owner": "dev", "needs": [], "title": "", "group": one["name"], "matrix": {}}
        definition |= {"gate": None, "environment": None, "on_exit": False} | one
        definition["depends"] = " && ".join(definition["needs"])
        fields = {key: definition[key] for key in ("name", "kind", "owner", "state")}
        asks = {
            "reason_code": "approval",
            "plan_digest": "sha256:1",
            "since": timezone.now(),
            "plan": {"summary": "go on"},
        }
        more = asks if one["state"] == "waiting" else {"started_at": timezone.now()}
        rows.append(Stage(run=run, position=position, definition=definition, **fields, **more))
    Stage.objects.bulk_create(rows, batch_size=500)
    return run


def page_of(client: Client, run: Run, query: str = "", view: str = "run") -> str:
    answer = client.get(reverse(f"portal:{view}", args=["demo", run.number]) + query)
    assert answer.status_code == 200
    return answer.text


def seconds(what: Callable[..., Any], *arguments: Any) -> float:
    begun = time.monotonic()
    what(*arguments)
    return time.monotonic() - begun


def listed(page: str) -> list[str]:
    return re.findall(r'<span class="stage-name">([^<]*)</span>', page)


def test_ten_thousand_stages_are_a_small_page_at_once(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 9_998, lambda i: "failed" if i in (7, 4_000) else "succeeded")
    client = sign_in("olga")
    page = page_of(client, run)
    assert min(seconds(page_of, client, run) for _ in range(3)) < 1
    assert len(page) < 300_000
    assert "9,999 of 10,000 stages ended" in page
    assert "2 failed" in page
    for view in ("run-header", "stage-list"):
        assert len(page_of(client, run, view=view)) < 20_000
        assert min(seconds(page_of, client, run, "", view) for _ in range(3)) < 0.5


def test_it_costs_as_many_queries_as_a_small_one(sign_in, pipeline, cast):
    client, counts = sign_in("olga"), []
    for shards in (3, 300):
        run = filled(pipeline, cast, shards, lambda i: ("failed", "running", "succeeded")[i % 3])
        found = []
        for view, query in (("run", ""), ("run-header", ""), ("stage-list", ""), ("stage-list", "?name=est/0")):
            page_of(client, run, query, view)
            with CaptureQueriesContext(connection) as queries:
                page_of(client, run, query, view)
            found.append(len(queries))
        counts.append(found)
    assert counts[0] == counts[1]


def test_what_is_over_is_folded_and_what_failed_comes_first(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 300, lambda i: "failed" if i % 10 == 0 else "succeeded")
    page = page_of(sign_in("ann"), run, view="stage-list")
    assert listed(page) == ["Ship it", *(f"Test [{i:05}]" for i in range(0, 120, 10))]
    assert "All 30" in page
    assert "Show them" in page


def test_the_stages_of_one_state_come_page_by_page(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 250)
    client, seen, query = sign_in("ann"), [], "state=succeeded"
    while query:
        page = page_of(client, run, f"?{query}", "stage-list")
        seen += listed(page)
        after = re.search(r'data-stage-page="([^"]*)">Next', page)
        query = after[1].replace("&amp;", "&") if after else ""
    assert seen == ["build", *(f"Test [{i:05}]" for i in range(250))]
    assert "of 251" in page
    assert "Before" in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?name=00007", ["Test [00007]"]),
        ("?name=SHIP", ["Ship it"]),
        ("?team=ops", ["Ship it"]),
        ("?only=0.2-3", ["build", "Test [00001]", "Test [00002]"]),
        ("?state=waiting&team=dev", []),
        ("?team=platform&only=1-4", ["Test [00001]", "Test [00003]"]),
    ],
)
def test_stages_are_found_by_name_title_team_state_and_box(sign_in, pipeline, cast, query, names):
    run = filled(pipeline, cast, 60)
    assert sorted(listed(page_of(sign_in("ann"), run, query, "stage-list"))) == sorted(names)
    # The address of the whole page shows the same.
    assert sorted(listed(page_of(sign_in("ann"), run, query))) == sorted(names)


@pytest.mark.parametrize(
    "query", ["?state=nonsense", "?only=x", "?only=1-99999999999", "?page=0", "?team=%00", "?page=99"]
)
def test_a_filter_that_cannot_be_read_is_none(sign_in, pipeline, cast, query):
    run = filled(pipeline, cast, 5)
    assert len(listed(page_of(sign_in("ann"), run, query))) == 7


def test_a_box_of_the_whole_run_is_cheap_to_list(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 5)
    client, query = sign_in("ann"), "?only=0-999999999.0-999999999"
    assert len(listed(page_of(client, run, query, "stage-list"))) == 7
    assert min(seconds(page_of, client, run, query, "stage-list") for _ in range(3)) < 1


def test_the_header_leads_who_may_approve_to_the_decision(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 100)
    assert 'data-to-decide="' in page_of(sign_in("olga"), run, view="run-header")
    assert 'data-to-decide="' not in page_of(sign_in("ann"), run, view="run-header")


def test_of_several_questions_mine_is_told_and_opened_first(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 2)
    first = Stage.objects.get(run=run, name="test/00000")
    gate = GATE | {"teams": [{"team": "platform", "quorum": 1}]}
    Stage.objects.filter(pk=first.pk).update(
        state="waiting", reason_code="approval", plan_digest="sha256:2", gated=True, since=timezone.now(),
        definition=first.definition | {"gate": gate, "title": "Configure it"},
    )  # fmt: skip
    assert "approve “Ship it”. You can approve it." in page_of(sign_in("olga"), run)
    assert 'id="decide"' in page_of(sign_in("olga"), run)
    assert "approve “Configure it" in page_of(sign_in("dora"), run)


def test_a_narrow_screen_gets_a_narrow_picture(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 3)
    widths = [
        int(re.search(r'<svg [^>]*width="(\d+)"', page_of(sign_in("ann"), run, f"?columns={columns}", "run-graph"))[1])
        for columns in (1, 5)
    ]
    assert widths[0] < 280 < widths[1]


def test_all_that_a_gate_holds_up_is_not_listed(sign_in, pipeline, cast):
    run = filled(pipeline, cast, 400, lambda _: "pending")
    for stage in run.stages.filter(name__startswith="test"):
        stage.definition["needs"] = ["ship"]
        stage.save(update_fields=["definition"])
    page = page_of(sign_in("olga"), run)
    assert "and 380 more" in page
    assert len(page) < 100_000


def test_glances_are_cheap(pipeline, cast, django_assert_num_queries):
    run = filled(pipeline, cast, 50)
    with django_assert_num_queries(1):
        stages = selectors.glances_of(run)
    assert [stage.position for stage in stages] == list(range(52))
