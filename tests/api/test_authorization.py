"""Who may use which address: anonymous nobody, outsiders nothing, and the rest as `teams.policy` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from django.urls import reverse

from pipelines.api import urls
from pipelines.models import Delivery
from teams.policy import Action, Subject, can

pytestmark = pytest.mark.django_db

PUBLIC = {"health", "openapi", "docs", "pipeline-schema"}
NAMES = ("ann", "dora", "victor", "olga", "otto", "pete", "pia", "root")


@dataclass(frozen=True)
class Deed:
    """What one address does, as the policy names it, and a body that is complete."""

    action: Action
    subject: Subject
    body: dict[str, Any] = field(default_factory=dict)
    method: str = "post"


TEAMS = frozenset({"dev", "ops", "platform"})
RUN = Subject(pipeline_owner="platform", teams=TEAMS)
SHIP = Subject(owner="ops", gate_teams=frozenset({"ops", "platform"}))
PIPELINE = Subject(pipeline_owner="platform")
WHY = {"reason": "a test"}

FLOW = (
    "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {name: a}, spec: {entrypoint: a, "
    "templates: [{name: a, container: {image: b}}]}}"
)
DEEDS = {
    "approve": Deed(Action.APPROVE, SHIP, {"digest": "sha256:other"}),
    "reject": Deed(Action.REJECT, SHIP, {"digest": "sha256:other", **WHY}),
    "retry": Deed(Action.RETRY, SHIP),
    "skip": Deed(Action.SKIP, SHIP, WHY),
    "steer": Deed(Action.STEER, SHIP, {"command": "abort"}),
    "override-freeze": Deed(Action.OVERRIDE_FREEZE, SHIP, WHY),
    "cancel": Deed(Action.CANCEL, RUN),
    "terminate": Deed(Action.TERMINATE, RUN, WHY),
    "adopt": Deed(Action.CANCEL, RUN),
    "submit-workflow": Deed(
        Action.START,
        RUN,
        {"files": [{"name": "a.yaml", "text": FLOW}], "owners": "default: dev", "place": "ci"},
    ),
    "rerun": Deed(Action.START, RUN),
    "start": Deed(Action.START, RUN, {"ref": "main"}),
    "rollback": Deed(Action.ROLL_BACK, Subject(owner="ops"), {"release": "r1", **WHY}),
    "import-argo": Deed(Action.IMPORT_WORKFLOWS, Subject(), {"files": [{"name": "a.yaml", "text": "kind: Job"}]}),
    "import-argo-pipeline": Deed(
        Action.IMPORT_WORKFLOWS,
        Subject(),
        {
            "files": [{"name": "a.yaml", "text": FLOW}],
            "place": "ci",
            "path": "a.yaml",
            "owner": "dev",
        },
    ),
    "engine-test": Deed(Action.TEST_ENGINES, Subject(), {"kind": "docker", "name": "docker"}),
    "webhook-secret": Deed(Action.MANAGE_PIPELINE, PIPELINE),
    "pipeline": Deed(Action.MANAGE_PIPELINE, PIPELINE, {"name": "Other"}, method="patch"),
    "pipelines": Deed(
        Action.MANAGE_PIPELINE, PIPELINE, {"slug": "new", "name": "New", "owner": "platform", "repository": "/r"}
    ),
}
# Everybody in a team may: what they do concerns nobody but themselves, or changes nothing.
HARMLESS = {("tokens", "post"), ("token", "delete"), ("lint", "post"), ("pipeline-lint", "post")}
# Judged by stages that these runs do not have: see test_actions, and tests/portal/test_registries.py.
ELSEWHERE = {("retry-failed", "post"), ("registry-plan", "post"), ("clean-registry", "post")}
# For pods of an engine, which show tokens of their own: see test_pods.
PODS = {"pod-claim", "pod-reports", "pod-wanted", "pod-measured", "pod-store"}


@pytest.fixture
def addresses(gated: Any, released: Any, pipeline: Any) -> dict[str, str]:
    delivery = Delivery.objects.create(pipeline=pipeline, provider="git", delivery="d1", ref="refs/heads/main")
    known = {
        "pipeline": "demo", "number": gated.number, "stage": "ship", "name": "staging",
        "delivery": delivery.pk, "digest": gated.definition.digest, "token": "0" * 16, "release": "r1",
    }  # fmt: skip
    return {
        route.name: reverse(f"api:{route.name}", kwargs={k: known[k] for k in route.pattern.converters})
        for route in urls.urlpatterns
        if route.name not in PODS
    }


def methods(name: str) -> list[str]:
    view = next(route.callback.view_class for route in urls.urlpatterns if route.name == name)
    return [method for method in ("get", "post", "patch", "put", "delete") if hasattr(view, method)]


def test_every_change_is_listed_here(addresses):
    changing = {(name, method) for name in addresses for method in methods(name) if method != "get"}
    assert changing == {(name, deed.method) for name, deed in DEEDS.items()} | HARMLESS | ELSEWHERE


def test_without_a_token_only_what_is_public_answers(addresses, speak):
    client = speak(None)
    for name, address in addresses.items():
        for method in methods(name):
            status = getattr(client, method)(address, {}, format="json" if method != "get" else None).status_code
            if name in PUBLIC:
                assert status in (200, 503), (name, method)
            else:
                assert status == 401, (name, method)


def test_an_outsider_is_told_that_they_are_in_no_team(addresses, speak, cast):
    client = speak(cast.eve)
    for name in addresses.keys() - PUBLIC:
        for method in methods(name):
            answer = getattr(client, method)(addresses[name], {}, format="json" if method != "get" else None)
            assert answer.status_code == 403, (name, method)
            assert "in no team" in answer.json()["detail"]


def test_every_member_of_a_team_may_read_everything(addresses, speak, cast):
    client = speak(cast.victor)
    for name in addresses.keys() - PUBLIC:
        if "get" in methods(name):
            assert client.get(addresses[name]).status_code == 200, name


@pytest.mark.parametrize("name", NAMES)
def test_every_role_may_do_what_the_policy_says(name, addresses, speak, cast):
    user = getattr(cast, name)
    client, actor = speak(user), user.as_actor()
    for address, deed in DEEDS.items():
        with transaction.atomic():
            answer = getattr(client, deed.method)(addresses[address], deed.body, format="json")
            transaction.set_rollback(True)
        verdict = can(actor, deed.action, deed.subject)
        assert (answer.status_code != 403) == bool(verdict), (address, name, answer.content)
        assert answer.status_code in ((200, 201, 202, 409) if verdict else (403,)), (address, answer.content)


@pytest.mark.parametrize("name", NAMES)
def test_harmless_changes_are_open_to_every_member(name, addresses, speak, cast):
    client = speak(getattr(cast, name))
    assert client.post(addresses["tokens"], {"days": 1}, format="json").status_code == 201
    assert client.delete(addresses["token"]).status_code == 404
    for lint in ("lint", "pipeline-lint"):
        assert client.post(addresses[lint], {"text": "name: x"}, format="json").status_code == 200


def test_a_token_that_is_expired_revoked_or_no_token_at_all_is_refused(speak, cast, gated):
    from datetime import timedelta

    from knox.models import AuthToken

    _, expired = AuthToken.objects.create(user=cast.ann, expiry=timedelta(seconds=-1))
    client = speak(None)
    for token in (expired, "bgr_nothing", "\xff\xfe", "a b", ""):
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert client.get(reverse("api:me")).status_code == 401, token


def test_somebody_who_left_is_refused(speak, cast, gated):
    client = speak(cast.ann)
    cast.ann.is_active = False
    cast.ann.save()
    assert client.get(reverse("api:me")).status_code == 401
