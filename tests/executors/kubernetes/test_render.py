"""From manifests to the objects of a release: digests, names by content, labels, secrets."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path

import pytest

from pipelines.executors.kubernetes.clean import clean
from pipelines.executors.kubernetes.content import ContentKey
from pipelines.executors.kubernetes.errors import ManifestError
from pipelines.executors.kubernetes.manifests import load
from pipelines.executors.kubernetes.names import CONTENT, RELEASE, Ref
from pipelines.executors.kubernetes.render import (
    Setting,
    is_without_values,
    job_state,
    phase,
    render,
    without_values,
)
from pipelines.executors.kubernetes.versioned import configuration
from pipelines.executors.secrets import SecretError

KEY = ContentKey(b"installation")
IMAGE = "registry.example:5000/burger/{}@sha256:" + "a" * 64

MANIFESTS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {URL: "https://${environment}.example/${parameters.path}", SHELL: "$${HOME}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shared, annotations: {burger-stack/name: fixed}}
data: {A: b}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {KEY: "${secret:shop-${environment}-key}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend}
spec:
  selector: {matchLabels: {app: backend}}
  template:
    metadata: {labels: {app: backend}}
    spec:
      imagePullSecrets: [{name: keys}]
      initContainers:
        - {name: first, image: backend, envFrom: [{configMapRef: {name: settings}}]}
      containers:
        - name: backend
          image: backend
          envFrom: [{configMapRef: {name: shared}}, {secretRef: {name: keys}}, {secretRef: {name: elsewhere}}]
          env:
            - {name: ONE, valueFrom: {configMapKeyRef: {name: settings, key: URL}}}
            - {name: TWO, valueFrom: {secretKeyRef: {name: keys, key: KEY}}}
            - {name: RELEASE, value: overwritten}
      volumes:
        - {name: a, configMap: {name: settings}}
        - {name: b, secret: {secretName: keys}}
        - {name: c, projected: {sources: [{configMap: {name: settings}}, {secret: {name: keys}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database, annotations: {burger-stack/restart: when-changed}}
spec: {template: {spec: {containers: [{name: database, image: database}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec: {template: {spec: {containers: [{name: m, image: backend, envFrom: [{secretRef: {name: keys}}]}]}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
"""


def setting(**changes) -> Setting:
    given = {
        "pipeline": "shop",
        "environment": "staging",
        "namespace": "shop-north",
        "release": "r1",
        "images": {name: IMAGE.format(name) for name in ("backend", "database")},
        "parameters": {"path": "menu"},
    }
    return Setting(**given | changes)


def rendered(folder: Path, value: str = "hunter2", **changes) -> dict[str, dict]:
    """The objects by the names that they have in their manifests."""
    (folder / "all.yaml").write_text(MANIFESTS)
    objects = render(load(folder), setting(**changes), key=KEY, secrets=lambda reference: f"{reference}={value}")
    return {f"{item['kind']}/{base_name(item)}": item for item in objects}


def base_name(item: dict) -> str:
    return item["metadata"].get("annotations", {}).get("burger-stack/base-name", item["metadata"]["name"])


def name(item: dict) -> str:
    return item["metadata"]["name"]


def test_placeholders_are_filled_in(tmp_path):
    found = rendered(tmp_path)
    assert found["ConfigMap/settings"]["data"] == {"URL": "https://staging.example/menu", "SHELL": "${HOME}"}
    value = base64.b64decode(found["Secret/keys"]["data"]["KEY"]).decode()
    assert value == "shop-staging-key=hunter2"


def test_pods_are_told_where_to_report_if_anywhere(tmp_path):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: measuring}\ndata: {MEASURE_URL: '${collector}'}\n"
    (tmp_path / "one.yaml").write_text(text)

    def told(**changes) -> str:
        return render(load(tmp_path), setting(**changes), key=KEY, secrets=str)[0]["data"]["MEASURE_URL"]

    assert told(collector="https://portal.example") == "https://portal.example"
    assert told() == ""


def test_images_are_named_by_digest(tmp_path):
    pod = rendered(tmp_path)["Deployment/backend"]["spec"]["template"]["spec"]
    assert {one["image"] for one in [*pod["containers"], *pod["initContainers"]]} == {IMAGE.format("backend")}


def test_configuration_is_named_by_its_content_wherever_it_is_named(tmp_path):
    found = rendered(tmp_path)
    settings, keys = found["ConfigMap/settings"], found["Secret/keys"]
    assert name(settings).startswith("settings-")
    assert settings["immutable"] is True
    pod = found["Deployment/backend"]["spec"]["template"]["spec"]
    text = json.dumps(pod["containers"] + pod["initContainers"] + pod["volumes"])
    assert text.count(name(settings)) == 4
    assert text.count(name(keys)) == 4
    assert '"settings"' not in text
    assert '"keys"' not in text
    assert '"shared"' in text
    assert name(found["ConfigMap/shared"]) == "shared"
    assert pod["imagePullSecrets"] == [{"name": "keys"}]
    expected = {("ConfigMap", name(settings)), ("ConfigMap", "shared"), ("Secret", name(keys)), ("Secret", "elsewhere")}
    assert configuration([found["Deployment/backend"]]) == {Ref(*one) for one in expected}


