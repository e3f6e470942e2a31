"""Argo's workflow controller, beside the cluster: its kinds, its configuration, its process."""

from __future__ import annotations

import json

from tests.cluster import addons, build, images, node, pki
from tests.cluster.control_plane import kubectl
from tests.cluster.layout import Layout
from tests.cluster.processes import recorded, start, wait

NAME = "workflow-controller"
NAMESPACE = "argo"
CONFIGMAP = "workflow-controller-configmap"
MODULE = "github.com/argoproj/argo-workflows/v3"
KINDS = (
    "clusterworkflowtemplates", "cronworkflows", "workflowartifactgctasks", "workfloweventbindings", "workflows",
    "workflowtaskresults", "workflowtasksets", "workflowtemplates",
)  # fmt: skip
ADDED = "added"  # it may be missing while the cluster is up, and is then started alone


def is_up(layout: Layout) -> bool:
    return recorded(layout.home, ADDED).get(NAME) is not None and (layout.home / "argo.json").exists()


def start_controller(layout: Layout) -> None:
    """Bring what is missing of it, and start it. Safe to repeat."""
    for each in layout.nodes:
        node.give_image(each, images.single(layout, "argoexec", images.ARGOEXEC, folder="usr/bin/"))
    _kinds(layout)
    addons.apply(layout, [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        configmap(CONFIGMAP, {}),
    ])  # fmt: skip
    run_controller(layout, NAME, CONFIGMAP)
    facts = {
        "version": build.version("argo", MODULE),
        "namespace": NAMESPACE,
        "configmap": CONFIGMAP,
        "executor": images.ARGOEXEC,
    }
    pki.write(layout.home / "argo.json", json.dumps(facts, indent=1))


def configmap(name: str, data: dict[str, str]) -> dict[str, object]:
    """What a controller is told. Its executor is small: a test's pods shall fit on two small nodes."""
    small = {"requests": {"cpu": "1m", "memory": "16Mi"}}
    given = {"executor": json.dumps({"imagePullPolicy": "IfNotPresent", "resources": small})}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {**given, **data}}


def run_controller(layout: Layout, name: str, configmap: str, *, machine: int = 0) -> None:
    """Start a controller in the network of one of the nodes, since its ports are the same everywhere."""
    if recorded(layout.home, ADDED).get(name):
        return
    pair = pki.issue(layout.pki, NAME, NAME, groups=["system:masters"])
    config = pki.kubeconfig(layout, layout.etc / f"{NAME}.kubeconfig", pair, user=NAME)
    start(
        layout,
        name,
        [
            *layout.nodes[machine].inside,
            layout.bin / NAME,
            f"--kubeconfig={config}",
            f"--configmap={configmap}",
            f"--namespace={NAMESPACE}",
            f"--executor-image={images.ARGOEXEC}",
            "--executor-image-pull-policy=IfNotPresent",
            "--qps=100",
            "--burst=200",
            "--loglevel=warn",
        ],
        env={"LEADER_ELECTION_DISABLE": "true", "DEFAULT_REQUEUE_TIME": "1s"},
        among=ADDED,
    )
    _wait(layout, name, machine)


def _wait(layout: Layout, name: str, machine: int) -> None:
    """Wait until it says that it is well."""
    from tests.cluster.processes import run

    command = [*layout.nodes[machine].inside, "curl", "-fsS", "--max-time", "2", "http://127.0.0.1:6060/healthz"]

    def well() -> bool:
        return recorded(layout.home, ADDED).get(name) is not None and run(command) is not None

    wait(layout, "The workflow controller", well, log="")


def _kinds(layout: Layout) -> None:
    source = build.module(layout, "argo", MODULE) / "manifests" / "base" / "crds" / "full"
    kubectl(layout, "apply", "--server-side", "--force-conflicts", "--validate=false", "-k", str(source), timeout=400)
    names = [f"crd/{kind}.argoproj.io" for kind in KINDS]
    kubectl(layout, "wait", "--for=condition=Established", "--timeout=60s", *names, timeout=70)
