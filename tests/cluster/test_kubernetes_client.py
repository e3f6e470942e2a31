"""The door to a cluster, held open while a real API server is busy, gone, slow or forgetful."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.executors.connections import Cluster
from pipelines.executors.kubernetes import watching
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterAway, Conflict, Refused, Stopped
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.kubernetes.watching import Event
from tests.cluster.facts import Facts
from tests.executors.kubernetes.proxy import Answer, Cut, Proxy, proxy_to

pytestmark = pytest.mark.cluster

REF = Ref("ConfigMap", "one")


def config_map(value: str, name: str = "one") -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}


def value_of(item: dict | None) -> str | None:
    return item["data"]["value"] if item else None


@pytest.fixture
def place(cluster: Facts) -> Cluster:
    return Cluster("test", Path(cluster.kubeconfig))


@pytest.fixture
def proxy(place: Cluster) -> Iterator[Proxy]:
    with proxy_to(place) as running:
        yield running


@pytest.fixture
def client(place: Cluster, namespace: str, proxy: Proxy) -> Iterator[Client]:
    with closing(Client(place, namespace, patience=5, timeout=5, address=proxy.address)) as made:
        made.get(REF)  # connected, and the library imported: what is timed below is the call alone
        proxy.requests.clear()
        yield made


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(client, proxy, code):
    proxy.once(Answer(code), Answer(code))
    assert value_of(client.apply(config_map("a"))) == "a"
    assert proxy.count("PATCH") == 3


def test_a_cut_connection_is_made_anew(client, proxy):
    proxy.once(Answer(0), Answer(0))
    assert value_of(client.apply(config_map("a"))) == "a"


def test_retry_after_is_honoured(client, proxy):
    proxy.once(Answer(429, {"Retry-After": "1"}))
    began = time.monotonic()
    client.apply(config_map("a"))
    assert time.monotonic() - began >= 1
    assert proxy.count("PATCH") == 2


def test_who_is_asked_to_wait_longer_than_there_is_patience_is_told_at_once(client, proxy):
    proxy.once(Answer(429, {"Retry-After": "600"}))
    began = time.monotonic()
    with pytest.raises(ClusterAway, match="injected 429") as caught:
        client.apply(config_map("a"))
    assert caught.value.retry_after == 600
    assert time.monotonic() - began < 1


def test_a_server_that_is_gone_is_away(place, namespace, proxy):
    client = Client(place, namespace, patience=0.5, address=proxy.address)
    proxy.away = True
    with pytest.raises(ClusterAway, match=r"The cluster test \(http://127.0.0.1:\d+\) does not answer"):
        client.get(REF)
    proxy.away = False
    assert client.get(REF) is None


def test_waiting_ends_when_the_work_is_stopped(place, namespace, proxy):
    stop = threading.Event()
    client = Client(place, namespace, patience=60, stopping=stop.is_set, address=proxy.address)
    proxy.away = True
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        client.get(REF)
    assert time.monotonic() - began < 5


def test_a_no_is_passed_on_in_the_servers_words_and_not_repeated(client, proxy):
    with pytest.raises(Refused, match=r'Deployment.apps "x" is invalid: .*spec.selector: Required value') as caught:
        client.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {}})
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert proxy.count("PATCH") == 1
    proxy.once(Answer(403, body={"reason": "Forbidden"}))
    with pytest.raises(Refused, match="injected 403") as caught:
        client.get(REF)
    assert caught.value.code == 403


def test_an_injected_409_only_means_once_more(client, proxy):
    client.apply(config_map("0"))
    busy = Answer(409, body={"reason": "Conflict"})
    proxy.once(busy, busy)
    assert value_of(client.apply(config_map("2"))) == "2"
    proxy.once(busy)
    assert value_of(client.patch(REF, {"data": {"value": "3"}})) == "3"


def test_a_field_of_somebody_else_is_a_conflict_that_names_them(client, place, namespace):
    client.apply(config_map("ours"))
    Client(place, namespace).patch(REF, {"data": {"value": "theirs"}}, manager="kubectl-edit")
    with pytest.raises(Conflict) as caught:
        client.apply(config_map("ours again"))
    assert [(one.manager, one.field) for one in caught.value.fields] == [("kubectl-edit", ".data.value")]
    assert value_of(client.get(REF)) == "theirs"
    assert value_of(client.apply(config_map("ours again"), force=True)) == "ours again"


def test_deleting_is_of_this_very_object(client):
    first = client.apply(config_map("a"))
    assert client.delete(REF, uid="00000000-0000-0000-0000-000000000000") is False
    assert client.delete(REF, uid=first["metadata"]["uid"]) is True
    assert client.delete(REF) is False


def test_kinds_that_are_not_ours_are_discovered(client):
    assert client.has("Deployment")
    assert not client.has("example.com/v1/Nothing")
    assert client.get("v1/Namespace", client.namespace)["metadata"]["name"] == client.namespace
    with pytest.raises(Refused, match=r"has no kind Nothing in example.com/v1"):
        client.get("example.com/v1/Nothing", "x")


def test_long_lists_come_in_pages_and_begin_anew_when_a_page_expires(client, proxy, monkeypatch):
    monkeypatch.setattr("pipelines.executors.kubernetes.client.PAGE", 2)
    for number in range(5):
        client.apply(config_map("a", f"item-{number}"))
    proxy.once(Answer(410, body={"reason": "Expired"}), to=lambda request: "continue" in request.query)
    names = [item["metadata"]["name"] for item in client.list("ConfigMap")]
    # Kubernetes puts one of its own into every namespace, sooner or later.
    assert [name for name in names if name.startswith("item-")] == [f"item-{number}" for number in range(5)]
    assert proxy.count("GET") > 4


# --- watches ----------------------------------------------------------------------------------------------


class Following:
    """What a watch of the namespace's ConfigMaps has brought so far."""

    def __init__(self, events: Iterator[Event | None]) -> None:
        self.events = events
        self.seen: list[tuple[str, str | None]] = []

    def until(self, done: Callable[[list[tuple[str, str | None]]], bool]) -> list[tuple[str, str | None]]:
        deadline = time.monotonic() + 20
        for event in self.events:
            if event and event.object.get("metadata", {}).get("name") != "kube-root-ca.crt":
                self.seen.append((event.type, value_of(event.object)))
            if done(self.seen):
                return self.seen
            assert time.monotonic() < deadline, self.seen
        raise AssertionError(f"the watch ended: {self.seen}")


