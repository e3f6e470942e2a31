from pathlib import Path

import pytest

from pipelines.executors.connections import ConnectionsError, Registry, load

WHOLE = """
docker: {host: "unix:///run/docker.sock"}
registries:
  registry.example:5000: {ca: ca.pem, token_hosts: [auth.example]}
clusters:
  main: {kubeconfig: /etc/burger/main.kubeconfig}
  here: {in_cluster: true}
environments:
  production:
    url: https://burgers.example/
    places: [{cluster: main, namespace: shop-north}, {cluster: here, namespace: shop-south}]
"""


def write(home: Path, text: str) -> Path:
    (home / "connections.yaml").write_text(text)
    return home


def test_a_whole_file(tmp_path):
    found = load(write(tmp_path, WHOLE))

    assert found.docker.host == "unix:///run/docker.sock"
    assert found.registry("registry.example:5000").ca == tmp_path / "ca.pem"
    assert found.registry("registry.example:5000").token_hosts == ("auth.example",)
    assert [spot.name for spot in found.environments["production"].spots] == ["main/shop-north", "here/shop-south"]
    assert found.environments["production"].url == "https://burgers.example"
    assert found.clusters["here"].kubeconfig is None


def test_no_file_is_no_connections(tmp_path):
    assert load(tmp_path).clusters == {}


def test_a_registry_that_is_not_listed_has_the_systems_certificates(tmp_path):
    assert load(tmp_path).registry("ghcr.io") == Registry("ghcr.io")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "the file is [1]; expected a mapping"),
        ("clusterz: {}", "clusterz; it may have argo, clusters, docker, environments, registries, secrets"),
        ("clusters: {main: {}}", "needs either `kubeconfig: FILE` or `in_cluster: true`"),
        ("clusters: {main: {kubeconfig: a, in_cluster: true}}", "needs either"),
        ("clusters: {-x: {in_cluster: true}}", "a name in clusters is '-x'"),
        ("environments: {p: {places: []}}", "environments.p.places is []; expected a list"),
        ("environments: {p: {places: [{cluster: nil, namespace: n}]}}", "cluster is 'nil'; expected one of"),
        (
            "clusters: {m: {in_cluster: true}}\nenvironments: {p: {places: [{cluster: m, namespace: ../x}]}}",
            "namespace is '../x'; expected the name of a namespace",
        ),
        ("registries: {'http://x': {}}", "a name in registries is 'http://x'"),
        ("docker: {host: 5}", "docker.host is 5; expected text"),
        ("docker: [", "is not YAML"),
        ("docker: !!python/object/apply:os.system [true]", "is not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    with pytest.raises(ConnectionsError) as caught:
        load(write(tmp_path, text))
    assert said in str(caught.value)
