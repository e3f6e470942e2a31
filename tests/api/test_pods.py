"""The addresses of pods: who asks is told by a token that no person has; an attempt's is good for it alone."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from pipelines.engines.argo import contents, desk, identity
from pipelines.engines.argo.runner import readings
from pipelines.models import Attempt, Event, Stage, Workflow
from pipelines.performance.models import Level, Measurement
from pipelines.performance.sketch import Sketch
from pipelines.runs.push import Push
from pipelines.runs.start import start

pytestmark = pytest.mark.django_db

FILE = b"""
name: demo
engine: argo
stages:
  - {name: build, kind: noop, owner: dev, retry: {limit: 1, on: failed}}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: ops}
"""


@pytest.fixture
def run(pipeline: Any) -> Any:
    made = start(pipeline=pipeline, push=Push(ref="refs/heads/main", commit="c" * 40), text=FILE)
    Workflow.objects.create(run=made, serial=1, name="wf", uid="u", tasks={"build": ["build"], "ship": ["ship"]})
    return made


@pytest.fixture(autouse=True)
def argo(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.executors.connections import Argo, Cluster

    settings = Argo(Cluster("main"), "burger", "http://portal", "runner")
    monkeypatch.setattr(desk, "argo_settings", lambda: settings)


def pod(stage: str, account: str, phase: str = "work", name: str = "p1") -> identity.Pod:
    return identity.Pod(name, f"uid-{name}", account, "wf", "u", stage, phase)


def post(speak: Any, name: str, token: str, body: dict[str, Any]) -> Any:
    return speak(None).post(reverse(f"api:{name}"), body, format="json", HTTP_AUTHORIZATION=f"Bearer {token}")


def test_no_person_is_a_pod(run, speak, cast):
    for name in ("pod-claim", "pod-reports"):
        for client in (speak(None), speak(cast.olga), speak(cast.root)):
            assert client.post(reverse(f"api:{name}"), {}, format="json").status_code == 401


def test_a_stage_is_done_by_its_own_team_alone(run):
    with pytest.raises(identity.Stranger, match="burger-dev"):
        desk.claim(pod("build", "burger-ops"))
    with pytest.raises(identity.Stranger, match="no stage"):
        desk.claim(pod("other", "burger-dev"))
    assert desk.claim(pod("build", "burger-dev"))["do"] == "work"


def test_reports_are_taken_once_and_in_order(run, speak):
    order = desk.claim(pod("build", "burger-dev"))
    said = {"first": 1, "reports": [{"kind": "log", "text": "one\n"}, {"kind": "log", "text": "two\n"}]}
    for _ in range(2):
        assert post(speak, "pod-reports", order["token"], said).json() == {"reported": 2}
    late = {"first": 4, "reports": [{"kind": "log", "text": "four\n"}]}
    assert post(speak, "pod-reports", order["token"], late).json() == {"reported": 2}
    end = {"first": 3, "reports": [{"kind": "outcome", "outcome": {"state": "succeeded"}}]}
    for _ in range(2):
        assert post(speak, "pod-reports", order["token"], end).json() == {"reported": 3}
    assert [event.data["text"] for event in Event.objects.filter(run=run, kind="log")] == ["one\n", "two\n"]
    assert Stage.objects.get(run=run, name="build").state == "succeeded"
    assert desk.claim(pod("build", "burger-dev"))["do"] == "end"


def test_a_pod_that_did_not_hear_the_answer_is_given_it_again(run):
    first, again = (desk.claim(pod("build", "burger-dev")) for _ in range(2))
    assert first["key"] == again["key"]
    assert identity.attempt_of(first["token"]) == identity.attempt_of(again["token"])
    assert not again["probe"]


def test_another_pod_finds_out_what_became_of_the_work(run, speak):
    first = desk.claim(pod("build", "burger-dev"))
    second = desk.claim(pod("build", "burger-dev", name="p2"))
    assert (second["key"], second["probe"]) == (first["key"], True)
    late = post(speak, "pod-reports", first["token"], {"first": 1, "reports": [{"kind": "log", "text": "late"}]})
    assert late.status_code == 409
    assert not Event.objects.filter(run=run, kind="log").exists()


def test_a_retry_is_another_pods(run, speak):
    order = desk.claim(pod("build", "burger-dev"))
    failed = {"first": 1, "reports": [{"kind": "outcome", "outcome": {"state": "failed", "reason": "no"}}]}
    assert post(speak, "pod-reports", order["token"], failed).status_code == 200
    assert desk.claim(pod("build", "burger-dev")) == {"do": "end", "code": 75, "why": "Another pod tries it again."}
    assert desk.claim(pod("build", "burger-dev", name="p2"))["number"] == 2


def test_what_is_resumed_past_the_portal_runs_nothing_and_is_told(run, speak):
    order = desk.claim(pod("build", "burger-dev"))
    done = {"first": 1, "reports": [{"kind": "outcome", "outcome": {"state": "succeeded"}}]}
    post(speak, "pod-reports", order["token"], done)
    planner = desk.claim(pod("ship", "burger-ops", "plan"))
    plan = {"summary": "ship", "commit": "c" * 40, "kind": "gate", "stage": "ship"}
    post(speak, "pod-reports", planner["token"], {"first": 1, "reports": [{"kind": "planned", "plan": plan}]})
    assert Stage.objects.get(run=run, name="ship").reason_code == "approval"
    for _ in range(2):
        assert desk.claim(pod("ship", "burger-ops", name="p3"))["do"] == "wait"
    (notice,) = Event.objects.filter(run=run, kind="notice")
    assert "before ship was approved; nothing was run" in notice.data["text"]
    assert Attempt.objects.filter(stage__name="ship", phase="work").count() == 0


def test_a_pod_reads_what_its_stage_works_with_and_adds_what_it_makes(run, speak, settings, tmp_path):
    settings.HOME = tmp_path
    order = desk.claim(pod("build", "burger-dev"))
    content = b"a slug"
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    address, client = reverse("api:pod-store", kwargs={"digest": digest}), speak(None)
    headers = {"HTTP_AUTHORIZATION": f"Bearer {order['token']}"}
    kind = "application/octet-stream"
    assert client.generic("PUT", address, b"other", content_type=kind, **headers).status_code == 400
    assert client.generic("PUT", address, content, content_type=kind, **headers).status_code == 204
    assert client.get(address, **headers).status_code == 404, "no stage before it made that"
    made = {"name": "build", "kind": "slug", "digest": digest, "size": 6, "meta": {}}
    post(speak, "pod-reports", order["token"], {"first": 1, "reports": [
        {"kind": "produced", "artifact": made}, {"kind": "outcome", "outcome": {"state": "succeeded"}},
    ]})  # fmt: skip
    planner = desk.claim(pod("ship", "burger-ops", "plan"))
    answer = client.get(address, HTTP_AUTHORIZATION=f"Bearer {planner['token']}")
    assert b"".join(answer.streaming_content) == content
    assert not list(Path(tmp_path).rglob("arriving-*"))


CONFIGURED = b"""
name: demo
engine: argo
environments: {staging: {owner: platform}}
stages:
  - {name: source, kind: source, owner: dev}
  - name: set-up
    kind: ansible
    owner: platform
    environment: staging
    needs: [source]
    with: {playbook: site.yml}
