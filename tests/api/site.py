"""A portal of its own in real processes: web server, worker, database file, and a bare git repository to push to.

`python -m tests.api.site set-up|work` is what runs in the processes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0

PIPELINE = """\
name: demo
environments:
  staging: {owner: ops}
parameters:
  verdict: {default: "yes", choices: ["yes", "no"]}
stages:
  - {name: build, kind: noop, owner: dev}
  - {name: ship, kind: gate, owner: ops, needs: [build], gate: {teams: {ops: 1, platform: 1}}}
  - {name: after, kind: noop, owner: dev, needs: [ship]}
"""


@dataclass
class Site:
    """`tokens` by username; `secret` is that of the webhook of the pipeline `demo`, `repository` what it fetches."""

    home: Path
    url: str
    environment: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)
    secret: str = ""

    @property
    def repository(self) -> Path:
        return self.home / "repository.git"

    def get(self, path: str, user: str = "ann", **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        answer = httpx.get(f"{self.url}/api/{path}", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def commit(self, subject: str, files: dict[str, str] | None = None) -> str:
        """Commit on top of the checkout and push; returns the commit."""
        checkout = self.home / "checkout"
        for name, text in (files or {}).items():
            (checkout / name).write_text(text)
        git(checkout, "add", "--all")
        git(checkout, "commit", "--quiet", "--allow-empty", "--message", subject)
        git(checkout, "push", "--quiet", "origin", "HEAD:main")
        return git(checkout, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    identity = {"GIT_AUTHOR_NAME": "Dora", "GIT_AUTHOR_EMAIL": "dora@example.com"}
    identity |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in identity.items()}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(home: Path, text: str = PIPELINE) -> Path:
    """A bare repository with one commit on main, and a checkout of it."""
    bare, checkout = home / "repository.git", home / "checkout"
    for folder in (bare, checkout):
        folder.mkdir(parents=True)
    git(bare, "init", "--quiet", "--bare", "--initial-branch=main")
    git(checkout, "init", "--quiet", "--initial-branch=main")
    git(checkout, "remote", "add", "origin", str(bare))
    (checkout / "pipeline.yaml").write_text(text)
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "Begin")
    git(checkout, "push", "--quiet", "origin", "HEAD:main")
    return bare


def eventually(what: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true value of `what()`; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        if found := what():
            return found
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.05)


@contextmanager
def serve(home: Path, *, workers: int = 1) -> Iterator[Site]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        site = _site(home, listener.getsockname()[1])
        make_repository(home)
        made = subprocess.run(
            [sys.executable, "-m", "tests.api.site", "set-up"],
            cwd=ROOT, env=site.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        facts = json.loads(made.stdout.splitlines()[-1])
        site.tokens, site.secret = facts["tokens"], facts["secret"]
        fd = listener.fileno()
        web = ["uvicorn", "portal.asgi:application", "--fd", str(fd), "--log-level", "warning"]
        processes = [_start(site, "web", ["-m", *web], pass_fds=(fd,))]
        processes += [_start(site, f"worker-{n}", ["-m", "tests.api.site", "work"]) for n in range(workers)]
        try:
            eventually(lambda: _answers(site, processes))
            yield site
        finally:
            for process in processes:
                process.kill()
                process.wait()
            # Shown with whatever failed.
            for log in sorted(home.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)


def _site(home: Path, port: int) -> Site:
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BURGER_")}
    environment |= {"BURGER_HOME": str(home / "var"), "BURGER_PUBLIC_URL": url, "BURGER_LOG_LEVEL": "WARNING"}
    environment |= {"DJANGO_SETTINGS_MODULE": "portal.settings", "NO_PROXY": "127.0.0.1"}
    return Site(home, url, environment)


def _start(site: Site, name: str, arguments: list[str], **more: Any) -> subprocess.Popen[bytes]:
    log = (site.home / f"{name}.log").open("wb")
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=site.environment, stdout=log, stderr=log, **more
    )


def _answers(site: Site, processes: list[subprocess.Popen[bytes]]) -> bool:
    ended = [process.args for process in processes if process.poll() is not None]
    assert not ended, f"{ended} ended: {[path.read_text() for path in site.home.glob('*.log')]}"
    try:
        return httpx.get(f"{site.url}/api/me").status_code == 401
    except httpx.TransportError:
        return False


# --- in the processes -----------------------------------------------------------------------------

PEOPLE = {
    "ann": ("dev", "member"),
    "olga": ("ops", "member"),
    "pete": ("platform", "member"),
    "pia": ("platform", "lead"),
}


def set_up(repository: str) -> dict[str, Any]:
    from django.core.management import call_command
    from knox.models import AuthToken

    from pipelines.models import Pipeline
    from teams.models import Membership, Team, User

    call_command("migrate", interactive=False, verbosity=0)
    tokens = {}
    for name, (team, role) in {**PEOPLE, "eve": ("", "")}.items():
        user = User.objects.create(username=name, email=f"{name}@example.com")
        if team:
            row, _ = Team.objects.get_or_create(slug=team, defaults={"name": team.title()})
            Membership.objects.create(user=user, team=row, role=role)
        _, tokens[name] = AuthToken.objects.create(user=user)
    pipeline = Pipeline.objects.create(
        slug="demo", name="Demo", owner="platform", repository=repository, agreed=["dev", "ops"]
    )
    return {"tokens": tokens, "secret": pipeline.webhook_secret}


def work_for_ever() -> None:
    from pipelines import doorbell
    from pipelines.engines.local.tasks import work

    with doorbell.Bell(doorbell.WORK) as bell:
        while True:
            try:
                work()
            except Exception:  # as the real workers do, it tells and goes on
                logging.exception("The worker could not go on")
            bell.wait(0.2)


if __name__ == "__main__":
    import django

    django.setup()
    if sys.argv[1] == "set-up":
        print(json.dumps(set_up(str(Path(os.environ["BURGER_HOME"]).parent / "repository.git"))))
    else:
        work_for_ever()
