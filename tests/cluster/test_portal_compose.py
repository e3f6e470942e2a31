"""The portal by docker/compose.yaml, on a real engine with a real docker compose."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.build_helpers import free_ports
from tests.cluster.facts import Facts
from tests.cluster.layout import CHECKOUT
from tests.cluster.portal_helpers import GREETING, Engine, images, run_a_pipeline
from tests.cluster.rollout_helpers import until

pytestmark = [pytest.mark.cluster, pytest.mark.long]


class Compose:
    def __init__(self, program: Path, engine: Engine, tags: dict[str, str]) -> None:
        (self.port,), self._engine = free_ports(1), engine
        self._command = [str(program), "--project-name", f"test-{secrets.token_hex(3)}"]
        self._command += ["--file", str(CHECKOUT / "docker" / "compose.yaml")]
        self._environment = engine.environment | {
            "BURGER_IMAGE": tags["portal"],
            "POSTGRES_IMAGE": tags["database"],
            "VALKEY_IMAGE": tags["valkey"],
            "BURGER_DATABASE_PASSWORD": secrets.token_hex(12),
            "BURGER_SECRET_KEY": secrets.token_hex(24),
            "BURGER_PORT_BASE": str(self.port),
        }

    def __call__(self, *words: str, check: bool = True, timeout: float = 300) -> str:
        done = subprocess.run(
            [*self._command, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, f"docker compose {' '.join(words)}: {done.stderr[-3000:]}"
        return done.stdout

    @property
    def running(self) -> list[str]:
        return sorted(self("ps", "--format", "{{.Service}}", "--status", "running").split())

    def started(self, service: str) -> str:
        """When its container last started."""
        return self._engine("inspect", "-f", "{{.State.StartedAt}}", self("ps", "--all", "--quiet", service).strip())

    def shell(self, script: str) -> str:
        return self("exec", "--no-TTY", "web", "python", "manage.py", "shell", "-v", "0", "-c", script)


@pytest.fixture
def compose(cluster: Facts, program: Callable[[str], Path], tmp_path: Path) -> Iterator[Compose]:
    (tmp_path / "config").mkdir()
    engine = Engine(cluster, tmp_path / "config")
    made = Compose(program("docker-compose"), engine, images(engine))
    yield made
    made("down", "--volumes", "--timeout", "5")


def test_the_portal_comes_up_runs_a_pipeline_and_brings_back_what_dies(compose: Compose) -> None:
    compose("up", "--detach", "--no-build", "--scale", "workers=2", timeout=600)
    found = run_a_pipeline(f"http://127.0.0.1:{compose.port}", compose.shell)
    assert (found["state"], GREETING in found["said"]) == ("succeeded", True), found
    whole = ["database", "sweeper", "valkey", "web", "workers", "workers"]
    assert compose.running == whole
    before = compose("ps", "--quiet", "sweeper"), compose.started("sweeper")
    compose("exec", "--no-TTY", "sweeper", "python", "-c", "import os; os.kill(-1, 9)", check=False)
    until(lambda: compose.started("sweeper") != before[1] and compose.running == whole, "the sweeper's return", 60)
    assert compose("ps", "--quiet", "sweeper") == before[0]
