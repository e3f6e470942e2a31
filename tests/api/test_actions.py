"""What programs do to runs and stages, and what they are told when it does not fit."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from pipelines.executors.base import Outcome
from pipelines.models import Delivery, Run
from tests.pipelines.helpers import begin, stage, states
from tests.pipelines.scripted import scripts

__all__ = ["scripts"]

pytestmark = pytest.mark.django_db

RUN = "/api/runs/demo/1"
SHIP = f"{RUN}/stages/ship"


def test_a_gate_is_approved_by_its_teams_with_the_digest_that_they_read(gated, working, speak, cast):
    olga, pete = speak(cast.olga), speak(cast.pete)
    seen = olga.get(SHIP).json()
    assert seen["gate"]["teams"] == [
        {"team": "ops", "quorum": 1, "approved": 0},
        {"team": "platform", "quorum": 1, "approved": 0},
    ]
    assert seen["plan"]["summary"] == seen["summary"]
    assert seen["may"]["approve"]["allowed"]

    told = olga.post(f"{SHIP}/approve", {"digest": seen["digest"], "reason": "fine"}, format="json")
    assert told.status_code == 200
    assert [team["approved"] for team in told.json()["gate"]["teams"]] == [1, 0]
    assert told.json()["approvals"][0]["user"] == "olga"
    may = olga.get(SHIP).json()["may"]
    assert (may["approve"]["allowed"], may["reject"]["allowed"]) == (False, True)
    assert olga.post(f"{SHIP}/approve", {"digest": seen["digest"]}, format="json").status_code == 409
    assert pete.post(f"{SHIP}/approve", {"digest": seen["digest"]}, format="json").json()["state"] == "queued"
    working()
    assert pete.get(RUN).json()["state"] == "succeeded"


def test_another_digest_than_what_waits_is_a_conflict(gated, speak, cast):
    answer = speak(cast.olga).post(f"{SHIP}/approve", {"digest": "sha256:" + "0" * 64}, format="json")
    assert answer.status_code == 409
    assert "plan has changed" in answer.json()["detail"]
    assert stage(gated, "ship").state == "waiting"


def test_whoever_pushed_cannot_approve_and_reads_why(pipeline, working, speak, cast):
    begin(
        pipeline, "stages:\n  - {name: ship, kind: gate, owner: ops, gate: {teams: {ops: 1}}}\n", requested_by=cast.olga
    )
    working()
    client = speak(cast.olga)
    seen = client.get("/api/runs/demo/1").json()
    why = seen["stages"][0]["may"]["approve"]
    assert not why["allowed"]
    assert "somebody else" in why["reason"]
    assert why["reason"] in seen["now"]
    answer = client.post("/api/runs/demo/1/stages/ship/approve", {"digest": seen["stages"][0]["digest"]}, format="json")
    assert (answer.status_code, answer.json()["detail"]) == (403, why["reason"])


def test_a_rejection_needs_a_reason_and_ends_the_run(gated, working, speak, cast):
    client = speak(cast.olga)
    digest = client.get(SHIP).json()["digest"]
    answer = client.post(f"{SHIP}/reject", {"digest": digest}, format="json")
    assert (answer.status_code, answer.json()["fields"]) == (400, {"reason": ["This field is required."]})
    assert (
        client.post(f"{SHIP}/reject", {"digest": digest, "reason": "no"}, format="json").json()["state"] == "rejected"
    )
    working()
    assert client.get(RUN).json()["state"] == "rejected"
    assert client.post(f"{RUN}/retry-failed", {}, format="json").status_code == 200
    assert stage(gated, "ship").state in ("waiting", "queued", "pending")


def test_retry_failed_is_refused_to_those_who_own_nothing_that_failed(gated, working, speak, cast):
    digest = stage(gated, "ship").plan_digest
    speak(cast.olga).post(f"{SHIP}/reject", {"digest": digest, "reason": "no"}, format="json")
    working()
    answer = speak(cast.ann).post(f"{RUN}/retry-failed", {}, format="json")
    assert answer.status_code == 403
    assert "ops" in answer.json()["detail"]


BOTH = """
stages:
  - {name: build, kind: command, owner: dev, with: {command: [x]}}
  - {name: ship, kind: command, owner: ops, with: {command: [x]}}
