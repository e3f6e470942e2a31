"""A secret is planted wherever one can be given, and its holders shout it out: it appears nowhere afterwards."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.db import connection
from django.test import Client
from knox.models import AuthToken

from pipelines.engines import environments
from pipelines.models import Event, Pipeline, Run, Stage
from tests.api.site import git
from tests.executors.rollout_helpers import SERVER
from tests.pipelines.helpers import begin, states

from .installation import free_port

# A value of its own for each place, so that a leak says where it came from.
PLACES = (
    "command-file", "command-variable", "slug-command", "playbook", "vault", "service", "webhook", "password", "source",
)  # fmt: skip
SECRETS = {place: f"Gurke/{place}+ä!s3cret" for place in PLACES}

SHOUT = """\
import base64, os, sys, urllib.parse
from pathlib import Path
secrets = [os.environ[name] for name in sys.argv[2:]]
for secret in secrets:
    data = secret.encode()
    said = [secret, base64.b64encode(data).decode(), base64.b64encode(b"x" + data).decode(), data.hex(),
            data.hex().upper(), urllib.parse.quote(secret), urllib.parse.quote_plus(secret), repr(secret),
            base64.b32encode(data).decode(), base64.b64encode(base64.b64encode(b"user:" + data)).decode(),
            "".join(f"\\\\x{byte:02x}" for byte in data), repr(data), data.hex(" ")]
    print("before", *said, "after", sep="\\n", flush=True)
    print("in a line", secret, "and glued" + secret + "to words", file=sys.stderr, flush=True)
    Path("report.txt").open("a").write("\\n".join(said))
sys.exit(int(sys.argv[1]))
"""
# The server of the rollout tests, which says on its output what it was given.
SERVE = "import os, base64\nprint(os.environ['GIVEN'], os.environ['GIVEN'].encode().hex(), flush=True)\n" + SERVER
HOSTS = """\
shop:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts: {near: {}}
"""
PLAY = """\
- name: Shout
  hosts: all
  gather_facts: false
  vars: {given: "{{ burger_secrets.GIVEN }}"}
  tasks:
    - name: What the stage was given
      ansible.builtin.debug: {msg: "{{ given }} {{ given | b64encode }} {{ given | urlencode }}"}
    - name: On a command line
      ansible.builtin.command: {argv: [echo, "{{ given }}"]}
      changed_when: true
"""
STAGES = """
environments:
  staging: {owner: dev}
stages:
  - {name: source, kind: source, owner: dev, with: {token: source}}
  - name: shout
    kind: command
    owner: dev
    needs: [source]
    with:
      command: [python3, shout.py, "0", FILE, VARIABLE]
      secrets: {FILE: command-file, VARIABLE: "env:command-variable"}
      report: report.txt
  - name: shout-and-fail
    kind: command
    owner: dev
    needs: [source]
    retry: {limit: 1, on: [failed]}
    with: {command: [python3, shout.py, "3", FILE], secrets: {FILE: command-file}}
  - name: gated
    kind: command
    owner: dev
    needs: [source]
    gate: {teams: {ops: 1}}
    with: {command: [python3, shout.py, "0", FILE], secrets: {FILE: slug-command}}
  - name: configure
    kind: ansible
    owner: dev
    needs: [source]
    environment: staging
    with: {inventory: playbooks/hosts, secrets: {GIVEN: playbook}, vault_password: vault}
  - {name: build, kind: slug, owner: dev, needs: [source], with: {include: [serve.py]}}
  - name: serve
    kind: rollout
    owner: dev
    needs: [build]
    environment: staging
    with:
      services:
        web:
          artifact: build
          command: [python, -S, serve.py, "{port}"]
          route: /
          secrets: {GIVEN: service}
