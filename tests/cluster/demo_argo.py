"""`make demo-argo`: the pipeline of the demo with one line more, `engine: argo`. A push travels as one Workflow, each
stage in a pod of its own under the account of its team.

    first release       source, four images, tests and push, in pods; staging; both places of production
    better release      canaried with customers who ask all the time, verified, configured by Ansible, promoted

Ends with 0 if both were promoted, no customer's request was lost, and each run was one Workflow that succeeded. With
--first, it is the first release alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.cluster import shop
from tests.cluster.argo_site import CA, MANIFESTS, PULL_SECRET, kubeconfig_of, kubectl, served, team_image
from tests.cluster.demo import Customers, Story
from tests.cluster.engine_door import EngineDoor
from tests.cluster.facts import Facts
from tests.cluster.facts import facts as read_facts
from tests.cluster.layout import CHECKOUT, SHOPS, ClusterError, claimed, home_of

NAMESPACE = "burger"  # as the shipped manifests have it
WORKERS = ("burger-ops", "burger-platform")  # whose stages change what is in the shop's namespaces
CERTIFICATES = "certificates.pem"
ONLY_FIRST = "--first"
PATIENCE = 120.0  # seconds until the controller has seen the end of what the portal knows to have ended


class ArgoStory(Story):
    """The same story, told by a Workflow."""

    facts: Facts
    only_first = False

    def tell(self) -> bool:
        with self._journey.serving():
            began = time.monotonic()
            told = self._first() and (self.only_first or self._under_load(self._better))
            told = told and self._each_was_one_workflow()
            self._journey.console.print(f"\nIt took {time.monotonic() - began:.0f} s.")
            return told

    def _edit(self, checkout: Path, name: str) -> None:
        """One line more than the pipeline has on workers."""
        super()._edit(checkout, name)
        pipeline = checkout / self._file
        pipeline.write_text(pipeline.read_text().replace("\ndescription:", "\nengine: argo\ndescription:", 1))

    def _workflows(self) -> list[dict[str, Any]]:
        found = kubectl(self.facts, "get", "workflows.argoproj.io", "-n", NAMESPACE, "-o", "json")
        return list(json.loads(found)["items"])

    def _each_was_one_workflow(self) -> bool:
        # The portal knows of the end when the last pod reports it, the Workflow a little later.
        deadline = time.monotonic() + PATIENCE
        while not all(one["status"].get("finishedAt") for one in self._workflows()) and time.monotonic() < deadline:
            time.sleep(0.5)
        found = self._workflows()
        runs = self.client.get("runs", pipeline=self._pipeline)["results"]
        told = len(found) == len(runs)
        for workflow in found:
            status = workflow["status"]
            pods = Counter(node["phase"] for node in status["nodes"].values() if node["type"] == "Pod")
            said = ", ".join(f"{number} {phase}" for phase, number in sorted(pods.items()))
            self._say(f"Workflow {NAMESPACE}/{workflow['metadata']['name']} {status['phase']}; its pods: {said}.")
            told = told and status["phase"] == "Succeeded"
        return told


def connect(facts: Facts, home: Path, shops: dict[str, str], address: str, image: str) -> None:
    """Everything that the portal needs to know of Argo, and the accounts and rights of the teams' pods."""
    shop.connect(facts, home, shops)
    kubectl(facts, "apply", "-k", str(MANIFESTS))
    # What an earlier demo left would be taken for a run of this one.
    kubectl(facts, "delete", "workflows.argoproj.io", "--all", "-n", NAMESPACE)
    _apply(facts, shop.pull_secret(facts, NAMESPACE))
    for namespace in shops:
        accounts = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE} for name in WORKERS]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "burger-stack"}
        metadata = {"name": "burger-teams", "namespace": namespace}
        api = "rbac.authorization.k8s.io/v1"
        _apply(facts, {"apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "roleRef": role,
                       "subjects": accounts})  # fmt: skip
    shop.write(home / "engine.kubeconfig", yaml.safe_dump(kubeconfig_of(facts, NAMESPACE)))
    path = home / "connections.yaml"
    known = yaml.safe_load(path.read_text())
    known["clusters"]["engine"] = {"kubeconfig": "engine.kubeconfig"}
    known["argo"] = {
        "cluster": "engine", "namespace": NAMESPACE, "portal": address, "image": image, "pull_secrets": [PULL_SECRET],
        "ca": CA,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(known, sort_keys=False))


