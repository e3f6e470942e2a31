"""The demo's teams, people, tokens and secrets. All passwords and tokens are made here, and shown once."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from knox.models import AuthToken

from pipelines.engines import connections
from pipelines.models import Pipeline
from teams.models import Membership, Team, User
from teams.policy import Role

TEAMS = {
    "dev": ("Dev", "#2563eb", ("dana", "devin")),
    "ops": ("Ops", "#b45309", ("olga", "omar")),
    "platform": ("Platform", "#7c3aed", ("petra", "paul")),
}
PUSHER = "devin"
ADMINISTRATOR = "admin"
TOKEN_DAYS = 30
PIPELINE = "burger-stack"
ON_CLUSTERS = "pipeline-cluster.yaml"


@dataclass
class Organisation:
    """What was made, as it is written to `demo.json`. `passwords` is empty when it was there already."""

    url: str
    hook: str
    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    teams: dict[str, list[str]] = field(default_factory=dict)
    shops: dict[str, str] = field(default_factory=dict)
    repository: str = ""


def demo_file() -> Path:
    return Path(settings.HOME) / "demo.json"


def ensure(repository: Path) -> tuple[Organisation, bool]:
    """The organisation, and whether it was made just now."""
    path = demo_file()
    if path.exists() and Team.objects.exists():
        known = json.loads(path.read_text())
        known |= {"url": settings.PUBLIC_URL, "hook": _hook(), "shops": _shops()}
        _write(path, known)
        return Organisation(**known), False
    with transaction.atomic():
        made = _make(repository)
    _make_secrets(Path(settings.HOME))
    shown = dict(made.passwords)
    made.passwords = {}
    _write(path, vars(made))
    made.passwords = shown
    return made, True


def _make(repository: Path) -> Organisation:
    made = Organisation(
        url=settings.PUBLIC_URL, hook=_hook(), shops=_shops(), repository=str(repository),
        teams={slug: list(people) for slug, (_, _, people) in TEAMS.items()},
    )  # fmt: skip
    for slug, (name, color, people) in TEAMS.items():
        team, _ = Team.objects.get_or_create(slug=slug, defaults={"name": name, "color": color})
        for position, person in enumerate(people):
            made.passwords[person] = secrets.token_urlsafe(12)
            user = User(username=person, first_name=person.title(), email=f"{person}@burger.example")
            user.set_password(made.passwords[person])
            user.save()
            role = Role.LEAD if position == 0 else Role.MEMBER
            Membership.objects.create(user=user, team=team, role=role)
            _, made.tokens[person] = AuthToken.objects.create(user=user, expiry=timedelta(days=TOKEN_DAYS))
    made.passwords[ADMINISTRATOR] = secrets.token_urlsafe(12)
    admin = User.objects.create_superuser(
        ADMINISTRATOR, f"{ADMINISTRATOR}@burger.example", made.passwords[ADMINISTRATOR]
    )
    _, made.tokens[ADMINISTRATOR] = AuthToken.objects.create(user=admin, expiry=timedelta(days=TOKEN_DAYS))
    Pipeline.objects.get_or_create(
        slug=PIPELINE,
        defaults={
            "name": "Burger Stack", "owner": "platform", "repository": str(repository), "agreed": list(TEAMS),
            **({"definition_path": ON_CLUSTERS} if _elsewhere() else {}),
        },
    )  # fmt: skip
    return made


def _hook() -> str:
    return f"{settings.PUBLIC_URL}/hooks/git/{PIPELINE}"


def _elsewhere() -> dict[str, str]:
    """The environments that connections.yaml has on clusters, and where each is reached."""
    return connections.environments(Path(settings.HOME))


def _shops() -> dict[str, str]:
    host = settings.ENVIRONMENT_HOST or settings.PORTAL_HOST
    return {name: f"http://{host}:{port}/" for name, port in settings.ENVIRONMENT_PORTS.items()} | _elsewhere()


def _make_secrets(home: Path) -> None:
    """The shop's keys, and on clusters the passwords of its databases: for each environment, readable by the teams
    that roll it out and configure it."""
    wanted = [f"shop-{name}-secret-key" for name in [*settings.ENVIRONMENT_PORTS, *_elsewhere()]]
    wanted += [f"shop-{name}-database-password" for name in _elsewhere()]
    for name in wanted:
        value = secrets.token_urlsafe(48)
        for team in ("ops", "platform"):
            path = home / "secrets" / team / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                path.touch(mode=0o600)
                path.write_text(value)


def _write(path: Path, data: dict[str, Any]) -> None:
    """Readable by its owner alone from the first byte on."""
    made = path.with_suffix(".new")
    made.unlink(missing_ok=True)
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(data, file, indent=2)
    made.replace(path)
