"""The cast and the stage of all tests: a home of their own, three teams, one member of each, an outsider."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

from tests import home as _home  # noqa: F401  also where the shop's settings are used

# How long an example takes says something about the machine, and nothing about what is tested.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

_left_out: dict[str, str] = {}
_on_a_cluster: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a real engine, registry and cluster run where they are asked for: by `-m`, or by their path."""
    folder = Path(__file__).parent / "cluster"
    named = [Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args]
    if "cluster" in config.option.markexpr or any(path.is_relative_to(folder) for path in named) or _tortures_one():
        return
    left = {item for item in items if item.get_closest_marker("cluster")}
    if left:
        config.hook.pytest_deselected(items=sorted(left, key=lambda item: item.nodeid))
        items[:] = [item for item in items if item not in left]
        _on_a_cluster.extend(item.nodeid for item in left)


def _tortures_one() -> bool:
    """Whether this is the full count, and there is a cluster for it."""
    from tests.cluster.facts import facts

    return os.environ.get("BURGER_TORTURE") == "1" and (bool(os.environ.get("KUBECONFIG")) or facts() is not None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _left_out[report.nodeid] = reason.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line what was not tested here, and what brings it."""
    parts = []
    if _left_out:
        parts.append(f"{len(_left_out)} tests ({'; '.join(sorted(set(_left_out.values())))})")
    if _on_a_cluster:
        parts.append(f"{len(_on_a_cluster)} tests against a real engine and cluster (make test-cluster runs them)")
    if parts:
        terminalreporter.write_line(f"Left out: {', and '.join(parts)}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything was installed for the tests, a skip is a failure."""
    if _left_out and exitstatus == 0 and os.environ.get("BURGER_NO_SKIPS") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """The audit trail refuses deletions, which tests that commit need in order to clean up; test_audit makes the
    trigger again for itself."""
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS audit_no_delete")
        else:
            cursor.execute("DROP TRIGGER IF EXISTS audit_no_truncate ON teams_auditentry")


@pytest.fixture(autouse=True)
def no_earlier_tries() -> None:
    """Forget who signed in wrongly how often: people of one name are others in each test."""
    from django.conf import settings
    from django.core.cache import cache

    if settings.configured:  # tests of pure parts run without Django, too
        cache.clear()


@pytest.fixture
def home(settings: Any, tmp_path: Path) -> Path:
    """A state folder of the test's own."""
    settings.HOME = tmp_path / "home"
    settings.HOME.mkdir()
    return settings.HOME


@pytest.fixture
def cast(db: None) -> SimpleNamespace:
    """dev, ops and platform with a member each (`ann`, `olga`, `pete`) and a lead (`dora`, `otto`, `pia`), a viewer of
    dev, an outsider in no team, and an administrator in no team."""
    from teams.models import Membership, Team, User

    people = SimpleNamespace()
    teams = {slug: Team.objects.create(slug=slug, name=slug.title()) for slug in ("dev", "ops", "platform")}
    roles = {
        "ann": ("dev", "member"),
        "dora": ("dev", "lead"),
        "victor": ("dev", "viewer"),
        "olga": ("ops", "member"),
        "otto": ("ops", "lead"),
        "pete": ("platform", "member"),
        "pia": ("platform", "lead"),
    }
    for name in (*roles, "eve", "root"):
        user = User.objects.create(username=name, email=f"{name}@example.com", is_superuser=name == "root")
        user.set_unusable_password()
        user.save()
        setattr(people, name, user)
    for name, (team, role) in roles.items():
        Membership.objects.create(user=getattr(people, name), team=teams[team], role=role)
    people.teams = teams
    return people


@pytest.fixture
def pipeline(cast: SimpleNamespace) -> Any:
    from pipelines.models import Pipeline

    return Pipeline.objects.create(
        slug="demo", name="Demo", owner="platform", repository="/nowhere", agreed=["dev", "ops"]
    )


@pytest.fixture(autouse=True)
def files_of_few_lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's pipeline file need not fetch what nothing in it works with, unless the test is about that."""
    if request.node.get_closest_marker("workspaces"):
        return
    from pipelines.definition.kinds import KINDS

    for name, kind in KINDS.items():
        monkeypatch.setitem(KINDS, name, replace(kind, reads=""))  # type: ignore[arg-type]


@pytest.fixture
def working(home: Path) -> Any:
    """Call it to do all work that is ready, in this process, as a worker would."""
    from pipelines.engines.local.tasks import work

    return work
