"""`publish` of images, as far as it goes without an engine: what is refused, what the plan says, what is heard."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Artifact, PlanError, StageSpec, Workplace
from pipelines.executors.connections import Registry
from pipelines.executors.oci.auth import Challenge, challenge_of, check_realm
from pipelines.executors.oci.errors import RegistryError
from pipelines.executors.oci.names import api_host, is_host, is_repository, split
from pipelines.executors.oci.transport import Patience
from pipelines.executors.publish import PublishExecutor, release
from pipelines.executors.publish.layers import Layers
from pipelines.executors.publish.push import tag_of, trouble

COMMIT = "c" * 40
ID = "sha256:" + "1" * 64
HOST = "registry.example:5000"


@pytest.fixture
def publish(workplace: Workplace) -> PublishExecutor:
    workplace.home.mkdir(parents=True)
    (workplace.home / "connections.yaml").write_text(json.dumps({"registries": {HOST: {}}}))
    return PublishExecutor(workplace)


@pytest.fixture
def stage(spec: Callable[..., StageSpec]) -> StageSpec:
    images = {
        name: Artifact(name, "image", ID[:-1] + str(number), 10, {"component": name.removeprefix("build-")})
        for number, name in enumerate(("build-backend", "build-frontend"))
    }
    slug = Artifact("docs", "slug", ID)
    with_ = {
        "artifacts": ["build-frontend", "build-backend"], "registry": HOST, "repository": "burger",
        "secrets": {"username": "user", "password": "password"},
    }  # fmt: skip
    return spec(kind="publish", stage="release", artifacts={**images, "docs": slug}, with_=with_)


def changed(stage: StageSpec, **changes: Any) -> StageSpec:
    return replace(stage, with_={**stage.with_, **changes})


def test_the_plan_says_which_image_goes_where(publish: PublishExecutor, stage: StageSpec) -> None:
    plan = publish.plan(stage)
    assert [(change.title, change.after) for change in plan.changes] == [
        (f"{HOST}/burger/backend", ID[:-1] + "0"), (f"{HOST}/burger/frontend", ID[:-1] + "1"),
    ]  # fmt: skip
    assert plan.details == {"registry": HOST, "secrets": {"username": "user", "password": "password"}}
    assert plan.digest == publish.plan(stage).digest
    assert plan.digest != publish.plan(changed(stage, repository="other")).digest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"artifacts": ["build-backend", "docs"]}, "build-backend are images and docs are slugs.*two stages"),
        ({"artifacts": ["docs"]}, "`registry` and `repository` and `secrets` are for images"),
        ({"registry": None}, "`registry` has to be HOST or HOST:PORT"),
        ({"registry": "https://registry.example"}, "`registry` has to be HOST or HOST:PORT"),
        ({"registry": "registry"}, "`registry` has to be HOST or HOST:PORT"),
        ({"repository": "Burger"}, "would go to the repository 'Burger/backend'"),
        ({"repository": "../x"}, "would go to the repository"),
        ({"secrets": {"username": "user"}}, "both or none, found username"),
        ({"registry": "evil.example"}, "only sent to registries that connections.yaml lists, and evil.example is none"),
    ],
)
def test_what_cannot_be_published_is_refused(
    publish: PublishExecutor, stage: StageSpec, changes: Any, words: str
) -> None:
    with pytest.raises(PlanError, match=words):
        publish.plan(changed(stage, **changes))


def test_two_images_of_one_component_are_refused(publish: PublishExecutor, stage: StageSpec) -> None:
    twin = replace(stage.artifacts["build-frontend"], meta={"component": "backend"})
    with pytest.raises(PlanError, match="build-backend and build-frontend are both the component backend"):
        publish.plan(replace(stage, artifacts={**stage.artifacts, "build-frontend": twin}))


def test_a_missing_secret_is_named(publish: PublishExecutor, stage: StageSpec, carry_out: Any) -> None:
    outcome, made, _ = carry_out(publish, stage)
    assert (outcome.state, made) == ("error", [])
    assert "The secret 'user' of team 'dev' is not there" in outcome.reason


def test_no_engine_is_waited_for(publish: PublishExecutor, stage: StageSpec, carry_out: Any, tmp_path: Path) -> None:
    nowhere = {"docker": {"host": f"unix://{tmp_path}/nothing.sock"}}
    (publish.workplace.home / "connections.yaml").write_text(json.dumps(nowhere))
    outcome, _, _ = carry_out(publish, changed(stage, secrets={}))
    assert outcome.state == "engine"
    assert f"The Docker Engine at unix://{tmp_path}/nothing.sock does not answer" in outcome.reason
    assert publish.probe(stage, "k-1").state == "never_started"


def test_a_release_of_images_is_named_by_what_the_registry_holds(publish: PublishExecutor, stage: StageSpec) -> None:
    images = [stage.artifacts["build-backend"], stage.artifacts["build-frontend"]]
    names = {each.name: f"{HOST}/burger/{each.meta['component']}@sha256:{'9' * 64}" for each in images}
    made = release.of_images(publish.store, stage, images, names)
    again = release.of_images(publish.store, replace(stage, run=8), images[::-1], names)
    assert (made.digest, made.kind, made.name) == (again.digest, "release", "release")
    assert made.meta == {
        "artifacts": dict.fromkeys(names, "sha256:" + "9" * 64),
        "images": {"backend": names["build-backend"], "frontend": names["build-frontend"]},
        "commit": COMMIT,
        "number": 7,
    }
    kept = json.loads(publish.store.path(made.digest).read_bytes())["artifacts"]["build-backend"]
    assert (kept["image"], kept["reference"]) == (ID[:-1] + "0", names["build-backend"])


def test_a_tag_is_of_the_content() -> None:
    one, other = Artifact("a", "image", ID), Artifact("a", "image", "sha256:" + "2" * 64)
    assert tag_of(one, COMMIT) == "cccccccccccc-111111111111"
    assert tag_of(other, COMMIT) != tag_of(one, COMMIT)


# --- what the engine says ---------------------------------------------------------------------------------------


def test_layers_are_heard() -> None:
    layers = Layers()
    for word in (
        {"status": "The push refers to repository [x/y]"},
        {"status": "Preparing", "id": "a", "progressDetail": {}},
        {"status": "Waiting", "id": "b", "progressDetail": {}},
        {"status": "Preparing", "id": "c", "progressDetail": {}},
        {"status": "Pushing", "id": "a", "progressDetail": {"current": 5, "total": 10}},
        {"status": "Layer already exists", "id": "b"},
        {"status": "Mounted from burger/frontend", "id": "c"},
        {"status": "Pushing", "id": "a", "progressDetail": {"current": 12}},
    ):
        layers.hear(word)
    assert layers.as_list() == [
        {"id": "a", "state": "pushing", "sent": 12, "size": 12},
        {"id": "b", "state": "there", "sent": 0, "size": 0},
        {"id": "c", "state": "there", "sent": 0, "size": 0},
    ]
    layers.hear({"status": "Pushed", "id": "a", "progressDetail": {}})
    layers.hear({"status": f"1: digest: {ID} size: 528"})
    assert (layers.finished, layers.there, layers.sent, layers.digest) == (3, 2, 12, ID)
    layers.hear({"progressDetail": {}, "aux": {"Tag": "1", "Digest": "sha256:" + "2" * 64, "Size": 528}})
    assert layers.digest == "sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Get https://r/v2/: x509: certificate signed by unknown authority", "untrusted"),
        ("unauthorized: authentication required", "refused"),
        ("denied: requested access to the resource is denied", "refused"),
        ("no basic auth credentials", "refused"),
        ("received unexpected HTTP status: 503 Service Unavailable", "passing"),
        ("dial tcp 192.0.2.1:5000: connect: connection refused", "passing"),
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", "passing"),
        ("unexpected EOF", "passing"),
        ("toomanyrequests: slow down", "passing"),
        ("manifest invalid: manifest invalid", "lasting"),
    ],
)
def test_what_kind_of_trouble(message: str, kind: str) -> None:
    assert trouble(message) == kind


# --- names and challenges ---------------------------------------------------------------------------------------


def test_names() -> None:
    assert [is_host(text) for text in (HOST, "localhost", "10.0.0.1:5000", "[::1]:5000")] == [True] * 4
    assert [is_host(text) for text in ("", "burger", "a/b", "user@host.example", "host.example:port")] == [False] * 5
    assert [is_repository(text) for text in ("a", "a/b-c", "a.b/c__d")] == [True] * 3
    assert [is_repository(text) for text in ("", "A", "/a", "a/", "a//b", "a:b", "a@b", "../a")] == [False] * 8
    assert split(f"{HOST}/burger/backend@{ID}") == (HOST, "burger/backend", ID)
    assert [split(text) for text in ("burger/backend", f"{HOST}/a:tag", f"{HOST}/a@sha256:1")] == [None] * 3
    assert (api_host("docker.io"), api_host(HOST)) == ("registry-1.docker.io", HOST)


def test_challenges() -> None:
    bearer = 'Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull,push"'
    assert challenge_of([bearer]) == Challenge("bearer", "https://auth.example/token", "a, b")
    assert challenge_of(["Negotiate", 'Basic realm="x"']) == Challenge("basic")
    assert challenge_of(["Digest x=y", ""]) is None
    assert challenge_of([]) is None


@pytest.mark.parametrize(
    ("realm", "good"),
    [
        ("https://registry.example:5000/token", True),
        ("https://auth.example/token", True),
        ("https://auth.example:443/token", True),
        ("https://AUTH.example/token", True),
        ("http://auth.example/token", False),
        ("https://registry.example/token", False),
        ("https://auth.example.evil/token", False),
        ("https://auth.example@evil/token", False),
        ("https://auth.example:444/token", False),
        ("//auth.example/token", False),
        ("https://[::1/token", False),
        ("", False),
    ],
)
def test_which_token_services_are_asked(realm: str, good: bool) -> None:
    registry = Registry(HOST, token_hosts=("auth.example",))
    if good:
        check_realm(registry, Challenge("bearer", realm))
    else:
        with pytest.raises(RegistryError, match="No credential was sent"):
            check_realm(registry, Challenge("bearer", realm))


def test_pauses_grow_and_honour_what_was_asked_for() -> None:
    patience = Patience(first=1, longest=10)
    assert 0.75 <= patience.pause(1) <= 1.25
    assert 3 <= patience.pause(3) <= 5
    assert patience.pause(30) <= 12.5
    assert patience.pause(1, 30) == 30
    assert patience.pause(1, 9999) == 60
