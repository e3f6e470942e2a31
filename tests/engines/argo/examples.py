"""The examples that come with Argo's own controller, and what each needs in order to run.

They are not part of this project: they are taken from the controller's Go module, through the Go module proxy, and kept
outside of the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipelines.engines.argo.reading import Source

MODULE = "github.com/argoproj/argo-workflows/v3@v3.7.3"
CACHE = Path(tempfile.gettempdir()) / f"burger-stack-go-modules-{os.getuid()}"
# What is no workflow, and says so; all others are drawn.
OTHER_KINDS = {
    "configmaps/simple-parameters-configmap.yaml": 2,
    "testvolume.yaml": 5,
    "workflow-count-resourcequota.yaml": 2,
    "workflow-event-binding/event-consumer-workfloweventbinding.yaml": 2,
    "workflow-event-binding/github-path-filter-workfloweventbinding.yaml": 7,
}
# Why some cannot be run by themselves. All others are run.
NOT_RUN: Mapping[str, tuple[str, ...]] = {
    "it needs an artifact store": (
        "archive-location", "artifact-disable-archive", "artifact-gc-workflow", "artifact-passing-subpath",
        "artifact-passing", "artifact-path-placeholders", "artifact-repository-ref", "artifactory-artifact",
        "conditional-artifacts", "container-set-template/workspace-workflow", "dag-conditional-artifacts",
        "data-transformations", "exit-handler-with-artifacts", "global-outputs", "handle-large-output-results",
        "hdfs-artifact", "input-artifact-azure", "input-artifact-gcs", "input-artifact-oss", "input-artifact-s3",
        "key-only-artifact", "map-reduce", "nested-workflow", "output-artifact-azure", "output-artifact-gcs",
        "output-artifact-s3", "webhdfs-input-output-artifacts", "work-avoidance",
        "workflow-template/workflow-archive-logs",
    ),
    "it needs a server on the internet": (
        "arguments-artifacts", "ci", "ci-output-artifact", "exit-handler-slack", "fun-with-gifs", "http-hello-world",
        "http-success-condition", "influxdb-ci", "input-artifact-git", "input-artifact-http",
        "life-cycle-hooks-tmpl-level", "life-cycle-hooks-wf-level",
    ),
    "it needs a Docker Engine in a pod": ("sidecar-dind",),
    "it needs nodes with Windows": ("hello-hybrid", "hello-windows"),
    "it needs a database beside the controller": (
        "synchronization-db-mutex-tmpl-level", "synchronization-db-mutex-wf-level", "synchronization-db-tmpl-level",
        "synchronization-db-wf-level",
    ),
    "it needs a node with 2 processors and 10 GiB to spare": ("pod-spec-from-previous-step",),
    "it needs kinds of other products": ("k8s-resource-log-selector",),
    "it does not end": ("forever",),
    "which nodes it has depends on how long others took": ("fibonacci-seq-conditional-param",),
    "it is several Workflows": ("cron-backfill",),
    "its schedule starts it": (
        "cron-when", "cron-workflow", "cron-workflow-multiple-schedules", "dag-inline-cronworkflow",
    ),
}  # fmt: skip
LENT = "others take its templates"


class NotHere(Exception):
    """They cannot be had; the message says why and what brings them."""


def folder() -> Path:
    """Where they are. Raises NotHere."""
    go = shutil.which("go")
    if go is None:
        raise NotHere("Argo's examples come as a Go module, and Go is not installed: apt-get install golang-go")
    env = os.environ | {"GOMODCACHE": str(CACHE), "GOFLAGS": "-mod=mod -modcacherw"}
    command = [go, "mod", "download", "-json", MODULE]
    try:
        with tempfile.TemporaryDirectory() as where:
            done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        why = "Argo's examples come as a Go module, and the Go module proxy did not answer within 120 s"
        raise NotHere(why) from None
    answer = json.loads(done.stdout or "{}")
    if done.returncode or "Dir" not in answer:
        why = answer.get("Error") or done.stderr
        raise NotHere(f"Argo's examples come as a Go module, which could not be fetched: {why}")
    return Path(answer["Dir"]) / "examples"


def sources() -> list[Source]:
    """All of them, named by their path. Raises NotHere."""
    root = folder()
    return [Source(str(path.relative_to(root)), path.read_bytes()) for path in sorted(root.rglob("*.yaml"))]


def why_not_run(name: str, kinds: set[str]) -> str:
    """Why an example is not run, "" if it is. `kinds` are those of its documents."""
    if "Workflow" not in kinds and "CronWorkflow" not in kinds:
        return LENT
    return next((why for why, names in NOT_RUN.items() if name.removesuffix(".yaml") in names), "")
