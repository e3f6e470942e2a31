"""Lists, details, events and logs: complete, cheap, and as the OpenAPI document says."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pipelines import events
from pipelines.api import find, shapes, urls
from pipelines.models import Beat, Environment, Pipeline, Release, Run
from teams.models import AuditEntry
from tests.pipelines.helpers import begin, stage

pytestmark = pytest.mark.django_db

RUN = "/api/runs/demo/1"


def same_keys(answer: dict[str, Any], shape: Any) -> None:
    """The answer has exactly the fields of its shape, all the way down."""
    fields = shape.get_fields()
    assert set(answer) == set(fields), shape
    for name, field in fields.items():
        inner = getattr(field, "child", field)
        if isinstance(inner, shapes.Shape) and answer[name] is not None:
            value = answer[name]
            values = [value] if inner is field else list(value.values()) if isinstance(value, dict) else value
            for one in values:
                same_keys(one, inner) if isinstance(one, dict) else [same_keys(each, inner.child) for each in one]


def test_answers_have_the_documented_fields(gated, released, speak, cast):
    client = speak(cast.olga)
    for address, shape in {
        "/api/me": shapes.Person(),
        "/api/runs": shapes.page_of(shapes.Run),
        RUN: shapes.RunDetail(),
        f"{RUN}/events": shapes.Events(),
        f"{RUN}/stages/ship": shapes.StageDetail(),
        f"{RUN}/stages/ship/log?format=json": shapes.Log(),
        "/api/inbox": shapes.Inbox(),
        "/api/audit": shapes.page_of(shapes.AuditEntry),
        "/api/pipelines/demo": shapes.PipelineDetail(),
        "/api/pipelines/demo/definitions": shapes.page_of(shapes.Definition),
        f"/api/pipelines/demo/definitions/{gated.definition.digest}": shapes.DefinitionDetail(),
        "/api/environments/demo/staging": shapes.EnvironmentDetail(),
    }.items():
        answer = client.get(address)
        assert answer.status_code == 200, address
        same_keys(answer.json(), shape)
    same_keys(client.get("/api/environments").json()[0], shapes.Environment())
    same_keys(client.get("/api/pipelines").json()[0], shapes.Pipeline())
    same_keys(client.get("/api/teams").json()[0], shapes.NamedTeam())
    same_keys(client.get("/api/tokens").json()[0], shapes.Token())


def count(client: Any, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_no_list_costs_more_queries_when_it_is_longer(gated, released, working, speak, cast, pipeline):
    client = speak(cast.olga)
    lists = ["/api/runs", "/api/inbox", "/api/audit", "/api/pipelines", "/api/environments", "/api/tokens",
             "/api/pipelines/demo/definitions", "/api/environments/demo/staging", RUN, f"{RUN}/events"]  # fmt: skip
    # One that asks under another file than the one that counts, which has to be looked at.
    begin(pipeline, "stages:\n  - {name: s, kind: gate, owner: ops, gate: {teams: {ops: 1}}}\n")
    working()
    before = {address: count(client, address) for address in lists}
    for number in range(5):
        begin(pipeline, f"stages:\n  - {{name: s{number}, kind: gate, owner: ops, gate: {{teams: {{ops: 1}}}}}}\n")
        other = Pipeline.objects.create(slug=f"p{number}", name="P", owner="ops", repository="/r")
        environment = Environment.objects.create(pipeline=other, name="e", owner="ops")
        Release.objects.create(environment=environment, name="r", run=gated, commit="0" * 40)
        Release.objects.create(
            environment=Environment.objects.get(name="staging"), name="r", run=gated, commit="0" * 40
        )
    working()
    assert {address: count(client, address) for address in lists} == before
    assert len(client.get("/api/inbox").json()["mine"]) == 7


def test_a_run_with_many_stages_costs_as_many_queries_as_one_with_few(pipeline, gated, speak, cast):
    client = speak(cast.olga)
    begin(pipeline, "stages: [{name: s, kind: noop, owner: dev}]")
    few = count(client, "/api/runs/demo/2")
    wide = "\n".join(f"  - {{name: s{i}, kind: noop, owner: dev}}" for i in range(60))
    begin(pipeline, f"stages:\n{wide}\n")
    assert count(client, "/api/runs/demo/3") <= few


def test_the_stages_of_a_large_run_come_in_pages(pipeline, gated, speak, cast):
    wide = "\n".join(f"  - {{name: s{i}, kind: noop, owner: dev}}" for i in range(1004))
    begin(pipeline, f"stages:\n{wide}\n")
    client, address = speak(cast.olga), "/api/runs/demo/2"
    first = client.get(address).json()
    assert (len(first["stages"]), first["stages_count"], first["stages_next"]) == (1000, 1005, 1000)
    last = client.get(address, {"stages_from": first["stages_next"]}).json()
    assert (last["stages"][-1]["name"], len(last["stages"]), last["stages_next"]) == ("s1003", 5, None)
    assert first["now"] == last["now"]
    few = client.get(RUN, {"stages_from": 1, "stages_limit": 2}).json()
    assert (len(few["stages"]), few["stages_next"]) == (2, 3)
    assert few["now"] == client.get(RUN).json()["now"]
    assert client.get(RUN, {"stages_limit": 5000}).status_code == 400


def test_runs_are_filtered_and_paged(pipeline, speak, cast):
    other = Pipeline.objects.create(slug="other", name="O", owner="ops", repository="/r")
    for row, state in ((pipeline, "failed"), (pipeline, "succeeded"), (other, "failed")):
        for number in range(3):
            Run.objects.create(
                pipeline=row, number=Run.objects.filter(pipeline=row).count() + 1, commit=f"{number:040}",
                ref="refs/heads/main", trigger="push", state=state,
            )  # fmt: skip
    client = speak(cast.ann)
    found = client.get("/api/runs?pipeline=demo&state=failed").json()
    assert [run["run"] for run in found["results"]] == ["demo/3", "demo/2", "demo/1"]
    seen, address = [], "/api/runs?size=4"
    while address:
        page = client.get(address).json()
        seen += [run["run"] for run in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 9
    assert client.get("/api/runs?state=purple").status_code == 400
    assert client.get("/api/runs?limit=4").json()["fields"].keys() == {"limit"}


def test_events_are_followed_without_a_gap_and_answer_304_when_nothing_is_new(gated, working, speak, cast):
    client = speak(cast.ann)
    first = client.get(f"{RUN}/events?limit=3")
    assert "ETag" not in first
    rest = client.get(f"{RUN}/events?since={first.json()['next']}")
    numbers = [event["seq"] for event in first.json()["events"] + rest.json()["events"]]
    assert numbers == list(range(1, rest.json()["last_seq"] + 1))

    tag = {"HTTP_IF_NONE_MATCH": rest["ETag"]}
    assert client.get(f"{RUN}/events?since={rest.json()['next']}", **tag).status_code == 304
    client.post(f"{RUN}/cancel", {}, format="json")
    more = client.get(f"{RUN}/events?since={rest.json()['next']}&kinds=decision", **tag)
    assert [event["data"]["action"] for event in more.json()["events"]] == ["cancel"]
    assert more.json()["next"] == more.json()["last_seq"]


def test_an_event_that_comes_while_others_are_read_is_told_once(gated, speak, cast, monkeypatch):
    client, build = speak(cast.ann), stage(gated, "build")
    stale, find_run = Run.objects.get(pk=gated.pk), find.run
    events.append(gated.pk, [events.New(events.LogWritten(text="meanwhile\n"), build.pk, 1)])
    monkeypatch.setattr(find, "run", lambda *_: stale)
    first = client.get(f"{RUN}/events").json()
    monkeypatch.setattr(find, "run", find_run)
    rest = client.get(f"{RUN}/events?since={first['next']}").json()
    numbers = [event["seq"] for event in first["events"] + rest["events"]]
    assert numbers == list(range(1, rest["last_seq"] + 1))


def test_a_log_comes_as_text_or_in_parts(gated, speak, cast):
    build = stage(gated, "build")
    for text in ("one\n", "zwei ✓\n"):
        events.append(gated.pk, [events.New(events.LogWritten(text=text), build.pk, 1)])
    client, address = speak(cast.ann), f"{RUN}/stages/build/log"
    plain = client.get(address)
    assert plain["Content-Type"] == "text/plain; charset=utf-8"
    assert plain.content.decode() == "one\nzwei ✓\n"
    part = client.get(f"{address}?limit=1", HTTP_ACCEPT="application/json").json()
    assert ([p["text"] for p in part["parts"]], part["complete"]) == (["one\n"], False)
    part = client.get(f"{address}?since={part['next']}&format=json").json()
    assert ([p["text"] for p in part["parts"]], part["complete"]) == (["zwei ✓\n"], True)
    missing = client.get(f"{RUN}/stages/none/log")
    assert (missing.status_code, missing.json()["detail"]) == (404, "Run demo/1 has no stage none.")


def test_the_inbox_holds_what_waits_for_me_with_what_i_need_to_decide(gated, speak, cast):
    mine = speak(cast.olga).get("/api/inbox").json()["mine"]
    assert [(entry["run"], entry["name"], entry["missing"]) for entry in mine] == [
        ("demo/1", "ship", ["ops", "platform"])
    ]
    assert mine[0]["digest"] == stage(gated, "ship").plan_digest
    assert mine[0]["blocked"] == [{"title": "after", "owner": "dev"}]
    ann = speak(cast.ann).get("/api/inbox").json()
    assert ann["mine"] == []
    assert set(ann["others"]) == {"ops", "platform"}


def test_the_webhook_secret_is_for_those_who_manage_the_pipeline(pipeline, speak, cast):
    for name, knows in {"pia": True, "root": True, "pete": False, "otto": False, "victor": False}.items():
        answer = speak(getattr(cast, name)).get("/api/pipelines/demo")
        assert (pipeline.webhook_secret in answer.content.decode()) == knows, name
    assert pipeline.webhook_secret not in speak(cast.pia).get("/api/pipelines").content.decode()
    old = pipeline.webhook_secret
    fresh = speak(cast.pia).post("/api/pipelines/demo/webhook-secret", {}, format="json").json()["webhook_secret"]
    assert fresh not in ("", old)
    assert fresh not in str(list(AuditEntry.objects.values()))


def test_a_pipeline_is_set_up_and_changed_by_a_lead_of_its_owner(speak, cast):
    body = {"slug": "shop", "name": "Shop", "owner": "ops", "repository": "https://example.com/shop.git"}
    client = speak(cast.otto)
    assert client.post("/api/pipelines", body, format="json").status_code == 201
    assert client.post("/api/pipelines", body, format="json").status_code == 409
    changed = client.patch("/api/pipelines/shop", {"poll_seconds": 30}, format="json").json()
    assert (changed["poll_seconds"], changed["name"]) == (30, "Shop")
    for field, value in {
        "repository": "ext::sh -c id",
        "owner": "nobody",
        "definition_path": "../x",
        "default_branch": "-x",
        "poll_seconds": -1,
        "slug": "other",
    }.items():
        answer = client.patch("/api/pipelines/shop", {field: value}, format="json")
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    entry = AuditEntry.objects.filter(action="change-pipeline").get()
    assert entry.data == {"before": {"poll_seconds": 0}, "after": {"poll_seconds": 30}}


def test_what_is_no_text_is_named_in_the_answer_and_breaks_nothing(pipeline, speak, cast):
    run = begin(pipeline, "stages: [{name: a, kind: noop, owner: ops}]")
    body = '{"command": "\\ud800"}'
    path = f"/api/runs/demo/{run.number}/stages/a/steer"
    answer = speak(cast.olga).post(path, body, content_type="application/json")
    assert answer.status_code == 400
    assert "ud800" in answer.json()["fields"]["command"][0]


def test_nobody_gives_a_pipeline_to_a_team_but_its_own_leads(speak, cast):
    """What a file gives to the pipeline's owner works with that team's secrets."""
    body = {"slug": "shop", "name": "Shop", "owner": "dev", "repository": "https://example.com/shop.git"}
    client = speak(cast.dora)
    assert client.post("/api/pipelines", body, format="json").status_code == 201
    assert client.patch("/api/pipelines/shop", {"owner": "ops"}, format="json").status_code == 403
    assert not AuditEntry.objects.get(action="manage-pipeline", allowed=False).data.get("after")
    assert Pipeline.objects.get(slug="shop").owner == "dev"


def test_tokens_are_made_listed_used_and_revoked(speak, cast):
    client = speak(cast.ann)
    made = client.post("/api/tokens", {"days": 7}, format="json").json()
    other = speak(None)
    other.credentials(HTTP_AUTHORIZATION=f"Bearer {made['token']}")
    assert other.get("/api/me").json()["username"] == "ann"
    listed = {token["id"]: token["current"] for token in other.get("/api/tokens").json()}
    assert listed.pop(made["id"])
    assert list(listed.values()) == [False]
    assert speak(cast.dora).delete(f"/api/tokens/{made['id']}").status_code == 404
    assert client.delete(f"/api/tokens/{made['id']}").status_code == 204
    assert other.get("/api/me").status_code == 401
    assert client.post("/api/tokens", {"days": 0}, format="json").status_code == 400
    assert made["token"] not in str(list(AuditEntry.objects.values()))


def test_lint_reports_every_problem_with_its_place(pipeline, speak, cast):
    text = "name: x\nstages:\n  - {name: a, kind: noop, owner: devv}\n  - {name: b, kindd: noop, owner: dev}\n"
    for content_type, body in (("application/yaml", text), ("text/plain", text)):
        answer = speak(cast.ann).post("/api/lint", body, content_type=content_type).json()
        assert not answer["ok"]
        assert {problem["line"] for problem in answer["problems"]} == {3, 4}
        assert "dev" in {problem["hint"] for problem in answer["problems"]}
        assert answer["report"].startswith("pipeline.yaml:3:")
    good = speak(cast.ann).post(
        "/api/lint", {"text": text.replace("devv", "dev").replace("kindd", "kind")}, format="json"
    )
    assert (good.json()["ok"], good.json()["stages"]) == (True, 2)
    assert speak(cast.ann).post("/api/lint", b"\xff", content_type="application/yaml").status_code == 400


def test_lint_of_a_pipeline_says_what_present_owners_would_have_to_approve(gated, speak, cast):
    text = gated.definition.text.replace("ops: 1, platform: 1", "platform: 1")
    answer = speak(cast.ann).post("/api/pipelines/demo/lint", {"text": text}, format="json").json()
    assert answer["ok"]
    assert [(change["stage"], change["field"], change["team"]) for change in answer["held"]] == [
        ("ship", "gate", "ops"),
        ("ship", "gate", "platform"),
    ]


def test_health_tells_strangers_whether_the_sweeper_lives(db, client):
    assert client.get("/api/health").status_code == 503
    Beat.objects.create(name="sweeper", at=timezone.now())
    answer = client.get("/api/health")
    assert (answer.status_code, answer.json()["ok"], answer.json()["database"]) == (200, True, "ok")


def test_health_knows_a_database_that_answers_and_takes_no_writes(db, client):
    Beat.objects.create(name="sweeper", at=timezone.now() - timedelta(seconds=5))
    assert client.get("/api/health").json()["database"] == "ok"
    begin_outage, end_outage = {
        "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
        "postgresql": ("SET LOCAL transaction_read_only = on", "SELECT 1"),
    }[connection.vendor]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(begin_outage)
        answer = client.get("/api/health")
        cursor.execute(end_outage)
        transaction.set_rollback(True)
    assert (answer.status_code, answer.json()["ok"], answer.json()["database"]) == (503, False, "takes no writes")


def test_an_address_that_is_none_is_answered_in_json(db, client):
    answer = client.get("/api/nowhere")
    assert answer.status_code == 404
    assert (
        answer.json()["detail"] == "The portal has nothing at /api/nowhere. All addresses of the API are at /api/docs."
    )


def test_the_schema_of_pipeline_files_is_public(db, client):
    assert client.get("/api/schema/pipeline.json").json()["$schema"].startswith("https://json-schema.org/")


def test_the_openapi_document_knows_every_address(db, client, capsys):
    paths = client.get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json").json()["paths"]
    expected = {
        "/api/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(route.pattern))
        for route in urls.urlpatterns
        if route.name not in ("openapi", "docs")
    }
    assert set(paths) == expected
    assert "Warning" not in capsys.readouterr().err
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert "<script>" not in page.content.decode()
    assert settings.STATIC_URL in page.content.decode()