def hand_out(facts: Facts, home: Path, door: EngineDoor) -> None:
    """What pods get: connections.yaml as it is seen from there, and to each team its own secrets."""
    known = yaml.safe_load((home / "connections.yaml").read_text())
    docker = {"host": door.address, "args": known["docker"]["args"]}
    files = {}
    if shop.CERTIFICATES.exists():
        docker["ca_bundle"], files["bundle.pem"] = "bundle.pem", shop.CERTIFICATES.read_text()
    registry = {}
    if facts.registry.ca:
        registry["ca"], files["registry.pem"] = "registry.pem", Path(facts.registry.ca).read_text()
    given = {
        "docker": docker,
        "registries": {facts.registry.address: registry},
        "clusters": {"test": {"in_cluster": True}},
        "environments": known["environments"],
    }
    data = {"connections.yaml": yaml.safe_dump(given, sort_keys=False), **files}
    _apply(facts, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named("burger-connections"), "data": data})
    for team in ("dev", "ops", "platform"):
        secrets = {path.name: path.read_text() for path in (home / "secrets" / team).glob("*") if path.is_file()}
        # Those whose stages build and push.
        secrets |= door.credential(team) if team in ("dev", "platform") else {}
        metadata = _named(f"burger-secrets-{team}")
        _apply(facts, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secrets})


def _named(name: str) -> dict[str, str]:
    return {"name": name, "namespace": NAMESPACE}


def _apply(facts: Facts, item: dict[str, Any]) -> None:
    """On the server's side: what is applied by the client is kept a second time, in an annotation that is too small."""
    kubectl(facts, "apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(item))


def _trust(facts: Facts, home: Path) -> None:
    """The portal fetches from the same repository as the pods, by the same authority."""
    assert facts.ca
    texts = [Path(facts.ca.certificate).read_text()]
    texts += [shop.CERTIFICATES.read_text()] if shop.CERTIFICATES.exists() else []
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / CERTIFICATES).write_text("\n".join(texts))
    os.environ["SSL_CERT_FILE"] = str(home / CERTIFICATES)


def _tell(facts: Facts, home: Path, shops: dict[str, str]) -> bool:
    import django

    django.setup()
    from django.conf import settings

    from pipelines.models import Pipeline
    from portal.demo import organisation
    from portal.demo.repository import Repository

    print("Building the image that stages run in", flush=True)
    connect(facts, home, shops, settings.PUBLIC_URL, team_image(facts, settings.BASE_DIR))
    customers = Customers([urlsplit(f"http://{shops[name]}").netloc for name in SHOPS[1:]])
    story = ArgoStory(facts.registry.address, customers)
    story.facts, story.only_first = facts, ONLY_FIRST in sys.argv[1:]
    bare = Repository(home).bare
    # Read by plain HTTP requests, as pods do, a repository needs a list of what it has.
    hook = bare / "hooks" / "post-update"
    hook.write_text("#!/bin/sh\nexec git update-server-info\n")
    hook.chmod(0o755)
    with ExitStack() as open_:
        address = open_.enter_context(served(facts, bare.parent, home / "tls", NAMESPACE))
        door = open_.enter_context(EngineDoor(facts.docker_host, str(facts.host), home / "door"))
        hand_out(facts, home, door)
        Pipeline.objects.filter(slug=organisation.PIPELINE).update(repository=f"{address}/{bare.name}")
        return story.tell()


def main() -> int:
    facts, layout = read_facts(), claimed(home_of())
    if facts is None or layout is None or facts.argo is None:
        print("The cluster is not up: make cluster", file=sys.stderr)
        return 1
    home = Path(os.environ.setdefault("BURGER_HOME", str(CHECKOUT / "var" / "demo-argo"))).resolve()
    port = os.environ.setdefault("BURGER_PORT_BASE", "8550")  # `make demo` may serve beside it
    os.environ |= {
        "BURGER_ENVIRONMENTS": "", "DJANGO_SETTINGS_MODULE": "portal.settings", "BURGER_LISTEN": str(facts.host),
        "BURGER_PUBLIC_URL": f"http://{facts.host}:{port}", "BURGER_ALLOWED_HOSTS": f"{facts.host},127.0.0.1",
    }  # fmt: skip
    _trust(facts, home)
    from portal.supervisor import StartError

    try:
        return 0 if _tell(facts, home, layout.shops) else 1
    except (ClusterError, StartError) as error:
        print(f"\n{error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
