"""A process beside the web process, as a worker is: told what to do by lines of JSON, it answers each with one.

Run with BURGER_HOME set. Each line is [function, {arguments}]; the answer is the function's result.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import django

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

from pipelines import events, runs  # noqa: E402
from pipelines.definition.parse import parse  # noqa: E402
from pipelines.engines.local.tasks import work  # noqa: E402
from pipelines.models import Event, Pipeline, Run, Stage  # noqa: E402
from pipelines.runs.accept import remember  # noqa: E402
from pipelines.runs.start import start  # noqa: E402
from teams.models import Membership, Team, User  # noqa: E402


def migrate() -> None:
    call_command("migrate", verbosity=0)
    Pipeline.objects.create(slug="demo", name="Demo", owner="dev", repository="/nowhere")
    Team.objects.create(slug="dev", name="Dev")


def person(name: str, team: str | None = "dev") -> str:
    """Sign somebody new in; return the session's key."""
    user = User.objects.create(username=name)
    if team:
        Membership.objects.create(user=user, team=Team.objects.get_or_create(slug=team, defaults={"name": team})[0])
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return session.session_key


def sign_out(session: str) -> None:
    SessionStore(session).delete()


def remove_from_teams(name: str) -> None:
    Membership.objects.filter(user__username=name).delete()


def run() -> tuple[int, int]:
    """A new run's key and number."""
    pipeline = Pipeline.objects.get()
    pipeline.last_number += 1
    pipeline.save()
    made = Run.objects.create(
        pipeline=pipeline, number=pipeline.last_number, commit="c" * 40, ref="refs/heads/main", trigger="push"
    )
    return made.pk, made.number


GATED = """
name: demo
stages:
  - {name: ask, kind: gate, owner: dev, gate: {teams: {ops: 3}}}
  - {name: after, kind: noop, owner: dev, needs: [ask]}
"""


def gated() -> tuple[int, int]:
    """The number of a run whose first stage waits for three of ops, and that stage's key."""
    definition = parse(GATED).definition
    assert definition
    demo = Pipeline.objects.get()
    Pipeline.objects.filter(accepted=None).update(accepted=remember(demo, definition, GATED, "c0ffee" + "0" * 34))
    demo.refresh_from_db()
    push = runs.Push(ref="refs/heads/main", commit="c0ffee" + "0" * 34)
    made = start(pipeline=demo, push=push, text=GATED.encode())
    work()
    return made.number, Stage.objects.get(run=made, name="ask").pk


def approve(stage: int, name: str) -> None:
    digest = Stage.objects.get(pk=stage).plan_digest
    runs.approve(stage=stage, user=User.objects.get(username=name), digest=digest)
    work()


def stage(run: int, name: str) -> int:
    position = Stage.objects.filter(run=run).count()
    made = Stage.objects.create(run_id=run, position=position, name=name, kind="noop", owner="dev", definition={})
    return made.pk


def fan(run: int, count: int) -> list[int]:
    """`count` stages of one matrix behind a first one; the keys of them all."""
    plain = {"kind": "noop", "owner": "dev", "title": "", "gate": None, "environment": None, "on_exit": False}
    rows = [plain | {"name": "first", "group": "first", "needs": [], "depends": "", "matrix": {}}]
    rows += [
        plain | {"name": f"many/{i}", "group": "many", "needs": ["first"], "depends": "first", "matrix": {"n": str(i)}}
        for i in range(count)
    ]
    made = Stage.objects.bulk_create(
        Stage(run_id=run, position=i, name=row["name"], kind="noop", owner="dev", definition=row)
        for i, row in enumerate(rows)
    )
    return [stage.pk for stage in made]


def move(run: int, stage: int, state: str, code: str = "") -> None:
    with transaction.atomic():
        Stage.objects.filter(pk=stage).update(state=state)
        events.append(run, [events.New(events.StageChanged(state=state, code=code), stage)])


def write(run: int, stage: int, lines: list[str]) -> None:
    """Each line in a transaction of its own."""
    for line in lines:
        with transaction.atomic():
            events.append(run, [events.New(events.LogWritten(text=line), stage, 1)])


def append(run: int, count: int, size: int = 40, every: float = 0.0, together: int = 1, kind: str = "log") -> int:
    """`count` events, `together` in one transaction, one transaction each `every` seconds. Each text starts with the
    time when its transaction began. Returns the last number."""
    begun = time.monotonic()
    for i in range(0, count, together):
        time.sleep(max(0.0, begun + i // together * every - time.monotonic()))
        text = f"@{time.time_ns()}@" + "x" * size
        payload = events.LogWritten(text=text) if kind == "log" else events.RunChanged(state="running", reason=text)
        with transaction.atomic():
            events.append(run, [events.New(payload) for _ in range(min(together, count - i))])
    return Run.objects.values_list("last_seq", flat=True).get(pk=run)


def stored(run: int) -> list[int]:
    return list(Event.objects.filter(run=run).order_by("seq").values_list("seq", flat=True))


def end(run: int) -> None:
    with transaction.atomic():
        Run.objects.filter(pk=run).update(state="succeeded")
        events.append(run, [events.New(events.RunChanged(state="succeeded"))])


ACTS: dict[str, Any] = {
    act.__name__: act
    for act in (
        migrate,
        person,
        sign_out,
        remove_from_teams,
        run,
        gated,
        approve,
        stage,
        fan,
        move,
        write,
        append,
        stored,
        end,
    )
}

if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(ACTS[name](**arguments)), flush=True)