"""


def forms(secret: str) -> list[bytes]:
    """How a secret may look when it has leaked."""
    data = secret.encode()
    shifted = [base64.b64encode(b"x" * n + data)[4:-4] for n in range(3)]
    quoted = [quote(secret).encode(), quote(secret, safe="").encode(), quote(secret).lower().encode()]
    twice = [base64.b64encode(base64.b64encode(b"user:" + data))[12:-12], base64.b32encode(data)[:-8]]
    escaped = ["".join(f"\\x{byte:02x}" for byte in data).encode(), data.hex(" ").encode()]
    shown = [data, data.hex().encode(), data.hex().upper().encode(), secret.encode("utf-16-le")]
    return [*shown, *shifted, *quoted, *twice, *escaped]


def leaks(text: bytes) -> list[str]:
    return [place for place, secret in SECRETS.items() if any(form in text for form in forms(secret))]


@pytest.fixture
def planted(home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, cast: SimpleNamespace) -> Iterator[Path]:
    folder = home / "secrets" / "dev"
    folder.mkdir(parents=True, mode=0o700)
    for place in ("command-file", "slug-command", "playbook", "vault", "service", "source"):
        path = folder / place
        path.touch(mode=0o600)
        path.write_text(SECRETS[place] + "\n")
    monkeypatch.setenv("BURGER_SECRET_DEV__COMMAND_VARIABLE", SECRETS["command-variable"])
    settings.ENVIRONMENT_PORTS = {"staging": free_port()}
    cast.ann.set_password(SECRETS["password"])
    cast.ann.save()
    yield home
    environments.stop(home)


def repository(folder: Path, home: Path) -> tuple[Path, str]:
    (folder / "playbooks" / "group_vars").mkdir(parents=True)
    files = {"shout.py": SHOUT, "serve.py": SERVE, "playbooks/site.yml": PLAY, "playbooks/hosts": HOSTS}
    for name, text in files.items():
        (folder / name).write_text(text)
    plain = folder / "playbooks" / "group_vars" / "all.yml"
    plain.write_text("sauce: very hidden\n")
    vault = Path(sys.executable).with_name("ansible-vault")
    password = home / "secrets" / "dev" / "vault"
    subprocess.run(
        [str(vault), "encrypt", "--vault-password-file", str(password), str(plain)],
        check=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder, git(folder, "rev-parse", "HEAD")


def everything_in_the_database() -> bytes:
    said: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 a table's own name
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                # The one place where it has to stand: what comes in is checked against it.
                kept = {n: v for n, v in zip(names, row, strict=True) if (table, n) != WEBHOOK_COLUMN}
                said.append(f"{table} {kept}")
    return "\n".join(said).encode()


WEBHOOK_COLUMN = ("pipelines_pipeline", "webhook_secret")


def answers(client: Client, run: Run, below: str = "/") -> Mapping[str, bytes]:
    """What the API and the pages show of the run, and of all around it, at addresses that begin with `below`."""
    address = f"{run.pipeline.slug}/{run.number}"
    paths = [
        "/api/me", "/api/inbox", "/api/audit", "/api/tokens", "/api/pipelines", f"/api/pipelines/{run.pipeline.slug}",
        f"/api/pipelines/{run.pipeline.slug}/definitions", "/api/runs", f"/api/runs/{address}",
        f"/api/runs/{address}/events", "/api/environments", f"/api/environments/{run.pipeline.slug}/staging",
        "/", "/runs", f"/runs/{address}", "/environments", f"/environments/{run.pipeline.slug}/staging",
        "/pipelines", f"/pipelines/{run.pipeline.slug}", "/audit", "/tokens", "/teams",
    ]  # fmt: skip
    for name in Stage.objects.filter(run=run).values_list("name", flat=True):
        paths += [f"/api/runs/{address}/stages/{name}", f"/api/runs/{address}/stages/{name}/log"]
        paths += [f"/runs/{address}/stages/{name}", f"/runs/{address}/stages/{name}/log.txt"]
    found = {}
    for path in (path for path in paths if path.startswith(below)):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        found[path] = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return found


@pytest.mark.django_db
def test_a_planted_secret_appears_nowhere(
    planted: Path,
    tmp_path: Path,
    pipeline: Pipeline,
    working: Any,
    cast: SimpleNamespace,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    settings: Any,
) -> None:
    caplog.set_level(logging.DEBUG)
    folder, commit = repository(tmp_path / "repository", planted)
    pipeline.repository, pipeline.webhook_secret = str(folder), SECRETS["webhook"]
    pipeline.save()

    run = begin(pipeline, STAGES, commit=commit)
    working()
    ended = states(run)
    reasons = dict(Stage.objects.filter(run=run).values_list("name", "reason"))
    assert ended.pop("shout-and-fail") == "failed"
    assert ended.pop("gated") == "waiting"
    assert set(ended.values()) == {"succeeded"}, "\n".join(f"{n}: {reasons[n]}" for n in ended)
    said = "".join(event.data["text"] for event in Event.objects.filter(run=run, kind="log"))
    assert said.count("***") > 20, "the stages did say it"
    httpx.get(f"http://127.0.0.1:{settings.ENVIRONMENT_PORTS['staging']}/", timeout=5).raise_for_status()

    client, stranger = Client(), Client()
    hook = f"/hooks/gitlab/{pipeline.slug}"
    for token in (SECRETS["webhook"], SECRETS["webhook"] + "x"):
        stranger.post(hook, {"ref": "{"}, content_type="application/json", headers={"X-Gitlab-Token": token})
    for name, password in (("ann", SECRETS["password"] + "x"), (SECRETS["password"], "ann"), ("ann", "")):
        stranger.post("/sign-in", {"username": name, "password": password})
    assert client.post("/sign-in", {"username": "ann", "password": SECRETS["password"]}).status_code == 302
    _, token = AuthToken.objects.create(user=cast.ann)
    bearer = {"Authorization": f"Bearer {token}"}
    assert Client(headers=bearer).get("/api/me").status_code == 200

    captured = "".join(capfd.readouterr())
    spoken = {
        "the database": everything_in_the_database(),
        "the logs": (caplog.text + captured).encode(),
        **{f"GET {path}": body for path, body in answers(client, run).items()},
        **{f"GET {path} by token": body for path, body in answers(Client(headers=bearer), run, "/api/").items()},
    }
    own_output = list((planted / "environments" / "staging" / "logs").glob("*.log"))
    assert own_output
    assert all(b"***" in path.read_bytes() for path in own_output), "the service did say it"
    assert not [path for path in own_output if path.stat().st_mode & 0o077]
    for path in planted.rglob("*"):
        if path.is_file() and not path.is_relative_to(planted / "secrets"):
            spoken[str(path.relative_to(planted))] = path.read_bytes()
    found = {where: places for where, text in spoken.items() if (places := leaks(text))}
    assert found == {}
    assert not [where for where, text in spoken.items() if token.encode() in text]
    assert not [where for where, text in spoken.items() if b"very hidden" in text]
