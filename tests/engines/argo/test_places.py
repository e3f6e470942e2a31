"""The page, the API and the command: one function, three ways in."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from knox.models import AuthToken
from rest_framework.test import APIClient

from pipelines.engines.argo.cluster import UnknownClusterError, templates_of
from pipelines.engines.argo.importing import MAX_ONLINE
from portal.cli import app

from .helpers import document, workflow

SignIn = Callable[[str], Client]
FLOW = workflow("""
- name: main
  dag:
    tasks:
    - {name: build, template: leaf}
    - {name: each, template: leaf, depends: build, withParam: "{{tasks.build.outputs.result}}"}
""")
WRONG = FLOW.replace("depends: build", "depends: biuld")
CALLER = document(
    "spec: {entrypoint: main, templates: [{name: main, steps: [[{name: a, templateRef: {name: lib, template: t}}]]}]}\n"
)
OWNERS = "default: dev\nowners: [{team: ops, task: main/each}]\ngates: [{before: main/each, gate: ops}]\n"


# --- the page ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_is_pasted_is_drawn(sign_in: SignIn, home: Path) -> None:
    client = sign_in("ann")
    assert "Draw it" in client.get("/imports").content.decode()
    page = client.post("/imports/argo", {"text": FLOW, "owners": OWNERS}).content.decode()
    assert "1 workflow with 4 tasks. No problems." not in page
    assert "1 workflow with 3 tasks. No problems." in page
    assert 'class="dag"' in page
    assert page.count("data-task=") == 6  # the picture for a desk, and the one for a phone
    assert 'id="t1-2"' in page
    assert "team-ops" in page
    assert "asks 1 of ops" in page
    assert "How often it runs" in page
    assert FLOW.splitlines()[0] in page  # it stands in the form again


@pytest.mark.django_db
def test_problems_are_shown_with_their_line_and_the_graph_all_the_same(sign_in: SignIn, home: Path) -> None:
    page = sign_in("ann").post("/imports/argo", {"text": WRONG}).content.decode()
    assert re.search(r"pasted\.yaml:11:\d+", page)
    assert "did you mean “build”?" in page
    assert "2 problems: Argo would refuse these" in page
    assert 'class="dag"' in page


@pytest.mark.django_db
def test_files_are_read_together_and_nothing_turns_into_markup(sign_in: SignIn, home: Path) -> None:
    library = document("spec: {templates: [{name: t, suspend: {}}]}\n", "WorkflowTemplate", "lib")
    bad = CALLER.replace("name: a,", "name: '<img src=x onerror=alert(1)>',")
    files = [SimpleUploadedFile("flow.yaml", bad.encode()), SimpleUploadedFile("flow.yaml", library.encode())]
    page = sign_in("ann").post("/imports/argo", {"files": files}).content.decode()
    assert "2 workflows" in page
    assert "flow.yaml (2)" in page
    assert "<img src=x" not in page
    assert "there is no WorkflowTemplate" not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Paste a workflow, or choose files."),
        ({"text": "a: " + "x" * MAX_ONLINE}, "All files together may have 2 MiB."),
        ({"text": FLOW, "cluster": "nowhere"}, "connections.yaml names no cluster nowhere; it names none."),
        ({"text": "\x00"}, "the character U+0000 is not allowed in YAML"),
    ],
)
def test_what_cannot_be_drawn_is_said(sign_in: SignIn, home: Path, given: dict[str, str], said: str) -> None:
    answer = sign_in("ann").post("/imports/argo", given)
    assert answer.status_code == 200
    assert said in answer.content.decode()


@pytest.mark.django_db
def test_who_only_looks_may_not_and_forms_need_their_token(sign_in: SignIn, home: Path, cast: Any) -> None:
    viewer = sign_in("victor")
    assert "may import workflows" in viewer.get("/imports").content.decode()
    assert viewer.post("/imports/argo", {"text": FLOW}).status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.ann)
    assert strict.post("/imports/argo", {"text": FLOW}).status_code == 403


# --- the API ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_api_answers_with_graphs_and_problems(speak: Callable[[Any], APIClient], cast: Any, home: Path) -> None:
    client = speak(cast.ann)
    body = {"files": [{"name": "flow.yaml", "text": WRONG}], "owners": OWNERS}
    answer = client.post("/api/imports/argo", body, format="json").json()
    assert (answer["ok"], {one["file"] for one in answer["problems"]}) == (False, {"flow.yaml"})
    each = answer["graphs"][0]["tasks"][2]
    assert (each["path"], each["fan"]["width"], each["team"], each["gate"]) == ("main/each", None, "ops", {"ops": 1})
    assert answer["report"].startswith("flow.yaml:11:")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"files": []},
        {"files": [{"name": "a", "text": "x"}, {"name": "a", "text": "y"}]},
        {"files": [{"name": str(n), "text": "x" * 2**20} for n in range(3)]},
        {"files": [{"name": "a", "text": "x"}], "clustre": "main"},
    ],
)
def test_the_api_refuses_what_it_cannot_read(
    speak: Callable[[Any], APIClient],
    cast: Any,
    home: Path,
    body: dict[str, Any],
) -> None:
    assert speak(cast.ann).post("/api/imports/argo", body, format="json").status_code in (400, 413)


@pytest.mark.django_db
def test_a_cluster_that_nobody_named_is_not_there(speak: Callable[[Any], APIClient], cast: Any, home: Path) -> None:
    body = {"files": [{"name": "a", "text": FLOW}], "cluster": "nowhere"}
    answer = speak(cast.ann).post("/api/imports/argo", body, format="json")
    assert (answer.status_code, "names no cluster nowhere" in answer.json()["detail"]) == (404, True)


# --- the command ------------------------------------------------------------------------------------------


Done = tuple[int, str, str]


@pytest.fixture
def burger(monkeypatch: pytest.MonkeyPatch, home: Path) -> Callable[..., Done]:
    """`burger("import", ...)` in this process: exit status, output, errors. No portal is in reach, if none is named."""

    def run(*arguments: str, say: str = "", url: str = "http://127.0.0.1:1", token: str = "") -> Done:
        out, err = io.StringIO(), io.StringIO()
        for name, value in {"BURGER_URL": url, "BURGER_TOKEN": token, "COLUMNS": "200"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(say.encode())))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = app.run(arguments)
        return status, out.getvalue(), err.getvalue()

    return run


def test_the_command_needs_no_portal(burger: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "flow.yaml").write_text(FLOW)
    owners = tmp_path / "owners.yaml"
    owners.write_text(OWNERS)
    status, out, err = burger("import", "argo", str(tmp_path / "in"), "--owners", str(owners))
    assert (status, err) == (0, "")
    assert re.search(r"^  each +build +leaf +container +ops +asks 1 of ops before *$", out, re.MULTILINE)
    assert out.endswith("1 workflow, 3 tasks, no problems\n")
    status, out, _ = burger("import", "argo", "-", say=WRONG)
    assert status == 1
    assert re.search(r'^-:11:\d+: unknown task "biuld" \(did you mean "build"\?\)$', out, re.MULTILINE)
    _, out, _ = burger("import", "argo", "-", "--json", say=FLOW)
    assert json.loads(out)["graphs"][0]["tasks"][2]["path"] == "main/each"
    _, out, _ = burger("import", "argo", "-", "--owners", str(owners), "--teams", "dev", say=FLOW)
    assert 'unknown team "ops"' in out


def test_the_command_says_what_it_cannot_read(burger: Callable[..., Done], tmp_path: Path) -> None:
    said = "burger: no-such.yaml cannot be read: No such file or directory.\n"
    assert burger("import", "argo", "no-such.yaml") == (2, "", said)
    status, _, err = burger("import", "argo", str(tmp_path))
    assert (status, "no .yaml, .yml or .json file" in err) == (2, True)
    assert burger("import", "argo", "-", "--cluster", "main", say=FLOW)[0] == 5


# --- a cluster --------------------------------------------------------------------------------------------

TEMPLATE = {
    "metadata": {"name": "lib", "namespace": "flows", "managedFields": [{"manager": "x"}]},
    "spec": {"templates": [{"name": "t", "container": {"image": "busybox"}}, {"name": "odd"}]},
}


class _Api(BaseHTTPRequestHandler):
    """As much of a Kubernetes API as the lookup asks for."""

    def do_GET(self) -> None:
        group = "/apis/argoproj.io/v1alpha1"
        kinds = [
            {"kind": "WorkflowTemplate", "name": "workflowtemplates", "namespaced": True},
            {"kind": "ClusterWorkflowTemplate", "name": "clusterworkflowtemplates", "namespaced": False},
        ]
        known: dict[str, Any] = {
            group: {"resources": kinds},
            f"{group}/namespaces/flows/workflowtemplates/lib": {"kind": "WorkflowTemplate", **TEMPLATE},
        }
        found = known.get(self.path.partition("?")[0])
        body = json.dumps(
            found or {"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}
        ).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def connected(home: Path) -> Iterator[Path]:
    """connections.yaml names two clusters: one that answers, and one that does not."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    Thread(target=server.serve_forever, daemon=True).start()
    for name, port in (("main", server.server_port), ("away", 9)):
        (home / f"{name}.kubeconfig").write_text(
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
    (home / "connections.yaml").write_text(
        "clusters: {main: {kubeconfig: main.kubeconfig}, away: {kubeconfig: away.kubeconfig}}\n"
    )
    yield home
    server.shutdown()
    server.server_close()


@pytest.mark.django_db
def test_templates_are_looked_up_on_a_cluster(sign_in: SignIn, connected: Path) -> None:
    client = sign_in("ann")
    assert "<option>main</option>" in client.get("/imports").content.decode()
    page = client.post("/imports/argo", {"text": CALLER, "cluster": "main", "namespace": "flows"}).content.decode()
    assert "lib/t" in page
    assert "there is no WorkflowTemplate" not in page
    # What is wrong with what lies there is said too, in the cluster's words for the place.
    assert "main:flows/lib" in page
    assert "the template &quot;odd&quot; does nothing" in page
    elsewhere = client.post("/imports/argo", {"text": CALLER, "cluster": "main", "namespace": "other"}).content.decode()
    assert "there is no WorkflowTemplate &quot;lib&quot; among the files, nor on the cluster" in elsewhere


@pytest.mark.django_db(transaction=True)
def test_the_command_asks_the_portal_for_what_a_cluster_has(
    burger: Callable[..., Done], connected: Path, live_server: Any, cast: Any, tmp_path: Path
) -> None:
    _, token = AuthToken.objects.create(user=cast.ann)
    (tmp_path / "flow.yaml").write_text(CALLER)
    arguments = ("import", "argo", str(tmp_path / "flow.yaml"), "--cluster", "main", "--namespace", "flows")
    status, out, err = burger(*arguments, url=live_server.url, token=token)
    assert (status, err) == (1, "")  # there is a problem in what lies on the cluster
    assert re.search(r"^  a +main +lib/t +container", out, re.MULTILINE)
    status, _, err = burger(*arguments[:3], "--cluster", "nowhere", url=live_server.url, token=token)
    assert (status, "names no cluster nowhere" in err) == (2, True)


@pytest.mark.django_db
def test_a_cluster_that_is_away_is_said_once(sign_in: SignIn, connected: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipelines.engines.argo.cluster.PATIENCE", 0.2)
    two = CALLER.replace("{name: lib, template: t}", "{name: one, template: t}") + "---\n" + CALLER
    page = sign_in("ann").post("/imports/argo", {"text": two, "cluster": "away"}).content.decode()
    assert page.count("The cluster away does not answer") == 1
    assert "2 workflows" in page


def test_connections_that_cannot_be_read_are_said(home: Path) -> None:
    (home / "connections.yaml").write_text("clusterz: {}\n")
    with pytest.raises(UnknownClusterError, match="clusterz"):
        templates_of(home, "main")
