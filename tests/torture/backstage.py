"""A process beside the installation, as a request or another worker is: told by lines of JSON, it answers each.

Run with BURGER_HOME set. Each line is [act, {arguments}]; the answer is {"result": ...} or {"error": ...}.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from knox.models import AuthToken  # noqa: E402

from pipelines import runs  # noqa: E402
from pipelines.definition.parse import parse  # noqa: E402
from pipelines.engines.local import sweep as sweeper  # noqa: E402
from pipelines.engines.local.tasks import work as work_until_nothing_is_ready  # noqa: E402
from pipelines.models import Pipeline, Stage  # noqa: E402
from pipelines.runs import accept  # noqa: E402
from pipelines.runs.questions import asked_digest  # noqa: E402
from pipelines.runs.start import start  # noqa: E402
from teams.models import Membership, Team, User  # noqa: E402

PASSWORD = "a long password of the tests"
TEAMS = ("dev", "ops", "platform")


def set_up(repository: str = "/nowhere", people: int = 2) -> dict[str, str]:
    """Teams, `people` members of each (`dev-0`, ...), one pipeline `demo`. Returns tokens by username."""
    call_command("migrate", interactive=False, verbosity=0)
    tokens = {}
    hashed = ""
    for slug in TEAMS:
        team = Team.objects.create(slug=slug, name=slug.title())
        for number in range(people):
            user = User(username=f"{slug}-{number}", email=f"{slug}-{number}@example.com")
            if not hashed:
                user.set_password(PASSWORD)
                hashed = user.password
            user.password = hashed
            user.save()
            Membership.objects.create(user=user, team=team, role="lead" if number == 0 else "member")
            if number < 2:
                _, tokens[user.username] = AuthToken.objects.create(user=user)
    Pipeline.objects.create(slug="demo", name="Demo", owner="platform", repository=repository, agreed=["dev", "ops"])
    return tokens


def session(user: str) -> str:
    """The key of a session in which this person is signed in."""
    person = User.objects.get(username=user)
    store = SessionStore()
    store[SESSION_KEY] = str(person.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = person.get_session_auth_hash()
    store.create()
    return str(store.session_key)


def receive(key: str, commit: str) -> int:
    pipeline = Pipeline.objects.get(slug="demo")
    push = runs.Push(ref="refs/heads/main", commit=commit)
    return runs.receive(pipeline, push, provider="test", delivery=key)[0].pk


def begin(text: str, commit: str = "c0ffee" + "0" * 34, ref: str = "refs/heads/main", slug: str = "") -> int:
    """Start a run of a pipeline file at once, in a pipeline of its own unless one is named; returns its key."""
    demo = Pipeline.objects.get(slug="demo")
    slug = slug or f"demo-{Pipeline.objects.count()}"
    pipeline, _ = Pipeline.objects.get_or_create(
        slug=slug, defaults={"name": slug, "owner": demo.owner, "repository": demo.repository}
    )
    accept_first(slug, text)
    run = start(pipeline=pipeline, push=runs.Push(ref=ref, commit=commit), text=text.encode())
    assert run.definition or run.state != "error", run.reason
    return run.pk


def accept_first(slug: str, text: str) -> None:
    """Let a file count from the start, as if the teams that it names had agreed to it; no other counts yet."""
    pipeline = Pipeline.objects.get(slug=slug)
    definition = parse(text).definition
    assert definition
    if pipeline.accepted is None:
        version = accept.remember(pipeline, definition, text, "c0ffee" + "0" * 34)
        Pipeline.objects.filter(pk=pipeline.pk).update(accepted=version)


def accepted() -> str:
    """The digest of the definition that decides who owns what in `demo`."""
    version = Pipeline.objects.get(slug="demo").accepted
    return version.digest if version else ""


def work() -> None:
    """Do all that is ready, as a worker would."""
    work_until_nothing_is_ready()


def sweep() -> None:
    sweeper.sweep()


def question(run: int, name: str) -> dict[str, Any]:
    """The key and the digest that an answer has to name."""
    stage = Stage.objects.get(run=run, name=name)
    return {"stage": stage.pk, "digest": asked_digest(stage)}


def approve(stage: int, user: str, digest: str, team: str = "", reason: str = "") -> None:
    runs.approve(stage=stage, user=User.objects.get(username=user), digest=digest, team=team, reason=reason)


def reject(stage: int, user: str, digest: str) -> None:
    runs.reject(stage=stage, user=User.objects.get(username=user), digest=digest, reason="no")


def retry(stage: int, user: str) -> None:
    runs.retry(stage=stage, user=User.objects.get(username=user))


def retry_failed(run: int, user: str) -> None:
    runs.retry_failed(run=run, user=User.objects.get(username=user))


def cancel(run: int, user: str) -> None:
    runs.cancel(run=run, user=User.objects.get(username=user), reason="no more")


def terminate(run: int, user: str) -> None:
    runs.terminate(run=run, user=User.objects.get(username=user), reason="at once")


def skip(stage: int, user: str, reason: str) -> None:
    runs.skip(stage=stage, user=User.objects.get(username=user), reason=reason)


def advance(run: int) -> None:
    runs.advance(run)


def together(calls: list[list[Any]]) -> list[str]:
    """Make all calls at the same moment, each on a thread with a connection of its own. Returns "" for each that
    succeeded, else the name of what it raised."""
    barrier = threading.Barrier(len(calls))
    answers = [""] * len(calls)

    def one(position: int, act: str, arguments: dict[str, Any]) -> None:
        barrier.wait()
        try:
            ACTS[act](**arguments)
        except Exception as error:
            answers[position] = type(error).__name__
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(i, act, arguments)) for i, (act, arguments) in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


ACTS: dict[str, Callable[..., Any]] = {
    act.__name__: act
    for act in (
        set_up, session, receive, begin, accepted, work, sweep, question, approve, reject, retry, retry_failed, cancel,
        terminate, skip, advance, accept_first, together,
    )
}  # fmt: skip


def answer(line: str) -> dict[str, Any]:
    name, arguments = json.loads(line)
    try:
        return {"result": ACTS[name](**arguments)}
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)
