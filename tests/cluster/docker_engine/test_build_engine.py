"""`build` when its engine goes away, its worker dies, and who shares a cache with whom."""

from __future__ import annotations

import os
import signal
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from django.utils import timezone

from pipelines.engines.local.sweep import sweep
from pipelines.models import Attempt, Environment, Pipeline, Release, Run
from tests.cluster.build_helpers import COMMIT, SHELL, Running, Site, processes
from tests.cluster.facts import Facts
from tests.cluster.own_engine import OwnEngine
from tests.executors.conftest import Repository, eventually, worker  # noqa: F401 - a fixture
from tests.pipelines.helpers import begin, stage

pytestmark = pytest.mark.cluster

RUN = """
stages:
  - {name: source, kind: source, owner: dev}
  - {name: build-shop, kind: build, owner: dev, needs: [source], with: {component: shop}}
"""


# --- who shares a cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_untrusted_builds_share_no_cache_with_trusted_ones(site: Site, limits: dict[str, object]) -> None:
    mount = "" if limits else "--mount=type=cache,target=/cache "
    poison = "RUN date +%N > /now\n" if limits else f"RUN {mount}cat /cache/said || true; date +%N > /cache/said\n"
    workspace = site.workspace({"Dockerfile": f"{SHELL}{poison}RUN cat /now /cache/said; true\n"})

    def cached(ref: str, key: str, pipeline: str = "shop") -> tuple[int, str]:
        result = site.build(site.spec(workspace, ref=ref, pipeline=pipeline, limits=limits), key)
        assert result.artifact is not None, result.outcome
        return result.artifact.meta["cached"], result.artifact.digest

    untrusted = cached("refs/heads/from-a-stranger", "k-1")
    trusted = cached("refs/heads/main", "k-2")
    assert trusted[0] == untrusted[0] == 0
    assert trusted[1] != untrusted[1]
    assert cached("refs/heads/main", "k-3")[0] > 0
    assert cached("refs/heads/other-stranger", "k-4")[1] == untrusted[1]
    assert cached("refs/heads/main", "k-5", pipeline="other")[0] == 0


def test_a_cache_mount_is_not_shared_either(site: Site) -> None:
    text = f"{SHELL}ARG N\nRUN --mount=type=cache,target=/cache cat /cache/said; echo poison > /cache/said; echo $N\n"
    workspace = site.workspace({"Dockerfile": text})
    assert "poison" not in _without_commands(
        site.build(site.spec(workspace, ref="refs/heads/x", args={"N": "1"}), "k-1").log
    )
    assert "poison" not in _without_commands(site.build(site.spec(workspace, args={"N": "2"}), "k-2").log)
    assert "poison" in _without_commands(site.build(site.spec(workspace, args={"N": "3"}), "k-3").log)


def test_a_cache_from_the_registry(cluster: Facts, engine: OwnEngine, site: Site) -> None:
    registry, image = cluster.registry, f"{cluster.registry.address}/test-build/cache:{os.getpid()}"
    site.secret("user", registry.username)
    site.secret("password", registry.password)
    credential = {"secrets": {"username": "user", "password": "password"}}
    site.connect(engine.host, registries=[registry.address])
    workspace = site.workspace({"Dockerfile": f"{SHELL}RUN date +%N > /now\n"})
    spec = site.spec(workspace, cache_from=[image], registries={registry.address: credential})
    first = site.build(spec)
    assert first.artifact is not None, (first.outcome, first.log)
    engine.command("login", "-u", registry.username, "-p", registry.password, registry.address)
    engine.command("tag", first.artifact.digest, image)
    engine.command("push", image)
    engine.command("rmi", image, first.artifact.meta["tag"])
    engine.command("builder", "prune", "--all", "--force")
    (engine.folder / ".docker/config.json").unlink()  # what builds now, uses the stage's own credential
    again = site.build(spec, "k-2")
    assert again.artifact is not None, (again.outcome, again.log)
    assert f"importing cache manifest from {image}" in again.log
    assert again.artifact.meta["cached"] == 1
    assert registry.password not in again.log + first.log
    assert not list(site.home.rglob("config.json"))
    engine.command("builder", "prune", "--all", "--force")
    engine.command("rmi", again.artifact.meta["tag"])
    with httpx.Client(
        verify=ssl.create_default_context(cafile=registry.ca), auth=(registry.username, registry.password)
    ) as http:
        manifests = f"https://{registry.address}/v2/test-build/cache/manifests"
        kind = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        digest = http.head(f"{manifests}/{os.getpid()}", headers=kind).headers["Docker-Content-Digest"]
        assert http.delete(f"{manifests}/{digest}").status_code in (202, 405)  # 405: a registry that keeps all
    unsigned = site.build(site.spec(workspace, cache_from=[image]), "k-3")
    assert unsigned.artifact is not None
    assert unsigned.artifact.meta["cached"] == 0


def _without_commands(log: str) -> str:
    return "\n".join(line for line in log.splitlines() if "RUN" not in line)


