#!/usr/bin/python
"""Ansible module: sees that the pods of a namespace run with its present configuration."""

from __future__ import annotations

import os
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: pods_effective
short_description: See that pods run with the present configuration
description:
  - A pod reads ConfigMaps and Secrets for its environment variables when it starts, and never again.
  - Replaces the pods of Deployments, StatefulSets and DaemonSets that take variables from one of the named objects and
    started before it was last changed, a few at a time, and waits until they are ready.
  - The cluster is that of K8S_AUTH_KUBECONFIG and K8S_AUTH_CONTEXT, else the one that this runs in.
options:
  namespace:
    description: Where to look.
    type: str
    required: true
  config_map:
    description: The name of the ConfigMap.
    type: str
    required: true
  secret:
    description: The name of the Secret.
    type: str
    required: true
  foreseen:
    description: In check mode, whether one of them would change.
    type: bool
    default: false
  timeout:
    description: After so many seconds it fails.
    type: int
    default: 300
author: Platform team
"""

EXAMPLES = """
- name: Let the pods read their configuration
  pods_effective:
    namespace: shop-north
    config_map: environment
    secret: environment
"""

RETURN = """
restarted:
  description: The workloads whose pods were, or would be, replaced.
  type: list
  elements: str
  returned: always
"""

# Annotation of pods: the change of the configuration that they were restarted for.
MARK = "burger-stack/configured"
MANAGER = "burger-stack-ansible"
PAUSE = 0.5
KINDS = {"Deployment": "deployment", "StatefulSet": "stateful_set", "DaemonSet": "daemon_set"}


class Namespace:
    """What the module asks one namespace, and does there."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        settings = client.Configuration()
        path = os.environ.get("K8S_AUTH_KUBECONFIG")
        if path:
            context = os.environ.get("K8S_AUTH_CONTEXT")
            config.load_kube_config(path, context, settings, persist_config=False)
        else:
            config.load_incluster_config(settings)
        api = client.ApiClient(settings)
        self.core, self.apps, self.name = client.CoreV1Api(api), client.AppsV1Api(api), namespace
        self._sanitize, self._absent = api.sanitize_for_serialization, client.ApiException

    def changed(self, kind: str, name: str) -> str:
        """When the object's content was last changed, "" where there is none."""
        read = {"ConfigMap": self.core.read_namespaced_config_map, "Secret": self.core.read_namespaced_secret}[kind]
        try:
            metadata = self._sanitize(read(name, self.name))["metadata"]
        except self._absent as error:
            if error.status == 404:
                return ""
            raise
        written = [
            entry["time"]
            for entry in metadata.get("managedFields", ())
            if entry.get("time") and "f:data" in entry.get("fieldsV1", {})
        ]
        return max([metadata["creationTimestamp"], *written])

    def workloads(self) -> list[tuple[str, dict]]:
        return [
            (kind, item)
            for kind, word in KINDS.items()
            for item in self._sanitize(getattr(self.apps, f"list_namespaced_{word}")(self.name))["items"]
        ]

    def pods(self, workload: dict) -> list[dict]:
        """Those that are not on their way out."""
        labels = ",".join(f"{name}={value}" for name, value in workload["spec"]["selector"]["matchLabels"].items())
        found = self._sanitize(self.core.list_namespaced_pod(self.name, label_selector=labels))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def restart(self, kind: str, workload: dict, when: str) -> None:
        body = {"spec": {"template": {"metadata": {"annotations": {MARK: when}}}}}
        patch = getattr(self.apps, f"patch_namespaced_{KINDS[kind]}")
        patch(workload["metadata"]["name"], self.name, body, field_manager=MANAGER)

    def delete(self, pod: dict) -> None:
        self.core.delete_namespaced_pod(
            pod["metadata"]["name"], self.name, body={"preconditions": {"uid": pod["metadata"]["uid"]}}
        )


def takes(workload: dict, names: dict) -> set:
    """The objects of `names`, kind to name, from which the workload's containers take variables."""
    spec, found = workload["spec"]["template"]["spec"], set()
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        refs = [(entry.get("configMapRef"), entry.get("secretRef")) for entry in container.get("envFrom") or ()]
        given = [entry.get("valueFrom") or {} for entry in container.get("env") or ()]
        refs += [(entry.get("configMapKeyRef"), entry.get("secretKeyRef")) for entry in given]
        for config_map, secret in refs:
            if config_map and config_map.get("name") == names["ConfigMap"]:
                found.add("ConfigMap")
            if secret and secret.get("name") == names["Secret"]:
                found.add("Secret")
    return found


