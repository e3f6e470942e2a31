"""Names, addresses and groups, without a cluster."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from tests.cluster import build, cgroups, elsewhere, layout, machine, manifests
from tests.cluster.layout import ClusterError, Layout


@pytest.fixture(autouse=True)
def claims(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Claims of the test's own, on a machine without routes."""
    monkeypatch.setattr(layout, "CLAIMS", tmp_path / "claims")
    monkeypatch.setattr(layout, "_routed", list)
    return tmp_path / "claims"


def everything(of: Layout) -> set[object]:
    """All that must not be another's."""
    nodes = [(node.netns, node.address, node.pods, node.cgroup, node.run, node.data) for node in of.nodes]
    return {
        of.name, of.bridge, of.docker_bridge, of.docker_socket, of.run, of.network, of.services, of.registry, of.api,
        of.gateway, of.home, *(part for node in nodes for part in node),
    }  # fmt: skip


def test_two_checkouts_share_no_name_and_no_address():
    first, second = layout.claim(Path("/src/one/var/cluster")), layout.claim(Path("/src/two/var/cluster"))
    assert not everything(first) & everything(second)
    assert not ipaddress.ip_network(first.network).overlaps(ipaddress.ip_network(second.network))


def test_two_checkouts_that_prefer_the_same_place_get_two(monkeypatch):
    monkeypatch.setattr(layout, "preferred", lambda _: 31)
    slots = [layout.claim(Path(f"/src/{name}")).slot for name in ("one", "two")]
    assert slots == [31, 0]


def test_a_checkout_keeps_its_place_until_it_lets_go():
    one = layout.claim(Path("/src/one"))
    assert layout.claim(Path("/src/one")) == one == layout.claimed(Path("/src/one"))
    layout.release(one)
    assert layout.claimed(Path("/src/one")) is None


def test_a_network_that_is_in_use_is_passed_over(monkeypatch):
    monkeypatch.setattr(layout, "preferred", lambda _: 3)
    monkeypatch.setattr(layout, "_routed", lambda: [ipaddress.ip_network("10.211.7.0/24")])
    assert layout.claim(Path("/src/one")).slot == 4


def test_a_machine_full_of_clusters_says_so(monkeypatch):
    for number in range(layout.SLOTS):
        layout.claim(Path(f"/src/{number}"))
    with pytest.raises(ClusterError, match="cluster-down"):
        layout.claim(Path("/src/another"))


def test_names_of_links_are_short_enough_for_the_kernel():
    for slot in (0, layout.SLOTS - 1):
        of = Layout(home=Path("/h"), build=Path("/h/build"), slot=slot)
        assert all(len(name) <= 15 for name in (of.bridge, of.docker_bridge, f"{of.name}-n2"))


def test_all_addresses_lie_in_the_cluster_s_network_and_apart():
    of = Layout(home=Path("/h"), build=Path("/h/build"), slot=5)
    parts = [
        ipaddress.ip_network(part) for part in (of.address(0, 0) + "/24", of.services, *(n.pods for n in of.nodes))
    ]
    parts += [ipaddress.ip_network(of.address(3, 0) + "/24"), ipaddress.ip_network(of.address(128, 0) + "/17")]
    assert all(part.subnet_of(ipaddress.ip_network(of.network)) for part in parts)
    assert not any(a.overlaps(b) for a in parts for b in parts if a is not b)
    assert ipaddress.ip_address(of.dns) in ipaddress.ip_network(of.services)


def test_a_folder_too_deep_for_sockets_is_refused():
    with pytest.raises(ClusterError, match="BURGER_CLUSTER_HOME"):
        layout.home_of({"BURGER_CLUSTER_HOME": "/" + "deep/" * 20})


def test_every_program_comes_from_a_module_that_is_there():
    for program in build.PROGRAMS:
        assert (build.GO / program.family / "go.mod").exists()
    assert build.version("kubernetes", "k8s.io/kubernetes").startswith("v1.")


def hierarchy(root: Path, **files: str) -> Path:
    root.mkdir(parents=True)
    for name, content in {"cgroup.procs": "", **files}.items():
        (root / name.replace("__", ".")).write_text(content)
    return root


def test_under_cgroup_v1_a_group_is_made_in_every_hierarchy(tmp_path):
    for name in ("cpu", "memory"):
        hierarchy(tmp_path / "fs" / name)
    cgroups.make("burger3/node1", tmp_path / "fs")
    assert [(tmp_path / "fs" / name / "burger3/node1").is_dir() for name in ("cpu", "memory")] == [True, True]


def test_under_cgroup_v2_a_parent_passes_its_controllers_on(tmp_path):
    root = hierarchy(tmp_path / "fs", cgroup__controllers="cpu", cgroup__subtree_control="")
    cgroups.make("burger3", root)
    assert cgroups.roots(root) == [root]
    assert (root / "burger3").is_dir()
    assert (root / "cgroup.subtree_control").read_text() == "+cpu"


def test_a_cluster_of_somebody_else_needs_a_registry_to_be_named():
    with pytest.raises(ClusterError, match="BURGER_TEST_REGISTRY"):
        elsewhere.facts_of({"KUBECONFIG": "/somewhere/config"}, own=None)


def test_no_kubeconfig_names_no_other_cluster():
    assert elsewhere.facts_of({}, own=None) is None


def test_a_gateway_is_told_in_five_parts():
    with pytest.raises(ClusterError, match="HOST:PORT/CLASS"):
        elsewhere._gateway({"BURGER_TEST_GATEWAY": "host:80"})
    found = elsewhere._gateway({"BURGER_TEST_GATEWAY": "host:80/traefik/gateway/burger/http"})
    assert found is not None
    assert (found.address, found.name, found.section) == ("host:80", "burger", "http")


def test_the_gateway_listens_where_traefik_does():
    of = Layout(home=Path("/h"), build=Path("/h/build"), slot=5)
    [gateway] = [each for each in manifests.gateway(of) if each["kind"] == "Gateway"]
    assert of.gateway.endswith(f":{gateway['spec']['listeners'][0]['port']}")


def test_the_machine_is_as_the_first_cluster_found_it(monkeypatch, tmp_path, claims):
    claims.mkdir()
    mine, theirs, used = (tmp_path / name for name in ("mine", "theirs", "used"))
    theirs.mkdir()
    monkeypatch.setattr(machine, "KERNEL", ())
    monkeypatch.setattr(machine, "FOLDERS", tuple(map(str, (mine, theirs, used))))
    machine.remember()
    for folder in (mine, used):
        folder.mkdir()
    (used / "file").touch()
    machine.remember()  # by a second cluster
    machine.restore()
    assert [folder.exists() for folder in (mine, theirs, used)] == [False, True, True]


def test_a_cluster_whose_folder_was_removed_is_known(tmp_path):
    kept = layout.claim(tmp_path / "kept")
    gone = layout.claim(tmp_path / "gone")
    kept.home.mkdir()
    (kept.home / "lock").touch()
    assert layout.abandoned() == [gone]
