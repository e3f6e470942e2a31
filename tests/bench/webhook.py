"""From a webhook that was accepted to the first stage that runs: `python -m tests.bench.webhook`.

A real bare repository, the real web process, workers and sweeper, and signed calls as `post_receive` sends them. It
is counted from the delivery's row to the event that says that the stage runs. The floor is a bare `git fetch` of the
same commit, the one thing in between that has to be done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pipelines.webhooks.post_receive import announce

from .place import ROOT, everything, home, until
from .result import Result, percentile, tell

PUSHES = 30
GOAL = 250.0  # ms
FILE = "name: pushed\nstages:\n  - {name: first, kind: noop, owner: dev}\n"
ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Repository:
    """A clone to commit in, and the bare repository that it pushes to."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.clone, self.other = folder / "app.git", folder / "app", folder / "floor.git"
        for made in (self.bare, self.other):
            git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(made))
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.clone))
        (self.clone / "pipeline.yaml").write_text(FILE)

    def push(self, number: int) -> str:
        """Push a new commit, unannounced."""
        (self.clone / "README").write_text(f"{number}\n")
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "-m", f"Number {number}")
        git(self.clone, "push", "--quiet", str(self.bare), "main")
        return git(self.clone, "rev-parse", "HEAD")

    def fetch(self, commit: str) -> float:
        """Milliseconds that a bare fetch takes."""
        began = time.perf_counter()
        git(self.other, "fetch", "--quiet", "--no-tags", "--", str(self.bare), f"+{commit}:refs/floor/{commit}")
        return (time.perf_counter() - began) * 1000


def announced(commit: str, number: int, secret: str, process: subprocess.Popen[bytes]) -> float:
    """Milliseconds from the delivery's row to the event of the first stage that runs."""
    from django.conf import settings

    from pipelines.models import Delivery, Event

    url = f"{settings.PUBLIC_URL}/hooks/git/app"
    os.chdir(ROOT)
    announce(url, secret.encode(), f"bench-{number}", "0" * 40, commit, "refs/heads/main")
    runs = Event.objects.filter(run__deliveries__delivery=f"bench-{number}", kind="stage", data__state="running")
    until(runs.exists, "the first stage runs", process, every=0.02)
    event = runs.order_by("seq")[0]
    return (event.at - Delivery.objects.get(delivery=f"bench-{number}").at).total_seconds() * 1000


def main() -> None:
    with home() as folder:
        from pipelines.models import Pipeline
        from teams.models import Team

        repository = Repository(folder)
        Team.objects.create(slug="dev", name="Dev")
        pipeline = Pipeline.objects.create(slug="app", name="App", owner="dev", repository=str(repository.bare))
        ours, floors = [], []
        with everything() as supervisor:
            for number in range(PUSHES + 4):  # the first ones start what the processes keep
                commit = repository.push(number)
                floors.append(repository.fetch(commit))
                ours.append(announced(commit, number, pipeline.webhook_secret, supervisor))
        ours, floors = ours[-PUSHES:], floors[-PUSHES:]
        note = f"median {percentile(ours, 0.5):.0f} ms, floor's {percentile(floors, 0.5):.0f} ms"
        print(note, sorted(round(o) for o in ours), file=sys.stderr)
        name = "webhook accepted to first stage running, p95"
        tell([Result(name, percentile(ours, 0.95), percentile(floors, 0.95), GOAL, "ms", judged="ours", note=note)])


if __name__ == "__main__":
    main()
