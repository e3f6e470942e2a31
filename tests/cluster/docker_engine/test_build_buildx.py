"""`build` by a real buildx, installed as people have it: a plugin of their own command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.executors.build import builders, check
from pipelines.executors.connections import Docker
from tests.cluster.build_helpers import SHELL, Site
from tests.cluster.facts import Facts
from tests.cluster.own_engine import OwnEngine

pytestmark = pytest.mark.cluster

SECRET = "hunter2-Geheimnis"
DOCKERFILE = (
    f"{SHELL}RUN --mount=type=secret,id=word,target=/run/word cat /run/word | sha256sum > /proof\n"
    "RUN --mount=type=cache,target=/cache echo once >> /cache/seen; cat /cache/seen > /count\n"
)


@pytest.fixture
def docker(
    cluster: Facts, engine: OwnEngine, program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Docker:
    """The engine, by a command line whose plugins are in the home of whoever runs the workers."""
    plugins = tmp_path / "home" / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # A worker that is at work already notices that it was installed.
    assert builders.find(Docker(host=engine.host, cli=cluster.docker)).kind == "buildkit"
    (plugins / "docker-buildx").symlink_to(program("docker-buildx"))
    return Docker(host=engine.host, cli=cluster.docker)


def test_buildx_builds_with_cache_mounts_and_secrets_that_are_in_no_layer(
    docker: Docker, engine: OwnEngine, tmp_path: Path
) -> None:
    site = Site(tmp_path / "var", engine.host, cli=docker.cli)
    site.secret("word", SECRET)
    spec = site.spec(site.workspace({"Dockerfile": DOCKERFILE}), secrets={"word": "word"})
    built = site.build(spec)
    assert built.outcome.state == "succeeded", (built.outcome, built.log)
    assert f"BuildKit ({docker.cli} buildx build)" in built.outcome.reason
    assert [event.done for event in built.progress][-1] == 2
    assert SECRET not in built.log
    assert built.artifact is not None
    assert engine.command("image", "inspect", built.artifact.digest).returncode == 0
    assert SECRET.encode() not in engine.command("save", built.artifact.digest).stdout
    again = site.build(site.spec(spec.artifacts["source"], secrets={"word": "word"}), "k-2")
    assert again.artifact is not None
    assert again.artifact.digest == built.artifact.digest
    assert again.artifact.meta["cached"] == 2


def test_the_engines_page_says_that_buildx_builds_and_that_it_works(docker: Docker) -> None:
    report = check.check(docker)
    assert (report.builder.kind, report.problem, report.remedy) == ("buildx", "", "")


def test_a_build_that_fails_says_where(docker: Docker, engine: OwnEngine, tmp_path: Path) -> None:
    site = Site(tmp_path / "var", engine.host, cli=docker.cli)
    outcome = site.build(site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN echo x; exit 3\n"}))).outcome
    assert outcome.state == "failed"
    assert "Dockerfile failed at `RUN echo x; exit 3`" in outcome.reason
