"""Manifests of a repository: what is taken, what is refused, and where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.executors.kubernetes.check import needs
from pipelines.executors.kubernetes.errors import ManifestError
from pipelines.executors.kubernetes.manifests import Manifest, components, containers, load
from pipelines.executors.kubernetes.rules import ALLOWABLE

ROOT = Path(__file__).parents[3]
DIGEST = "sha256:" + "0" * 64

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: backend
spec:
  template:
    spec:
      containers:
        - name: backend
          image: backend
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(path.name + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def problems(folder: Path, **options) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(folder, shown="k8s", **options)
    return list(caught.value.problems)


def only(folder: Path, environment: str = "") -> Manifest:
    (manifest,) = load(folder, environment)
    return manifest


def test_a_folder_is_read_without_its_other_folders(tmp_path):
    write(tmp_path, backend=DEPLOYMENT, rbac__role="kind: Role", overlays__other__x="kind: Nonsense")
    manifest = only(tmp_path, "staging")
    assert str(manifest.ref) == "Deployment/backend"
    assert components([manifest]) == {"backend"}


@pytest.mark.parametrize(
    ("document", "place", "said"),
    [
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", "k8s/x.yaml:2", "v1/Namespace cannot be part"),
        ("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: x}", "k8s/x.yaml:2", "gives rights"),
        ("apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: x}", "k8s/x.yaml:1", "expected apps/v1"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: X_}", "k8s/x.yaml:3", "the name is 'X_'"),
        (
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\n  namespace: kube-system",
            "k8s/x.yaml:5",
            "connections.yaml",
        ),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: Yg==}", "k8s/x.yaml:4", "holds no values"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: x}", "k8s/x.yaml:1", "no stringData"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  a: plain",
            "k8s/x.yaml:5",
            "expected a reference",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: ${secret:key}",
            "k8s/x.yaml:5",
            "everybody could read it",
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: ${nonsense}", "k8s/x.yaml:5", "is unknown"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: ${release", "k8s/x.yaml:5", "is unknown"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  a: ${secret:${parameters.which}}",
            "k8s/x.yaml:5",
            "is unknown",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  externalIPs: [10.0.0.1]",
            "k8s/x.yaml:5",
            "externalIPs",
        ),
        ("a: [1", "k8s/x.yaml:1", "no YAML"),
        ("- 1", "k8s/x.yaml:1", "expected an object"),
        ("apiVersion: v1\nkind: Service\nkind: Secret", "k8s/x.yaml:3", "kind is there twice"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, document, place, said):
    found = problems(write(tmp_path, x=document))
    assert any(problem.startswith(f"{place}: ") and said in problem for problem in found), found


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ("hostNetwork: true", "hostNetwork"),
        ("hostPID: true", "hostPID"),
        ("volumes: [{name: x, hostPath: {path: /}}]", "hostPath"),
        ("serviceAccountName: burger-stack", "portal's own account"),
        ("serviceAccountName: '${parameters.who}'", "portal's own account"),
        ("volumes: [{name: x, image: {reference: 'nginx:1.27'}}]", "not pinned"),
        ("containers: [{name: x, image: 'nginx:1.27'}]", "not pinned"),
        ("containers: [{name: x, image: 'x/y@sha256:12'}]", "not pinned"),
        ("initContainers: [{name: x, image: 'nginx:1.27'}]", "not pinned"),
        ("containers: [{name: x, image: x, securityContext: {privileged: true}}]", "privileged"),
        ("containers: [{name: x, image: x, securityContext: {capabilities: {add: [NET_ADMIN]}}}]", "NET_ADMIN"),
        ("containers: [{name: x, image: x, ports: [{hostPort: 80}]}]", "hostPort"),
    ],
)
@pytest.mark.parametrize("kind", ["apps/v1 Deployment", "batch/v1 CronJob"])
def test_pods_take_nothing_of_their_node(tmp_path, pod, said, kind):
    version, kind = kind.split()
    template = {"spec": yaml.safe_load(pod)}
    spec = {"jobTemplate": {"spec": {"template": template}}} if kind == "CronJob" else {"template": template}
    data = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    write(tmp_path, x=yaml.safe_dump(data, sort_keys=False))
    found = problems(tmp_path)
    assert len(found) == 1
    assert said in found[0]
    if said in ALLOWABLE:
        assert load(tmp_path, allow=frozenset({said}))


def test_a_link_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("password: hunter2")
    folder = tmp_path / "k8s"
    folder.mkdir()
    (folder / "x.yaml").symlink_to(secret)
    (found,) = problems(folder)
    assert "plain file" in found
    assert "hunter2" not in found


def test_aliases_do_not_blow_up(tmp_path):
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n" for n in range(1, 9))
    (found,) = problems(write(tmp_path, x=text))
    assert "more than 50,000" in found


def test_what_is_nested_without_end_is_refused(tmp_path):
    (found,) = problems(write(tmp_path, x="a: " + "[" * 5000 + "]" * 5000))
    assert "nested too deeply" in found


def test_one_object_is_there_once(tmp_path):
    (found,) = problems(write(tmp_path, a=DEPLOYMENT, b=DEPLOYMENT))
    assert "k8s/b.yaml:2: Deployment/backend is there twice; the other is at k8s/a.yaml:2." in found


# --- overlays ---------------------------------------------------------------------------------------------


def test_an_overlay_is_laid_upon_its_base(tmp_path):
    write(
        tmp_path,
        backend=DEPLOYMENT,
        overlays__staging__x="""\
            kind: Deployment
            metadata: {name: backend}
            spec:
              replicas: 3
              template:
                spec:
                  containers:
                    - {name: backend, env: [{name: A, value: "1"}]}
                    - {name: helper, image: helper}
        """,
    )
    manifest = only(tmp_path, "staging")
    assert manifest.data["spec"]["replicas"] == 3
    assert [(one["name"], one["image"]) for one in containers(manifest.data)] == [
        ("backend", "backend"),
        ("helper", "helper"),
    ]
    assert containers(manifest.data)[0]["env"] == [{"name": "A", "value": "1"}]
    assert "replicas" not in only(tmp_path, "production").data["spec"]


def test_an_overlay_takes_away(tmp_path):
    base = DEPLOYMENT + "          env: [{name: A, value: x}]\n"
    write(
        tmp_path,
        backend=base,
        other="apiVersion: v1\nkind: Service\nmetadata: {name: x}",
        overlays__staging__a="kind: Service\nmetadata: {name: x}\n$patch: delete",
        overlays__staging__b="""\
            kind: Deployment
            metadata: {name: backend}
            spec: {template: {spec: {containers: [{name: backend, env: [{name: A, $patch: delete}]}]}}}
        """,
    )
    manifest = only(tmp_path, "staging")
    assert containers(manifest.data)[0] == {"name": "backend", "image": "backend", "env": []}


def test_an_overlay_may_not_more_than_its_base(tmp_path):
    over = "kind: Deployment\nmetadata: {name: backend}\nspec:\n  template:\n    spec:\n      hostNetwork: true"
    write(tmp_path, backend=DEPLOYMENT, overlays__staging__x=over)
    (found,) = problems(tmp_path, environment="staging")
    assert found.startswith("k8s/overlays/staging/x.yaml:6: hostNetwork")


# --- those of this project --------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_our_manifests_load(environment):
    manifests = load(ROOT / "docker/k8s", environment, shown="docker/k8s")
    assert components(manifests) == {"backend", "frontend", "database", "agent"}


def test_our_workloads_are_kept_in_bounds():
    """Non-root, a read-only root, limits, probes: in every pod that is not a Job's."""
    for manifest in load(ROOT / "docker/k8s", "production"):
        for container in containers(manifest.data):
            pod = manifest.data["spec"]["template"]["spec"]
            security = container["securityContext"]
            assert pod["securityContext"]["runAsNonRoot"] is True, manifest.ref
            assert pod["automountServiceAccountToken"] is False, manifest.ref
            assert security["readOnlyRootFilesystem"] is True, manifest.ref
            assert security["allowPrivilegeEscalation"] is False, manifest.ref
            assert security["capabilities"] == {"drop": ["ALL"]}, manifest.ref
            assert {"cpu", "memory"} == container["resources"]["limits"].keys(), manifest.ref
            assert manifest.kind == "Job" or "readinessProbe" in container, manifest.ref


def test_the_role_gives_what_a_release_needs_and_no_more():
    role = yaml.safe_load((ROOT / "docker/k8s/rbac/role.yaml").read_text())
    given = {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in role["rules"]}
    assert given == {(kind.group, kind.plural): set(kind.verbs) for kind in needs(gateway=True)}
    assert "delete" not in given["", "persistentvolumeclaims"]