@pytest.fixture
def following(client: Client) -> Iterator[Following]:
    with closing(client.watch("ConfigMap", tick=0.1)) as events:
        yield Following(events)


def synced(seen: list) -> bool:
    return ("SYNCED", None) in seen


def test_a_watch_begins_with_what_is_there_and_goes_on_with_changes(client, following):
    client.apply(config_map("a"))
    assert following.until(synced) == [("ADDED", "a"), ("SYNCED", None)]
    client.apply(config_map("b"))
    client.delete(REF)
    assert following.until(lambda seen: len(seen) == 4)[2:] == [("MODIFIED", "b"), ("DELETED", "b")]


def test_a_dropped_watch_goes_on_where_it_was(client, proxy, following):
    proxy.once(Cut(1), Cut(1), to=lambda request: request.is_watch)
    client.apply(config_map("a"))
    following.until(synced)
    for value in "bcd":
        client.apply(config_map(value))
    assert following.until(lambda seen: ("MODIFIED", "d") in seen)[2:] == [("MODIFIED", value) for value in "bcd"]


@pytest.mark.parametrize("way", ["status", "event"])
def test_an_expired_watch_lists_again_and_tells_what_vanished(client, place, namespace, proxy, following, way):
    expired = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    faults = (Cut(1, expired),) if way == "event" else (Cut(1), Answer(410))
    direct = Client(place, namespace)
    direct.apply(config_map("a"))
    direct.apply(config_map("x", "two"))
    lists: list[int] = []

    def fault(request):
        if request.is_watch:
            return left.pop(0) if left else None
        if request.method == "GET" and request.path.endswith("configmaps"):
            lists.append(1)
            if len(lists) == 2:  # what happens between the watch and the list, nobody is told of
                direct.delete(Ref("ConfigMap", "two"))
                direct.apply(config_map("c"))
        return None

    left = list(faults)
    proxy.fault = fault
    following.until(synced)
    direct.apply(config_map("b"))
    seen = following.until(lambda seen: ("DELETED", "x") in seen and ("MODIFIED", "c") in seen)
    assert [kind for kind, _ in seen].count("ADDED") == 2
    assert len(lists) == 2


def test_a_watch_outlives_a_partition_shorter_than_its_patience(client, place, namespace, proxy, following):
    client.apply(config_map("a"))
    following.until(synced)
    proxy.away = True
    direct = Client(place, namespace)
    direct.apply(config_map("b"))  # seen by the proxy, which hangs up
    direct.apply(config_map("c"))
    for _ in range(5):
        next(following.events)
    proxy.away = False
    assert following.until(lambda seen: ("MODIFIED", "c") in seen)[-2:] == [("MODIFIED", "b"), ("MODIFIED", "c")]


def test_a_watch_says_when_the_cluster_is_away_for_good(place, namespace, proxy, monkeypatch):
    monkeypatch.setattr(watching, "LIFETIME", 1)
    client = Client(place, namespace, patience=1, address=proxy.address)
    with closing(client.watch("ConfigMap", tick=0.1)) as events:
        following = Following(events)
        following.until(synced)
        proxy.away = True
        with pytest.raises(ClusterAway):
            following.until(lambda _: False)


@pytest.mark.parametrize("straight", [True, False], ids=["TLS", "proxy"])
def test_a_closed_watch_leaves_no_thread(client, place, namespace, straight):
    client = Client(place, namespace) if straight else client
    before = {thread for thread in threading.enumerate() if thread.name.startswith("watch-")}
    events = client.watch("ConfigMap", tick=0.1)
    Following(events).until(synced)
    events.close()
    deadline = time.monotonic() + 5
    while {thread for thread in threading.enumerate() if thread.name.startswith("watch-")} - before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