def is_stale(pod: dict, when: str) -> bool:
    """Whether the pod may have started before `when`; times are of whole seconds, all written alike."""
    metadata = pod["metadata"]
    return (metadata.get("annotations") or {}).get(MARK, "") < when and metadata["creationTimestamp"] <= when


def is_ready(pod: dict) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def wanted(kind: str, workload: dict) -> int:
    if kind == "DaemonSet":
        return int(workload["status"].get("desiredNumberScheduled", 0))
    return int(workload["spec"].get("replicas", 1))


def is_by_hand(workload: dict) -> bool:
    """Whether its pods are only replaced once somebody deletes them."""
    return (workload["spec"].get("updateStrategy") or {}).get("type") == "OnDelete"


def behind(place: Namespace, names: dict) -> list:
    """(kind, workload, when its configuration changed, its pods, those that do not run with it)."""
    times = {kind: place.changed(kind, name) for kind, name in names.items()}
    found = []
    for kind, workload in place.workloads():
        when = max((times[one] for one in takes(workload, names)), default="")
        pods = place.pods(workload) if when else []
        found.append((kind, workload, when, pods, [pod for pod in pods if is_stale(pod, when)]))
    return found


def step(place: Namespace, names: dict) -> tuple:
    """Go on with what is behind. Returns (the names of what was told to restart, what is waited for)."""
    told, waits = [], []
    for kind, workload, when, pods, stale in behind(place, names):
        name = f"{kind}/{workload['metadata']['name']}"
        annotations = workload["spec"]["template"]["metadata"].get("annotations") or {}
        if stale and annotations.get(MARK, "") < when:
            place.restart(kind, workload, when)
            told.append(name)
        ready = [pod for pod in pods if is_ready(pod)]
        if stale:
            waits.append(f"{len(stale)} pods of {name} run with the former configuration")
            seen = workload["status"].get("observedGeneration", 0) >= workload["metadata"]["generation"]
            if is_by_hand(workload) and seen and name not in told and len(ready) >= wanted(kind, workload):
                place.delete(stale[0])
        elif when and len(ready) < wanted(kind, workload):
            waits.append(f"{len(ready)} of {wanted(kind, workload)} pods of {name} are ready")
    return told, waits


def users(place: Namespace, names: dict) -> list:
    """The workloads that take variables from one of the objects and have pods."""
    return [
        f"{kind}/{workload['metadata']['name']}"
        for kind, workload in place.workloads()
        if takes(workload, names) and place.pods(workload)
    ]


def check(place: Namespace, names: dict, foreseen: bool) -> dict:
    """What the module says in check mode."""
    late = [f"{kind}/{workload['metadata']['name']}" for kind, workload, _, _, stale in behind(place, names) if stale]
    would = sorted(set(late) | set(users(place, names) if foreseen else ()))
    after = "".join(f"{name} is restarted, a few pods at a time\n" for name in would)
    return {"changed": bool(would), "restarted": would, "diff": {"before": "", "after": after}}


def bring(place: Namespace, names: dict, timeout: float) -> tuple:
    """(the names of what was restarted, what is still waited for)."""
    restarted, end = [], time.monotonic() + timeout
    while True:
        told, waits = step(place, names)
        restarted += told
        if not waits or time.monotonic() >= end:
            return sorted(set(restarted)), waits
        time.sleep(PAUSE)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "required": True},
            "config_map": {"type": "str", "required": True},
            "secret": {"type": "str", "required": True},
            "foreseen": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    given = module.params
    place = Namespace(given["namespace"])
    names = {"ConfigMap": given["config_map"], "Secret": given["secret"]}
    if module.check_mode:
        module.exit_json(**check(place, names, given["foreseen"]))
    restarted, waits = bring(place, names, given["timeout"])
    if waits:
        module.fail_json(
            msg=f"The configuration is written, but not in force after {given['timeout']} s: {'; '.join(waits)}. "
            "Do their pods start?",
            restarted=restarted,
        )
    module.exit_json(changed=bool(restarted), restarted=restarted)


if __name__ == "__main__":
    main()
