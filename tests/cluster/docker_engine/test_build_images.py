"""The project's own images: built by the stage, hardened as in a cluster, and serving together."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.executors.base import Artifact
from tests.cluster.build_helpers import BUNDLE, COMMIT, Site, config_of, free_ports, get
from tests.cluster.facts import Facts
from tests.executors.conftest import eventually

pytestmark = pytest.mark.cluster


ROOT = Path(__file__).parents[3]
COMPONENTS = ("agent", "backend", "database", "frontend")


@pytest.fixture(scope="module")
def images(cluster: Facts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Artifact]]:
    """The four, built from this tree. One key of the cache for all test runs: the second run is quick."""
    home = tmp_path_factory.mktemp("images") / "var"
    bundle = {"ca_bundle": str(BUNDLE)} if BUNDLE.exists() else {}
    args = {"PYTHON_IMAGE": cluster.base_image["python"], "DEBIAN_IMAGE": cluster.base_image["debian"]}
    site = Site(home, cluster.docker_host, args=args, registries=[cluster.registry.address], **bundle)
    (home / "build-cache.key").write_bytes(hashlib.sha256(b"tests").digest())
    site.secret("user", cluster.registry.username)
    site.secret("password", cluster.registry.password)
    tree = tmp_path_factory.mktemp("tree")
    for name in ("docker", "ordering"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".dockerignore", tree)
    workspace = site.packed(tree)
    registries = {cluster.registry.address: {"secrets": {"username": "user", "password": "password"}}}
    made = {}
    for name in COMPONENTS:
        spec = site.spec(
            workspace,
            stage=f"build-{name}",
            component=name,
            dockerfile=f"docker/{name}/Dockerfile",
            registries=registries,
        )
        result = site.build(spec, f"k-{name}-{os.getpid()}")
        assert result.artifact is not None, (result.outcome, result.log[-2000:])
        made[name] = result.artifact
    yield made
    for artifact in made.values():
        _docker(cluster, "rmi", artifact.meta["tag"])


def test_the_projects_images_run_as_nobody_from_the_commit_without_shell_or_secret(
    cluster: Facts, images: dict[str, Artifact]
) -> None:
    for name, image in images.items():
        config = config_of(_docker(cluster, "image", "inspect", image.digest))
        assert config["User"] == "10001:10001", name
        assert config["Labels"]["org.opencontainers.image.revision"] == COMMIT
        assert not [text for text in config["Env"] if "PASSWORD" in text or "SECRET" in text]
    python = [*HARDENED, "--entrypoint", "python3", images["backend"].digest, "-S", "-c"]
    asked = (
        "import glob, os; print(os.getuid(), glob.glob('/bin/*sh') + glob.glob('/usr/bin/*[!3]'), glob.glob('/run/*'))"
    )
    assert _docker(cluster, "run", "--rm", *python, asked).split(maxsplit=1) == ["10001", "[] []\n"]


HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")


def test_the_projects_images_serve_together(cluster: Facts, images: dict[str, Artifact]) -> None:
    """Hardened as in a cluster: the schema is migrated, the shop sells, its files are served, the agent sees both."""
    names = [f"test-build-{name}-{os.getpid()}" for name in COMPONENTS]
    ports = dict(zip(COMPONENTS, free_ports(4), strict=True))
    key = f"SECRET_KEY={os.urandom(24).hex()}"
    url = f"DATABASE_URL=postgresql://shop:test-password@127.0.0.1:{ports['database']}/shop"
    urls = f"PROBE_URLS=http://127.0.0.1:{ports['backend']}/healthz http://127.0.0.1:{ports['frontend']}/healthz"

    def start(name: str, *words: str, env: tuple[str, ...] = ()) -> None:
        variables = [word for pair in env for word in ("--env", pair)]
        named = f"test-build-{name}-{os.getpid()}"
        _docker(cluster, "run", "--detach", "--name", named, *HARDENED, *variables, images[name].digest, *words)

    try:
        start("database", "-c", f"port={ports['database']}", env=("POSTGRES_PASSWORD=test-password",))
        shop = ["--env", key, "--env", url, images["backend"].digest]
        migrate = ["run", "--rm", *HARDENED, *shop, "ordering.site.manage", "migrate", "--no-input"]
        eventually(lambda: _asked(cluster, *migrate).returncode == 0, 60)
        start("backend", "ordering.site.serve", "--port", str(ports["backend"]), env=(key, url))
        start("frontend", "ordering.frontend", "--root", "/srv/shop", "--port", str(ports["frontend"]))
        start("agent", env=(urls, f"PORT={ports['agent']}", "PROBE_INTERVAL=0.5", "NODE_NAME=here"))
        eventually(lambda: get(ports["backend"], "/healthz")[0] == 200, 30)
        page = get(ports["backend"], "/")[1]
        assert "Burger" in page
        asset = page.split('<link rel="stylesheet" href="')[1].split('"')[0]
        eventually(lambda: get(ports["frontend"], asset)[0] == 200, 10)
        seen = eventually(
            lambda: get(ports["agent"], "/metrics")[1].count('node="here",release="unreleased"} 1') == 2, 20
        )
        assert seen
        assert get(ports["agent"], "/healthz")[0] == 200
    finally:
        _asked(cluster, "rm", "--force", "--volumes", *names)


def test_the_database_image_asks_for_a_password_and_keeps_what_it_has(
    cluster: Facts, images: dict[str, Artifact]
) -> None:
    told = _asked(cluster, "run", "--rm", *HARDENED, images["database"].digest)
    assert told.returncode == 64
    assert "set POSTGRES_PASSWORD" in told.stderr


def _docker(cluster: Facts, *words: str) -> str:
    done = _asked(cluster, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _asked(cluster: Facts, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "DOCKER_HOST": cluster.docker_host, "HOME": "/nonexistent"}
    return subprocess.run([cluster.docker, *words], env=env, check=False, capture_output=True, text=True, timeout=120)