# --- when the engine is away ------------------------------------------------------------------------------


def test_an_engine_that_is_away_is_waited_for_and_the_same_key_goes_on(engine: OwnEngine, tmp_path: Path) -> None:
    site = Site(tmp_path / "var", f"unix://{tmp_path}/none.sock")
    spec = site.spec(site.workspace({"Dockerfile": SHELL}))
    away = site.build(spec).outcome
    assert away.state == "engine"
    assert f"unix://{tmp_path}/none.sock does not answer" in away.reason
    assert site.executor.probe(spec, "k-1").state == "never_started"
    site.connect(engine.host)
    assert site.build(spec).outcome.state == "succeeded"


@pytest.mark.django_db
def test_a_stage_waits_for_its_engine_goes_on_by_itself_and_knows_the_last_release(
    engine: OwnEngine, home: Path, pipeline: Pipeline, working: Callable[[], None], tmp_path: Path
) -> None:
    """The whole way, as workers go it: waiting with its reason and a backoff, then built; then built for a release."""
    site = Site(home, f"unix://{tmp_path}/none.sock")
    repository = Repository(tmp_path / "repository")
    pipeline.repository = str(repository.folder)
    pipeline.save()

    def push(size: int) -> Run:
        commit = repository.commit({"Dockerfile": f"{SHELL}RUN head -c {size} /dev/zero > /file\n"})
        run = begin(pipeline, RUN, commit=commit)
        working()
        return run

    run = push(2_000_000)
    build = stage(run, "build-shop")
    assert (build.state, build.reason_code) == ("waiting", "engine")
    assert "none.sock does not answer" in build.reason
    assert build.due_at > timezone.now()
    site.connect(engine.host)

    def ended() -> bool:
        sweep()
        working()
        return stage(run, "build-shop").state == "succeeded"

    eventually(ended, 30)
    assert Attempt.objects.filter(stage=build).count() == 1
    staging = Environment.objects.create(pipeline=pipeline, name="staging", owner="ops")
    Release.objects.create(environment=staging, name="r1", run=run, commit=run.commit)
    assert "1.0 MB smaller than in the last release" in stage(push(1_000_000), "build-shop").reason


@pytest.fixture
def mortal(cluster: Facts) -> Iterator[OwnEngine]:
    """An engine for one test, to be killed."""
    with tempfile.TemporaryDirectory(prefix="bm-", dir="/tmp") as folder:
        own = OwnEngine(Path(folder, "e"), cluster.docker)
        own.bridge = f"bm{os.getpid()}"
        own.folder.mkdir()
        own.start()
        yield own
        own.stop()


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_an_engine_lost_while_it_builds_builds_once_more_from_the_same_commit(
    mortal: OwnEngine, tmp_path: Path, limits: dict[str, object]
) -> None:
    site = Site(tmp_path / "var", mortal.host)
    nap = f"6{time.monotonic_ns() % 10**7}.5"
    text = f"{SHELL}COPY seconds /\nRUN sleep $(cat /seconds) {nap} & sleep 4\n"
    spec = site.spec(site.workspace({"Dockerfile": text, "seconds": nap}), limits=limits)
    running = Running(site, spec)
    eventually(lambda: processes(nap), 30)
    mortal.kill()
    lost = running.result().outcome
    assert lost.state == "engine", lost
    assert site.build(spec).outcome.state == "engine"
    mortal.start()
    result = site.build(spec)
    assert result.outcome.state == "succeeded", result.outcome
    assert result.artifact is not None
    assert result.artifact.meta["commit"] == COMMIT


def test_an_engine_lost_twice_is_an_error(mortal: OwnEngine, tmp_path: Path) -> None:
    site = Site(tmp_path / "var", mortal.host)
    nap = f"5{time.monotonic_ns() % 10**7}.5"
    spec = site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN sleep {nap}\n"}))
    for wanted in ("engine", "error"):
        running = Running(site, spec)
        eventually(lambda: processes(nap), 30)
        mortal.kill()
        for pid in processes(nap):  # what it ran does not end with it
            os.kill(pid, signal.SIGKILL)
        assert running.result().outcome.state == wanted
        mortal.start()
    assert "lost twice" in site.build(spec).outcome.reason


def test_a_worker_that_is_killed_leaves_a_build_that_the_next_one_joins(
    site: Site,
    engine: OwnEngine,
    worker: object,  # noqa: F811
) -> None:
    spec = site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN echo begun; sleep 4; date +%N > /now\n"}))
    first = worker(site.executor, spec, "k-1")  # type: ignore[operator]
    eventually(lambda: "begun" in first.stdout.readline(), 30)
    eventually(lambda: site.executor.probe(spec, "k-1").state == "running", 5)
    first.kill()
    first.wait()
    assert site.executor.probe(spec, "k-1").state == "running"
    result = site.build(spec)
    assert result.outcome.state == "succeeded"
    assert "Building with" not in result.log
    assert result.artifact is not None
    assert result.artifact.meta["steps"] == 1
