"""What the `ansible` executor hands over for environments on clusters, and what it makes of the answers: pure parts."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from pipelines.executors.ansible import foreseen, places
from pipelines.executors.ansible.changes import changes_of
from pipelines.executors.ansible.report import Report
from pipelines.executors.ansible.stream import Stream
from pipelines.executors.connections import Cluster, Spot

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
MODULE = PLAYBOOKS / "roles" / "secrets" / "library" / "secrets_foreseen.py"
SERVER = {"uid": "1", "resourceVersion": "7", "managedFields": [{}], "creationTimestamp": "now", "generation": 2}


def test_each_namespace_is_a_host_that_knows_its_cluster(tmp_path):
    main = Cluster("main-1", tmp_path / "main.kubeconfig", "admin")
    found = places.inventory((Spot(main, "north"), Spot(main, "south"), Spot(Cluster("here"), "shop")))
    groups = found["clusters"]["children"]
    assert list(groups["cluster_main_1"]["hosts"]) == ["main-1/north", "main-1/south"]
    north = groups["cluster_main_1"]["hosts"]["main-1/north"]
    assert (north["burger_cluster"], north["burger_namespace"]) == ("main-1", "north")
    assert north["burger_cluster_access"] == {
        "K8S_AUTH_KUBECONFIG": str(tmp_path / "main.kubeconfig"),
        "K8S_AUTH_CONTEXT": "admin",
    }
    assert groups["cluster_here"]["hosts"]["here/shop"]["burger_cluster_access"] == {}


def test_a_repository_may_bring_the_collection_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "COLLECTION", "kubernetes.elsewhere")
    with pytest.raises(places.PlanError, match="extra `cluster`"):
        places.check_collection(tmp_path)
    (tmp_path / "collections").mkdir()
    places.check_collection(tmp_path)


def task(kind, name, **more):
    return {
        "changed": True,
        "method": "apply",
        "result": {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **SERVER}},
        **more,
    }


def test_objects_are_named_and_what_the_server_adds_is_left_out():
    before = {"data": {"A": "1"}, "metadata": {"resourceVersion": "6", "managedFields": [{"time": "then"}]}}
    after = {"data": {"A": "2"}, "metadata": {"resourceVersion": "7", "managedFields": [{"time": "now"}]}}
    result = task("ConfigMap", "shop", diff={"before": before, "after": after})
    (found,) = changes_of(1, "main/north", "Write", result)
    assert (found.change.title, found.change.after) == ("main/north: Write (ConfigMap/shop)", "change")
    assert found.change.diff == (
        "--- ConfigMap/shop (now)\n+++ ConfigMap/shop (after)\n@@ -1,2 +1,2 @@\n data:\n-  A: '1'\n+  A: '2'\n"
    )


def test_a_task_of_several_objects_gives_a_change_for_each_that_changes():
    items = [
        task("NetworkPolicy", "default-deny", diff={"before": {}, "after": {"spec": {"podSelector": {}}}}),
        {**task("NetworkPolicy", "same"), "changed": False},
        task("Deployment", "old", method="delete"),
    ]
    found = changes_of(1, "m/n", "Write", {"changed": True, "result": {"results": items}})
    assert [(each.item, each.change.title, each.change.after) for each in found] == [
        (0, "m/n: Write (NetworkPolicy/default-deny)", "create"),
        (1, "m/n: Write (Deployment/old)", "delete"),
    ]
    assert "+spec:\n+  podSelector: {}\n" in found[0].change.diff


def test_values_of_secrets_are_hidden_in_whatever_task():
    value = base64.b64encode(b"hunter2").decode()
    created = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}, "data": {"KEY": value}}
    (found,) = changes_of(1, "m/n", "Write", {"changed": True, "method": "create", "result": created})
    assert "+  KEY: '***'\n" in found.change.diff
    assert value not in found.change.diff


def test_digests_tell_values_names_and_teams_apart_and_stay_the_same(tmp_path):
    found = foreseen.digests(tmp_path, "ops", {"A": "x", "B": "x"})
    assert found == foreseen.digests(tmp_path, "ops", {"A": "x", "B": "x"})
    others = [
        foreseen.digests(tmp_path, "dev", {"A": "x"})["A"],
        foreseen.digests(tmp_path / "b", "ops", {"A": "x"})["A"],
    ]
    assert len({*found.values(), *others, foreseen.digests(tmp_path, "ops", {"A": "y"})["A"]}) == 5
    assert foreseen.digests(tmp_path / "none", "ops", {}) == {}
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def secrets_foreseen():
    specification = importlib.util.spec_from_file_location("secrets_foreseen", MODULE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_secrets_are_compared_with_what_the_last_run_left(secrets_foreseen, tmp_path):
    path = tmp_path / "secrets.env"
    wanted = {"A": "1"}
    new = secrets_foreseen.compare(wanted, *secrets_foreseen.of_file(path))
    assert new == {"changed": True, "diff": {"before": "", "after": "A: 1\n"}}
    path.write_text("A=x\n")
    _, content = secrets_foreseen.of_file(path)
    assert content == ""
    record = tmp_path / "secrets.env.digests"
    record.write_text(json.dumps({"values": wanted, "content": "another"}))
    assert "somebody else" in secrets_foreseen.compare(wanted, *secrets_foreseen.of_file(path))["diff"]["before"]
    _, content = secrets_foreseen.of_file(path)
    record.write_text(json.dumps({"values": wanted, "content": content}))
    assert secrets_foreseen.compare(wanted, *secrets_foreseen.of_file(path)) == {"changed": False}
    assert secrets_foreseen.compare({"A": "2"}, *secrets_foreseen.of_file(path))["changed"]
    assert secrets_foreseen.compare(wanted, "no json", content)["changed"]


def event(kind, **data):
    return {"event": kind, "stdout": "", "event_data": data}


def test_a_host_whose_cluster_is_away_is_unreachable_and_did_not_fail():
    report = Report()
    for host in ("far/shop", "near/shop"):
        report.add(event("runner_on_failed", task="Look", host=host, res={"msg": "no"}))
    report.lose({"far/shop": "Connection refused."})
    assert [failure.host for failure in report.failures] == ["near/shop"]
    assert report.unreachable == {"far/shop": "Connection refused."}
    assert (report.counts["far/shop"]["failed"], report.counts["far/shop"]["unreachable"]) == (0, 1)


def test_what_a_playbook_warns_of_is_kept():
    report = Report()
    report.add(event("playbook_on_stats", processed={"m/n": 1}, artifact_data={"burger_warnings": {"m/n": "look"}}))
    assert report.warnings == {"m/n": "look"}


def test_lines_that_were_not_stored_are_handed_over_again(tmp_path):
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps(event("playbook_on_play_start", play="One")) + "\n")
    (log,) = Stream(events, tmp_path / "cursor").read()
    assert log.receipt is not None
    log.receipt.keep()
    stream = Stream(events, tmp_path / "cursor")
    for again in stream.read():
        again.receipt.keep()
        assert again.text == "PLAY One\n"
        again.receipt.stored()
    assert list(Stream(events, tmp_path / "cursor").read()) == []


def test_the_policies_of_the_defaults_name_what_the_manifests_have():
    services = yaml.safe_load((PLAYBOOKS / "roles/network_policies/defaults/main.yml").read_text())
    asked = {service["app"]: service["port"] for service in services["network_policies_services"]}
    manifests = PLAYBOOKS.parent / "docker" / "k8s"
    found = {}
    for path in sorted(manifests.glob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            template = (item.get("spec") or {}).get("template") or {}
            if item["kind"] in ("Deployment", "StatefulSet"):
                (container,) = template["spec"]["containers"]
                found[template["metadata"]["labels"]["app"]] = container["ports"][0]["containerPort"]
    assert asked == found
