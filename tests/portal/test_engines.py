"""The engines page, its address and its command: what connections.yaml names, and a test of each on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.api.conftest import speak  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db

SignIn = Callable[[str], Client]
CONNECTIONS = """
docker: {host: unix:///nowhere/docker.sock, cli: /nowhere/docker}
registries: {"127.0.0.1:9": {}}
clusters: {main: {kubeconfig: none.kubeconfig}}
environments: {production: {places: [{cluster: main, namespace: shop-north}]}}
"""


@pytest.fixture
def named(home: Path) -> Path:
    (home / "connections.yaml").write_text(CONNECTIONS)
    return home


def test_the_page_shows_what_is_named_and_who_builds(named: Path, sign_in: SignIn) -> None:
    page = sign_in("victor").get("/engines").content.decode()
    assert "unix:///nowhere/docker.sock" in page
    assert "the SDK&#x27;s classic builder" in page
    assert "/nowhere/docker cannot be started" in page
    assert "Registry 127.0.0.1:9" in page
    assert "Cluster main" in page
    assert "shop-north" in page
    assert "may test engines" in page
    assert "Test Docker Engine" not in page


def test_without_connections_there_is_the_engine_of_this_machine(home: Path, sign_in: SignIn) -> None:
    page = sign_in("ann").get("/engines").content.decode()
    assert "Docker Engine" in page
    assert "Test Docker Engine" in page


def test_a_file_that_cannot_be_read_is_said(home: Path, sign_in: SignIn) -> None:
    (home / "connections.yaml").write_text("dokker: {}\n")
    page = sign_in("ann").get("/engines").content.decode()
    assert "the file has dokker; it may have" in page
    assert sign_in("ann").post("/engines/test").status_code == 200


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("docker", "docker", "The Docker Engine at unix:///nowhere/docker.sock does not answer"),
        ("registry", "127.0.0.1:9", "127.0.0.1:9"),
        ("cluster", "main", "none.kubeconfig"),
    ],
)
def test_what_does_not_answer_is_said_with_what_to_do(
    named: Path, sign_in: SignIn, kind: str, name: str, said: str
) -> None:
    answer = sign_in("ann").post("/engines/test", {"kind": kind, "name": name}, headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert said in text
    assert "What to do:" in text
    assert "<html" not in text


def test_a_viewer_may_not_test_and_what_is_not_named_is_not_there(named: Path, sign_in: SignIn) -> None:
    body = {"kind": "docker", "name": "docker"}
    refused = sign_in("victor").post("/engines/test", body)
    assert refused.status_code == 403
    assert "may test engines" in refused.content.decode()
    assert sign_in("root").post("/engines/test", body).status_code == 200
    assert sign_in("ann").post("/engines/test", {"kind": "cluster", "name": "other"}).status_code == 404


def test_a_program_lists_and_tests_them(named: Path, speak: Any, cast: Any) -> None:  # noqa: F811
    client = speak(cast.ann)
    listed = client.get("/api/engines").json()
    assert [(row["kind"], row["name"]) for row in listed["engines"]] == [
        ("docker", "docker"), ("registry", "127.0.0.1:9"), ("cluster", "main"),
    ]  # fmt: skip
    assert listed["problem"] == ""
    found = client.post("/api/engines/test", {"kind": "docker", "name": "docker"}, format="json").json()
    assert (found["ok"], bool(found["todo"])) == (False, True)
    assert client.post("/api/engines/test", {"kind": "x", "name": "y"}, format="json").status_code == 404
    assert (
        speak(cast.victor).post("/api/engines/test", {"kind": "docker", "name": "docker"}, format="json").status_code
        == 403
    )
