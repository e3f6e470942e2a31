"""Pods are told where to report and by what, and a new release of the same content stays the same content."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.executors import connections
from pipelines.executors.base import Artifact, StageSpec, Workplace
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.errors import ManifestError
from pipelines.executors.rollout.kubernetes.records import Kept
from pipelines.executors.rollout.kubernetes.rendering import render
from pipelines.executors.rollout.kubernetes.settings import parse
from pipelines.executors.store import Store
from pipelines.performance import tokens

ROOT = Path(__file__).resolve().parents[3]
CONNECTIONS = """
clusters: {main: {kubeconfig: nowhere}}
environments:
  production:
    url: https://burgers.example
    collector: https://portal.example/
    places: [{cluster: main, namespace: shop}]
"""
SECRETS = ["shop-production-secret-key", "shop-production-database-password"]
COMPONENTS = ("agent", "backend", "database", "frontend")


def rendered(home: Path, release: str, monkeypatch, secrets: Sequence[str] = SECRETS) -> Kept:
    (home / "connections.yaml").write_text(CONNECTIONS)
    (home / "nowhere").touch()
    tree = home / "tree"
    shutil.copytree(ROOT / "docker" / "k8s", tree / "docker" / "k8s", dirs_exist_ok=True)
    digest, size = Store(home).pack(tree)
    images = {name: f"registry.example/{name}@sha256:{'ab' * 32}" for name in COMPONENTS}
    spec = StageSpec(
        run=1, pipeline="shop", stage="roll", kind="rollout", owner="ops", commit="c" * 40, environment="production",
        with_={"target": "kubernetes", "secrets": secrets},
        artifacts={
            "source": Artifact("source", "workspace", digest, size),
            "publish": Artifact("publish", "release", "sha256:" + "cd" * 32, meta={"images": images}),
        },
    )  # fmt: skip
    monkeypatch.setattr("pipelines.executors.rollout.kubernetes.rendering.resolve", lambda *_: "a secret of the team")
    there = connections.load(home).environments["production"]
    return render(Workplace(home), spec, parse(spec), there, ContentKey.of(home), release)


def configuration(kept: Kept, kind: str) -> dict[str, str]:
    objects = kept.objects["main/shop"]
    return next(one["data"] for one in objects if one["kind"] == kind and "MEASURE" in str(one["data"]))


def test_a_pod_may_report_for_its_environment(tmp_path, monkeypatch):
    first = rendered(tmp_path, "shop-1", monkeypatch)
    assert configuration(first, "ConfigMap")["MEASURE_URL"] == "https://portal.example"
    token = base64.b64decode(configuration(first, "Secret")["MEASURE_TOKEN"]).decode()
    claims = tokens.read(tokens.key(tmp_path), tokens.narrow(token, release="shop-1"), time.time())
    assert (claims.environment, claims.release) == ("production", "shop-1")
    second = rendered(tmp_path, "shop-2", monkeypatch)
    assert second.release.content == first.release.content
    assert configuration(second, "Secret") == configuration(first, "Secret")


def test_a_commit_reaches_no_secret_that_the_pipeline_file_does_not_list(tmp_path, monkeypatch):
    with pytest.raises(ManifestError, match=r"does not give the secret 'shop-production-secret-key' to manifests"):
        rendered(tmp_path, "shop-1", monkeypatch, SECRETS[1:])
