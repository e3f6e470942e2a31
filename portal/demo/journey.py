"""What the demo does, from an empty folder to a verified release."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from rich.console import Console

from pipelines.engines import environments
from pipelines.models import Delivery, Pipeline
from portal import supervisor
from portal.cli.client import Client, stage_path
from portal.cli.follow import follow

from .organisation import ADMINISTRATOR, PIPELINE, Organisation, demo_file, ensure
from .repository import Repository

START_TIME = 60.0  # seconds that the portal may take to answer
PUSH_TIME = 30.0  # seconds from a push to its run

console = Console(highlight=False, soft_wrap=True)


def up() -> int:
    """Serve until Ctrl-C."""
    prepare()
    supervisor.Supervisor(ready=_say_where, ending=_stop_releases).run()
    # Once more: a rollout that was under way may have begun something anew meanwhile.
    supervisor.stop()
    console.print("All that was started has been stopped; `make up` finds it as it was.")
    return 0


def _stop_releases() -> None:
    console.print("Stopping the releases: what customers asked for just now is answered first.")
    environments.stop(settings.HOME)


def down() -> int:
    console.print("Stopped." if supervisor.stop() else f"Nothing runs for {settings.HOME}.")
    return 0


def demo() -> int:
    """Push a commit and follow it to production."""
    organisation = prepare()
    began = time.monotonic()
    stays = os.environ.get("KEEP") == "1" or supervisor.running() is not None
    with serving():
        _say_where()
        _, state = travel(organisation, "Let the shop travel to production")
        if state == "succeeded":
            for name, address in organisation.shops.items():
                console.print(f"  {name:12} {address}")
            if not stays:
                console.print("  (They stop with this command; with KEEP=1 they go on serving.)")
        console.print(f"The run {state} {time.monotonic() - began:.0f} s after the start.")
        if os.environ.get("KEEP") == "1":
            console.print(f"It goes on serving at {settings.PUBLIC_URL}; stop it with: make down")
    return 0 if state == "succeeded" else 1


def prepare() -> Organisation:
    """The database, the organisation and the repository, made where they are missing."""
    supervisor.check_address()
    if supervisor.running() is None:
        supervisor.check_ports()
    call_command("migrate", interactive=False, verbosity=0)
    repository = Repository(Path(settings.HOME))
    repository.ensure()
    organisation, new = ensure(repository.bare)
    if new:
        _show_people(organisation)
    return organisation


def _show_people(organisation: Organisation) -> None:
    console.print("\nThe people of the demo, with passwords made just now and shown this once:")
    for team, people in organisation.teams.items():
        for person in people:
            console.print(f"  {team:9} {person:7} {organisation.passwords[person]}")
    console.print(f"  {'':9} {ADMINISTRATOR:7} {organisation.passwords[ADMINISTRATOR]} (administrator)")
    console.print(f"Their API tokens, for scripts, are in {demo_file()} (readable by you alone).\n")


def _say_where() -> None:
    console.print(f"The portal is at {settings.PUBLIC_URL}")


@contextmanager
def serving() -> Iterator[None]:
    """A supervisor for the demo's time, unless one runs already or KEEP=1 leaves it."""
    if supervisor.running() is not None:
        yield
        return
    log = settings.HOME / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "serve"],
            cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    signal.signal(signal.SIGTERM, _interrupt)
    kept = False
    try:
        _wait_until_it_answers(process, log)
        yield
        kept = os.environ.get("KEEP") == "1"
    finally:
        if not kept:
            # Whoever asks a second time must not leave it half stopped.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            console.print("Stopping all that was started; this takes a few seconds.")
            supervisor.stop()
            process.wait(30)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _wait_until_it_answers(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIME
    while not supervisor.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise supervisor.StartError(f"The portal did not start; {log} says:\n{_tail(log)}")
        time.sleep(0.1)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def travel(organisation: Organisation, subject: str, edit: Callable[[Path], None] | None = None) -> tuple[int, str]:
    """Push a commit of this tree, changed by `edit`, and follow its run; returns the run's number and state."""
    repository = Repository(Path(settings.HOME))
    commit = repository.commit(subject, edit)
    pipeline = Pipeline.objects.get(slug=PIPELINE)
    client = Client(organisation.url, organisation.tokens[organisation.teams["dev"][0]])
    console.print(f"Pushing {commit[:10]} to {repository.bare}")
    repository.push(organisation.hook, pipeline.webhook_secret)
    number = _wait_for_run(client, commit)
    console.print(f"It is run {PIPELINE}/{number}: {settings.PUBLIC_URL}/runs/{PIPELINE}/{number}")
    return number, accompany(organisation, client, number)


def accompany(organisation: Organisation, client: Client, number: int) -> str:
    """Follow a run to its end, and answer its gates if APPROVE=auto says so; returns its state."""
    on_gate = approver(organisation) if os.environ.get("APPROVE") == "auto" else None
    speakers = {team: people[0] for team, people in organisation.teams.items()}
    return follow(client, PIPELINE, number, console=console, on_gate=on_gate, speakers=speakers)


def _wait_for_run(client: Client, commit: str) -> int:
    deadline = time.monotonic() + PUSH_TIME
    while time.monotonic() < deadline:
        for run in client.get("runs", pipeline=PIPELINE)["results"]:
            if run["commit"] == commit:
                return int(run["number"])
        time.sleep(0.2)
    note = Delivery.objects.filter(commit=commit).values_list("note", flat=True).first()
    raise supervisor.StartError(
        f"The push of {commit[:10]} started no run within {PUSH_TIME:.0f} s{': ' + note if note else ''}; "
        f"see {settings.PUBLIC_URL}/pipelines/{PIPELINE} and {settings.HOME / 'logs'}."
    )


def approver(organisation: Organisation) -> Any:
    """Answers each gate with a token of a team that it waits for, as APPROVE=auto asks."""

    def on_gate(stage: dict[str, Any]) -> None:
        if stage["paused"]:
            raise supervisor.StartError(
                f"{stage['name']} wants a person to look: {stage['reason']}. APPROVE=auto answers gates, not doubts."
            )
        for gate in stage["gate"]["teams"]:
            for person in organisation.teams[gate["team"]][: max(0, gate["quorum"] - gate["approved"])]:
                client = Client(organisation.url, organisation.tokens[person])
                body = {"digest": stage["digest"], "team": gate["team"], "reason": "make demo APPROVE=auto"}
                client.post(f"{stage_path(stage['run'], stage['name'])}/approve", body)
                console.print(f"  {person} approves {stage['name']} for {gate['team']}")

    return on_gate