"""


def test_of_what_failed_everybody_may_retry_their_own(pipeline, working, scripts, speak, cast):
    for name in ("build", "ship"):
        scripts.ends(name, Outcome("failed", "exit code 1"), Outcome("succeeded"))
    run = begin(pipeline, BOTH)
    working()
    address = f"/api/runs/demo/{run.number}"
    assert not speak(cast.victor).get(address).json()["may"]["retry-failed"]["allowed"]
    assert speak(cast.olga).get(address).json()["may"]["retry-failed"]["allowed"]
    assert speak(cast.olga).post(f"{address}/retry-failed", {}, format="json").status_code == 200
    working()
    assert states(run) == {"build": "failed", "ship": "succeeded"}


def test_what_may_be_retried_is_what_a_retry_takes(gated, working, speak, cast):
    """Told on the run's page of stages and on the stage's own; `build` has succeeded and `ship` asks after it."""
    client = speak(cast.ann)
    told = {one["name"]: one["may"]["retry"] for one in client.get(RUN).json()["stages"]}
    assert "ship went on from there" in told["build"]["reason"]
    assert client.get(f"{RUN}/stages/build").json()["may"]["retry"] == told["build"]
    answer = client.post(f"{RUN}/stages/build/retry", {}, format="json")
    assert answer.status_code == 409
    assert answer.json()["detail"] == told["build"]["reason"]


def test_cancel_terminate_and_rerun(gated, working, speak, cast):
    client = speak(cast.pete)
    assert client.post(f"{RUN}/terminate", {}, format="json").status_code == 400
    assert client.post(f"{RUN}/cancel", {"reason": "lunch"}, format="json").json()["stopping"] == "cancel"
    assert client.post(f"{RUN}/cancel", {}, format="json").status_code == 409
    working()
    assert states(gated)["report"] == "succeeded"
    answer = client.post(f"{RUN}/rerun", {}, format="json")
    assert answer.status_code == 202
    delivery = client.get(f"/api/deliveries/{answer.json()['id']}").json()
    assert (delivery["open"], delivery["run"]) == (True, None)


def test_skipping_what_has_succeeded_is_a_conflict_and_no_crash(gated, speak, cast):
    answer = speak(cast.ann).post(f"{RUN}/stages/build/skip", {"reason": "why not"}, format="json")
    assert answer.status_code == 409
    assert not speak(cast.ann).get(f"{RUN}/stages/build").json()["may"]["skip"]["allowed"]


def test_a_run_is_asked_for_by_branch_and_its_delivery_tells_of_it(pipeline, speak, cast):
    client = speak(cast.pete)
    asked = {"ref": "main", "parameters": {"soak": "2s"}}
    answer = client.post("/api/pipelines/demo/runs", asked, format="json")
    assert answer.status_code == 202
    row = Delivery.objects.get(pk=answer.json()["id"])
    assert (row.ref, row.commit, row.parameters, row.requested_by) == ("refs/heads/main", "", {"soak": "2s"}, cast.pete)
    row.run = Run.objects.create(pipeline=pipeline, number=7, commit="0" * 40, ref=row.ref, trigger="manual")
    row.open = False
    row.save()
    assert client.get(f"/api/deliveries/{row.pk}").json()["run"]["run"] == "demo/7"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ref"),
        ({"ref": "-upload-pack=x"}, "ref"),
        ({"ref": "main", "commit": "main"}, "commit"),
        ({"ref": "main", "commit": "A" * 40}, "commit"),
        ({"ref": "main", "branch": "x"}, "branch"),
        ({"ref": "main", "parameters": {"a b": "x"}}, "parameters"),
        ({"ref": "main", "parameters": {"a": {"b": 1}}}, "parameters"),
        ({"ref": "a\x00b"}, "ref"),
        ({"ref": "a\ud800"}, "ref"),
    ],
)
def test_a_wrong_body_is_answered_with_the_field_and_writes_nothing(pipeline, speak, cast, body, field):
    text = json.dumps(body)  # as \\u escapes, which can hold what UTF-8 cannot
    answer = speak(cast.pete).post("/api/pipelines/demo/runs", text, content_type="application/json")
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]
    assert field in answer.json()["detail"]
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[1,2]", b'"x"', b"[" * 100_000, b"null", b"1" * 5000])
def test_a_body_that_is_no_object_is_a_400(pipeline, speak, cast, body):
    answer = speak(cast.ann).post("/api/pipelines/demo/runs", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_a_roll_back_starts_a_run_of_its_own(released, speak, cast):
    client = speak(cast.olga)
    assert [r["name"] for r in client.get("/api/environments/demo/staging").json()["releases"]] == ["r1"]
    answer = client.post("/api/environments/demo/staging/rollback", {"release": "r0", "reason": "bad"}, format="json")
    assert answer.status_code == 404
    answer = client.post("/api/environments/demo/staging/rollback", {"release": "r1", "reason": "bad"}, format="json")
    assert answer.status_code == 201
    assert (answer.json()["trigger"], answer.json()["run"]) == ("rollback", "demo/2")


def test_things_that_are_not_there_are_named(gated, speak, cast):
    client = speak(cast.ann)
    for address, words in {
        "/api/runs/demo/99": "run demo/99",
        "/api/runs/none/1": "run none/1",
        f"{RUN}/stages/nope": "stage nope",
        f"{RUN}/stages/no%00pe": "stage nope",
        "/api/pipelines/none": "pipeline none",
        "/api/environments/demo/moon": "environment demo/moon",
        "/api/deliveries/99": "delivery 99",
        "/api/runs/demo/" + "9" * 30: "run demo/999",
        "/api/pipelines/demo/definitions/sha256:x": "no such version",
    }.items():
        answer = client.get(address)
        assert answer.status_code == 404, address
        assert words in answer.json()["detail"]


def test_a_stage_of_a_matrix_is_reached_by_its_whole_name(pipeline, working, speak, cast):
    text = "matrix: {at: [linux/amd64, linux/arm64]}, gate: {teams: {ops: 1}}"
    run = begin(pipeline, f"stages:\n  - {{name: go, kind: gate, owner: ops, {text}}}\n")
    working()
    client = speak(cast.olga)
    for name in ("go[linux/amd64]", "go[linux/arm64]"):
        path = f"{RUN}/stages/{quote(name, safe='')}"
        seen = client.get(path)
        assert (seen.status_code, seen.json()["name"]) == (200, name)
        assert client.get(f"{path}/log").status_code == 200
        answer = client.post(f"{path}/approve", {"digest": seen.json()["digest"]}, format="json")
        assert answer.status_code == 200
    working()
    assert set(states(run).values()) == {"succeeded"}


def test_half_a_character_in_a_conflict_can_be_told(gated, speak, cast):
    body = json.dumps({"digest": stage(gated, "ship").plan_digest, "values": {"\ud800": "x"}})
    answer = speak(cast.olga).post(f"{SHIP}/approve", body, content_type="application/json")
    assert answer.status_code in (400, 409)
    assert "ud800" in answer.json()["detail"]


def test_a_stage_with_a_nul_in_its_name_does_not_exist(gated, speak, cast):
    assert speak(cast.olga).get(f"{RUN}/stages/%00").status_code == 404


def test_what_is_named_like_a_credential_is_in_no_answer(pipeline, working, speak, cast):
    begin(
        pipeline,
        """
        parameters: {deploy_token: {default: none-yet}}
        stages:
          - name: go
            kind: command
            owner: ops
            gate: ops
            with: {command: [x, "{{parameters.deploy_token}}"], env: {A_TOKEN: "{{parameters.deploy_token}}"}}
        """,
        parameters={"deploy_token": "sk-live-8811"},
    )
    working()
    client = speak(cast.olga)
    for address in (RUN, f"{RUN}/stages/go", f"{RUN}/events"):
        assert "sk-live-8811" not in client.get(address).content.decode(), address
