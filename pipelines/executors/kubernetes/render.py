"""From the manifests of a repository to the objects of one release in one namespace."""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.executors.kubernetes import kinds, rules
from pipelines.executors.kubernetes.content import ContentKey, plain_digest
from pipelines.executors.kubernetes.errors import ManifestError
from pipelines.executors.kubernetes.manifests import Manifest, containers
from pipelines.executors.kubernetes.names import COMPONENT, CONTENT, RELEASE, RESTART, WHEN_CHANGED, is_label, labels
from pipelines.executors.kubernetes.placeholders import SECRET, fill
from pipelines.executors.kubernetes.versioned import name_by_content
from pipelines.executors.secrets import SecretError

VARIABLE = "RELEASE"

phase = kinds.phase

_PINNED = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a release is rendered for. `images` has a reference by digest for each component, "HOST/NAME@sha256:…".
    `host` is the host name under which customers reach the environment, `collector` the address that its pods report
    to; each is "" where connections.yaml says none."""

    pipeline: str
    environment: str
    namespace: str
    release: str
    images: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    host: str = ""
    collector: str = ""


def render(
    manifests: Iterable[Manifest], setting: Setting, *, key: ContentKey, secrets: Callable[[str], str]
) -> list[dict[str, Any]]:
    """The objects, in the order in which they are applied.

    `secrets` turns a reference into its value and raises SecretError. Pods get the release's name as a label and as
    the variable RELEASE, unless the workload says `burger-stack/restart: when-changed`: then (and in Jobs) they are
    only replaced when something else of them changes. Raises ManifestError with file and line.
    """
    problems = [
        f"The {what} {value!r} cannot be a label: expected at most 63 letters, digits and . _ - between them."
        for what, value in (("pipeline", setting.pipeline), ("release", setting.release))
        if not is_label(value)
    ]
    objects = []
    for manifest in manifests:
        try:
            objects.append(_render_one(manifest, setting, secrets))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    objects = name_by_content(objects, key)
    for item in objects:
        _name_pods(item, setting.release)
    return sorted(objects, key=kinds.order)


def without_values(objects: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A copy without the values of Secrets, fit to be stored. `apply` then expects these to be there already."""
    left_out = ("data", "stringData")
    return [
        copy.deepcopy({part: value for part, value in item.items() if item["kind"] != "Secret" or part not in left_out})
        for item in objects
    ]


def is_without_values(item: Mapping[str, Any]) -> bool:
    """Whether it is a Secret that `without_values` left the values out of; manifests cannot hold an empty one."""
    return item["kind"] == "Secret" and not item.get("data") and not item.get("stringData")


def job_state(job: Mapping[str, Any]) -> tuple[Literal["running", "succeeded", "failed"], str]:
    """How far a Job is, and why if it failed."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "SuccessCriteriaMet"):
            return "succeeded", ""
        if condition.get("status") == "True" and condition.get("type") in ("Failed", "FailureTarget"):
            said = [condition.get("reason", ""), condition.get("message", "")]
            return "failed", ": ".join(part for part in said if part)
    return "running", ""


def _render_one(manifest: Manifest, setting: Setting, secrets: Callable[[str], str]) -> dict[str, Any]:
    item = fill(manifest.data, lambda name: _answer(name, manifest, setting, secrets))
    metadata = item["metadata"]
    metadata["namespace"] = setting.namespace
    own = metadata.get("labels") or {}
    mine = labels(setting.pipeline, setting.environment) | {COMPONENT: own.get(COMPONENT, metadata["name"])}
    metadata["labels"] = own | mine | {RELEASE: setting.release}
    if item["kind"] == "Secret":
        values = item.pop("stringData")
        item["data"] = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    for container in containers(item):
        container["image"] = _image(container.get("image", ""), manifest, setting)
    template = kinds.template_of(item)
    if template is not None:
        inner = template.setdefault("metadata", {})
        said = inner.get("labels") or {}
        # Selectors may go by the component that the pods say.
        inner["labels"] = said | mine | {COMPONENT: said.get(COMPONENT, mine[COMPONENT])}
    return item


def _answer(name: str, manifest: Manifest, setting: Setting, secrets: Callable[[str], str]) -> str:
    if name.startswith(SECRET):
        try:
            return secrets(name.removeprefix(SECRET))
        except SecretError as error:
            raise ManifestError([f"{manifest.where('${' + SECRET)}: {error}"]) from None
    if name == "host" and not setting.host:
        where = manifest.where("${host")
        raise ManifestError(
            [f"{where}: nobody said where {setting.environment} is reached; add `url` to it in connections.yaml."]
        )
    kind, _, parameter = name.partition(".")
    if kind != "parameters":
        return str(getattr(setting, name))
    if parameter not in setting.parameters:
        known = ", ".join(sorted(setting.parameters)) or "none"
        where = manifest.where("${" + name)
        raise ManifestError([f"{where}: the run has no parameter {parameter}; it has {known}."])
    return str(setting.parameters[parameter])


def _image(image: str, manifest: Manifest, setting: Setting) -> str:
    if not rules.COMPONENT.fullmatch(image):
        return image
    found = setting.images.get(image)
    if found is None:
        known = ", ".join(sorted(setting.images)) or "none"
        raise ManifestError([f"{manifest.where(image)}: the release has no image {image!r}; it has {known}."])
    if not _PINNED.fullmatch(found):
        raise ManifestError([f"{manifest.where(image)}: the release names {image} as {found!r}, not by digest."])
    return found


def _name_pods(item: dict[str, Any], release: str) -> None:
    """Puts the content's digest on the pods, and the release's name if they are to be replaced with each release."""
    template = kinds.template_of(item)
    if template is None or item["kind"] == "Job":
        return
    template["metadata"]["labels"][CONTENT] = plain_digest(template)
    if (item["metadata"].get("annotations") or {}).get(RESTART) == WHEN_CHANGED:
        return
    template["metadata"]["labels"][RELEASE] = release
    for container in containers(item):
        container["env"] = [one for one in container.get("env") or () if one.get("name") != VARIABLE]
        container["env"].append({"name": VARIABLE, "value": release})