def test_other_content_has_another_name(tmp_path):
    one, same, path, key = (
        rendered(tmp_path),
        rendered(tmp_path, release="r2"),
        rendered(tmp_path, parameters={"path": "x"}),
        rendered(tmp_path, "hunter3"),
    )
    for kind in ("ConfigMap/settings", "Secret/keys", "Job/migrate"):
        assert name(one[kind]) == name(same[kind])
    assert name(one["ConfigMap/settings"]) != name(path["ConfigMap/settings"])
    assert name(one["Secret/keys"]) == name(path["Secret/keys"])
    assert name(one["Secret/keys"]) != name(key["Secret/keys"])
    assert name(one["Job/migrate"]) != name(key["Job/migrate"]), "a job runs again with its other configuration"


def test_a_secrets_name_says_nothing_without_the_installations_key(tmp_path):
    (tmp_path / "all.yaml").write_text(MANIFESTS)
    objects = [render(load(tmp_path), setting(), key=ContentKey(key), secrets=str) for key in (b"one", b"two")]
    names = [{name(item) for item in one if item["kind"] == "Secret"} for one in objects]
    assert names[0].isdisjoint(names[1])


def test_pods_say_their_release_unless_they_are_only_replaced_when_changed(tmp_path):
    one, two = rendered(tmp_path), rendered(tmp_path, release="r2")
    for found, release in ((one, "r1"), (two, "r2")):
        template = found["Deployment/backend"]["spec"]["template"]
        assert template["metadata"]["labels"][RELEASE] == release
        assert template["spec"]["containers"][0]["env"][-1] == {"name": "RELEASE", "value": release}
        assert [variable["name"] for variable in template["spec"]["containers"][0]["env"]].count("RELEASE") == 1
        assert found["StatefulSet/database"]["metadata"]["labels"][RELEASE] == release
    assert one["StatefulSet/database"]["spec"] == two["StatefulSet/database"]["spec"]
    assert one["Job/migrate"]["spec"] == two["Job/migrate"]["spec"]
    backends = [found["Deployment/backend"]["spec"]["template"]["metadata"] for found in (one, two)]
    assert backends[0]["labels"][CONTENT] == backends[1]["labels"][CONTENT]


def test_objects_come_in_the_order_in_which_they_are_applied(tmp_path):
    phases = [phase(item) for item in rendered(tmp_path).values()]
    assert phases == ["before"] * 3 + ["job"] + ["workload"] * 2 + ["traffic"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": {}}, "the release has no image 'backend'"),
        ({"images": {"backend": "x:latest", "database": IMAGE}}, "names backend as 'x:latest', not by digest"),
        ({"parameters": {}}, "all.yaml:4: the run has no parameter path"),
        ({"release": "a b"}, "The release 'a b' cannot be a label"),
    ],
)
def test_what_cannot_be_rendered_is_named(tmp_path, changes, said):
    with pytest.raises(ManifestError, match=said):
        rendered(tmp_path, **changes)


def test_a_secret_that_is_not_there_is_named_with_its_place(tmp_path):
    def resolve(reference: str) -> str:
        raise SecretError(f"The secret {reference!r} is not there.")

    (tmp_path / "all.yaml").write_text(MANIFESTS)
    with pytest.raises(ManifestError, match=r"all.yaml:14: The secret 'shop-staging-key' is not there"):
        render(load(tmp_path), setting(), key=KEY, secrets=resolve)


def test_kept_releases_hold_no_values(tmp_path):
    objects = list(rendered(tmp_path).values())
    before = copy.deepcopy(objects)
    kept = without_values(objects)
    encoded = base64.b64encode(b"shop-staging-key=hunter2").decode()
    assert encoded in json.dumps(objects)
    assert encoded not in json.dumps(kept)
    assert [is_without_values(item) for item in kept] == [item["kind"] == "Secret" for item in kept]
    assert objects == before


def test_a_cleaned_secret_shows_that_it_changed_and_nothing_else(tmp_path):
    one, two = (rendered(tmp_path, value)["Secret/keys"] for value in ("hunter2", "hunter3"))
    shown = [clean(item, KEY)["data"]["KEY"] for item in (one, one, two)]
    assert shown[0] == shown[1] != shown[2]
    assert shown[0].startswith("(secret, content ")


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], "running"),
        ([{"type": "Complete", "status": "True"}], "succeeded"),
        ([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}], "failed"),
        ([{"type": "Failed", "status": "False"}], "running"),
    ],
)
def test_a_job_says_how_far_it_is(conditions, state):
    found, reason = job_state({"kind": "Job", "status": {"conditions": conditions}})
    assert found == state
    assert bool(reason) == (state == "failed")


def test_the_content_key_is_made_once_and_for_its_owner_alone(tmp_path):
    one, two = ContentKey.of(tmp_path / "home"), ContentKey.of(tmp_path / "home")
    assert one.digest({"a": 1}) == two.digest({"a": 1})
    path = tmp_path / "home" / "content.key"
    assert path.stat().st_mode & 0o077 == 0
    assert list(path.parent.iterdir()) == [path]