"""


def test_pods_digest_secrets_with_the_keys_of_the_installation(pipeline, settings, tmp_path):
    """Else what one pod planned would be another plan in the next one, and never be approved."""
    settings.HOME = tmp_path
    made = start(pipeline=pipeline, push=Push(ref="refs/heads/main", commit="c" * 40), text=CONFIGURED)
    tasks = {"source": ["source"], "set-up": ["set-up"]}
    Workflow.objects.create(run=made, serial=1, name="wf", uid="u", tasks=tasks)
    assert desk.claim(pod("source", "burger-dev"))["keys"] == {}
    Stage.objects.filter(run=made, name="set-up").update(state="queued")
    given = [desk.claim(pod("set-up", "burger-platform", name=name))["keys"] for name in ("p1", "p2")]
    assert given == [{"content.key": (tmp_path / "content.key").read_text()}] * 2


def test_what_a_stage_makes_may_be_large_for_whoever_shows_its_token(run):
    token = desk.claim(pod("build", "burger-dev"))["token"].encode()

    def asked(path: str = "/api/engine/store/sha256:0", method: str = "PUT", shown: bytes = b"Bearer " + token) -> bool:
        return contents.may_send({"method": method, "path": path, "headers": [(b"authorization", shown)]})

    assert asked()
    assert not asked(method="POST")
    assert not asked(path="/api/engine/reports")
    assert not asked(shown=b"Bearer " + token[:-1])
    assert not asked(shown=b"")


JUDGED = b"""
name: demo
engine: argo
environments: {staging: {owner: ops}}
stages:
  - {name: source, kind: source, owner: dev}
  - {name: look, kind: verify, owner: ops, environment: staging, needs: [source], with: {soak: 10s}}
"""


def measure(environment: str, metric: str, *values: float) -> None:
    Measurement.objects.create(
        level=Level.MINUTE, start=datetime(2026, 5, 4, 12, tzinfo=UTC), environment=environment, release="r1",
        metric=metric, count=len(values), sketch=Sketch(values).to_bytes() if metric == "LCP" else b"",
    )  # fmt: skip


def test_a_pod_that_judges_a_release_reads_what_was_measured_in_its_environment(pipeline, speak):
    made = start(pipeline=pipeline, push=Push(ref="refs/heads/main", commit="c" * 40), text=JUDGED)
    Workflow.objects.create(run=made, serial=1, name="wf", uid="u", tasks={"source": ["source"], "look": ["look"]})
    Stage.objects.filter(run=made, name="look").update(state="queued")
    for environment in ("staging", "production"):
        measure(environment, "LCP", 1000, 2000, 3000)
        measure(environment, "status.2xx", *range(7))
        measure(environment, "status.5xx", *range(2))
    order = desk.claim(pod("look", "burger-ops"))
    since = datetime(2026, 5, 4, 11, tzinfo=UTC).timestamp()
    asked = {"release": "r1", "sources": "LCP,INP", "since": since, "until": since + 7200}
    address, shown = reverse("api:pod-measured"), {"HTTP_AUTHORIZATION": f"Bearer {order['token']}"}
    found = readings.of_json(speak(None).get(address, asked, **shown).json())
    assert (found.sketches["LCP"].count, found.sketches["INP"].count) == (3, 0)
    assert found.sketches["LCP"].quantile(0.5) == pytest.approx(2000, rel=0.02)
    assert (found.counts.requests, found.counts.errors, found.counts.orders) == (9, 2, 0)
    assert speak(None).get(address, asked | {"environment": "production"}, **shown).status_code == 400
    assert speak(None).get(address, asked | {"since": "nan"}, **shown).status_code == 400
    assert speak(None).get(address, asked).status_code == 401
    desk.claim(pod("look", "burger-ops", name="p2"))
    assert speak(None).get(address, asked, **shown).status_code == 409, "another pod goes on with it"
