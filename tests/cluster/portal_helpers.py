"""The portal as it is installed, from its own image: what it is made of in tests, and one pipeline run in it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.build_helpers import BUNDLE
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT
from tests.cluster.rollout_helpers import until

VALKEY = """\
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \\
 && ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli
USER 10001
CMD ["valkey-server", "--save", "", "--appendonly", "no", "--protected-mode", "no"]
"""
PIPELINE = """\
name: shop
stages:
  - {name: source, kind: source, owner: dev}
  - {name: greet, kind: command, owner: dev, needs: [source], with: {command: [cat, hello.txt], repeatable: true}}
"""
GREETING = "Greetings from the commit"
# Run by `manage.py shell` in the web process' container: somebody, a repository that all containers see, a pipeline.
SETUP = """
import json, subprocess
from django.conf import settings
from pipelines import manage
from teams import tokens
from teams.models import Membership, Team, User
ada, _ = User.objects.get_or_create(username="ada", defaults={"email": "ada@example.com"})
team, _ = Team.objects.get_or_create(slug="dev", defaults={"name": "Dev", "color": "#0f766e"})
Membership.objects.get_or_create(user=ada, team=team, defaults={"role": "lead"})
tree = settings.HOME / "repositories" / SLUG
tree.mkdir(parents=True)
(tree / "pipeline.yaml").write_text(PIPELINE)
(tree / "hello.txt").write_text(GREETING)
git = ["git", "-C", str(tree), "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Say hello"]):
    subprocess.run([*git, *words], check=True)
manage.create(user=ada, slug=SLUG, name=SLUG.title(), owner="dev", repository=str(tree))
print(json.dumps({"token": tokens.create(user=ada, days=1)[1]}))
"""


@dataclass
class Engine:
    """The command line of the cluster's engine, signed in to its registry."""

    facts: Facts
    config: Path

    def __post_init__(self) -> None:
        registry = self.facts.registry
        words = ["login", "--username", registry.username, "--password-stdin", registry.address]
        self(*words, given=registry.password)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.config),
            "DOCKER_HOST": self.facts.docker_host,
            "DOCKER_CONFIG": str(self.config),
            "DOCKER_BUILDKIT": "1",
        }

    def __call__(self, *words: str, given: str = "", timeout: float = 120) -> str:
        done = subprocess.run(
            [self.facts.docker, *words],
            env=self.environment, input=given, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"docker {' '.join(words[:3])}: {done.stderr[-3000:]}"
        return done.stdout

    def build(self, tag: str, dockerfile: str, **args: str) -> str:
        """`dockerfile` is a path of this project, or the text of one. The first time it takes minutes."""
        words = [
            "build",
            "--quiet",
            "--tag",
            tag,
            *(word for n, v in args.items() for word in ("--build-arg", f"{n}={v}")),
        ]
        if dockerfile.startswith("docker/"):
            secret = ["--secret", f"id=ca,src={BUNDLE}"] if BUNDLE.exists() else []
            self(*words, *secret, "--file", str(CHECKOUT / dockerfile), str(CHECKOUT), timeout=1800)
        else:
            self(*words, "-", given=dockerfile, timeout=1800)
        return tag

    def push(self, tag: str) -> str:
        """The image's name by its digest."""
        self("push", "--quiet", tag, timeout=600)
        digests = json.loads(self("image", "inspect", "-f", "{{json .RepoDigests}}", tag))
        return str(next(name for name in digests if name.startswith(tag.rpartition(":")[0])))


def images(engine: Engine) -> dict[str, str]:
    """Tags of the portal, the database and what carries its wake-ups."""
    base, place = engine.facts.base_image, f"{engine.facts.registry.address}/test-portal"
    return {
        "portal": engine.build(f"{place}/portal:1", "docker/portal/Dockerfile", BASE=base["python"]),
        "database": engine.build(f"{place}/database:1", "docker/database/Dockerfile", DEBIAN_IMAGE=base["debian"]),
        "valkey": engine.build(f"{place}/valkey:1", VALKEY, BASE=base["debian"]),
    }


def run_a_pipeline(
    address: str, shell: Callable[[str], str], slug: str = "shop", text: str = PIPELINE
) -> dict[str, Any]:  # fmt: skip
    """Set one up by `shell`, which runs Python in a container of the portal, start it by the API at `address`, and
    wait for its end; the run as the API tells it, with `said`, the log of its stage greet."""
    code = f"SLUG, PIPELINE, GREETING = {slug!r}, {text!r}, {GREETING!r}\n{SETUP}"
    token = json.loads(shell(code).strip().splitlines()[-1])["token"]
    with httpx.Client(
        base_url=f"{address}/api", timeout=10, headers={"Authorization": f"Bearer {token}", "Host": "127.0.0.1"}
    ) as client:
        until(lambda: _answers(client), "a healthy portal", 120)
        started = client.post(f"/pipelines/{slug}/runs", json={"ref": "main"})
        assert started.status_code in (201, 202), started.text
        ended = until(lambda: _ended(client, slug), "the end of the run", 240)
        return ended | {"said": client.get(f"/runs/{slug}/1/stages/greet/log").text}


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").json().get("ok") is True
    except (httpx.HTTPError, ValueError):
        time.sleep(0.5)
        return False


def _ended(client: httpx.Client, slug: str) -> dict[str, Any] | None:
    time.sleep(0.3)
    answer = client.get(f"/runs/{slug}/1")
    found = answer.json() if answer.status_code == 200 else {}
    return found if found.get("state") in ("succeeded", "failed", "error", "canceled") else None
