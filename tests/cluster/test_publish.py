"""`publish` of images with a real engine and real registries: what is pushed, what is tried again, what leaks."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient
from docker.errors import ImageNotFound

from pipelines.executors.base import Artifact, Log, Outcome, Produced, Progress, StageSpec, Unattended, Workplace
from pipelines.executors.oci.transport import Patience
from pipelines.executors.publish import PublishExecutor
from tests.cluster import Facts
from tests.executors.conftest import eventually, worker  # noqa: F401 - a fixture
from tests.executors.publish import registries
from tests.executors.publish.registries import PASSWORD, USER, Proxy, Running, put_image, reply

pytestmark = pytest.mark.cluster

COMMIT = "c" * 40
QUICK = Patience(tries=3, first=0.05, longest=0.1, timeout=10.0)
KILOBYTE = 1024


@pytest.fixture
def engine(cluster: Facts) -> Iterator[APIClient]:
    with_engine = APIClient(base_url=cluster.docker_host, version="auto")
    yield with_engine
    with_engine.close()


@pytest.fixture
def trusted(cluster: Facts, tmp_path: Path) -> Path:
    """A folder whose authority the engine trusts."""
    if cluster.host is None or cluster.ca is None:
        pytest.skip("This cluster does not tell which authority its engine trusts; `make cluster` makes one that does.")
    folder = tmp_path / "registry"
    folder.mkdir()
    shutil.copy(cluster.ca.certificate, folder / "ca.crt")
    shutil.copy(cluster.ca.key, folder / "ca.key")
    return folder


@pytest.fixture
def running(cluster: Facts, trusted: Path) -> Iterator[Running]:
    with registries.serve(trusted, host=str(cluster.host)) as found:
        yield found


@pytest.fixture
def proxy(cluster: Facts, running: Running) -> Iterator[Proxy]:
    with registries.proxy(running, str(cluster.host)) as between:
        yield between


@dataclass
class Builder:
    """Makes images of random content in the engine, and takes them away with everything that names them."""

    engine: APIClient
    made: list[str]

    def __call__(self, *layers: int) -> Artifact:
        """An image with layers of so many kilobytes."""
        context = io.BytesIO()
        lines = ["FROM scratch"]
        with tarfile.open(fileobj=context, mode="w") as tar:
            for number, size in enumerate(layers):
                lines.append(f"COPY layer{number} /layer{number}")
                _add(tar, f"layer{number}", os.urandom(size * KILOBYTE))
            _add(tar, "Dockerfile", "\n".join(lines).encode())
        context.seek(0)
        answers = list(self.engine.build(fileobj=context, custom_context=True, rm=True, decode=True))
        image = next(answer["aux"]["ID"] for answer in answers if "aux" in answer)
        self.engine.tag(image, "publish-test", f"{image[7:19]}")
        self.made.append(image)
        return Artifact("build-backend", "image", image, 1, {"component": "backend", "commit": COMMIT})


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def built(engine: APIClient) -> Iterator[Builder]:
    builder = Builder(engine, [])
    yield builder
    for image in builder.made:
        try:
            engine.remove_image(image, force=True)
        except ImageNotFound:
            continue


@pytest.fixture
def publish(cluster: Facts, tmp_path: Path) -> PublishExecutor:
    executor = PublishExecutor(Workplace(tmp_path / "var"))
    executor.patience = QUICK
    secrets = executor.workplace.home / "secrets" / "dev"
    secrets.mkdir(parents=True)
    for name, value in (("user", USER), ("password", PASSWORD)):
        (secrets / name).write_text(value)
        (secrets / name).chmod(0o600)
    return executor


@pytest.fixture
def stage(cluster: Facts, publish: PublishExecutor) -> Callable[..., StageSpec]:
    """The stage that publishes these images at a registry, which connections.yaml then lists."""

    def make(where: Running | Proxy, *images: Artifact, token_hosts: list[str] | None = None) -> StageSpec:
        known: dict[str, Any] = {"ca": str(where.registry().ca), "token_hosts": token_hosts or []}
        connections = {"docker": {"host": cluster.docker_host}, "registries": {where.address: known}}
        (publish.workplace.home / "connections.yaml").write_text(json.dumps(connections))
        with_ = {
            "artifacts": [image.name for image in images], "registry": where.address, "repository": "burger",
            "secrets": {"username": "user", "password": "password"},
        }  # fmt: skip
        return StageSpec(
            run=7, pipeline="shop", stage="publish", kind="publish", owner="dev", commit=COMMIT,
            artifacts={image.name: image for image in images}, with_=with_,
        )  # fmt: skip

    return make


@dataclass
class Done:
    outcome: Outcome
    release: Artifact | None
    log: str
    progress: list[Progress]


def done(publish: PublishExecutor, stage: StageSpec, key: str = "k-1", control: Any = None) -> Done:
    """Run the stage to its end. Nothing that comes out may hold the password."""
    events = list(publish.start(stage, key, control or Unattended()))
    for encoded in (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()):
        assert encoded not in repr(events)
        files = [path for path in publish.workplace.folder(key).rglob("*") if path.is_file()]
        assert all(encoded.encode() not in path.read_bytes() for path in files)
    outcome = events[-1]
    assert isinstance(outcome, Outcome)
    made = [event.artifact for event in events if isinstance(event, Produced)]
    log = "".join(event.text for event in events if isinstance(event, Log))
    progress = [event for event in events if isinstance(event, Progress)]
    return Done(outcome, made[0] if made else None, log, progress)


@dataclass
class Slow:
    """Lets a push begin, and holds its first layer back."""

    began: threading.Event
    free: threading.Event

    def __call__(self, request: BaseHTTPRequestHandler) -> bool:
        if request.command != "PATCH":
            return False
        self.began.set()
        self.free.wait(30)
        request.close_connection = True
        return True


def test_an_image_is_named_by_what_the_registry_answers(
    publish: PublishExecutor, stage: Any, running: Running, built: Builder, engine: APIClient
) -> None:
    image, other = built(300, 5), replace(built(10), name="build-front", meta={"component": "front", "commit": COMMIT})
    result = done(publish, stage(running, image, other))
    assert result.outcome == Outcome("succeeded", "published release 7 of 2 images")
    assert result.release is not None
    name = result.release.meta["images"]["backend"]
    assert name == f"{running.address}/burger/backend@{result.release.meta['artifacts']['build-backend']}"
    assert set(result.release.meta["images"]) == {"backend", "front"}
    last = result.progress[-1]
    assert last.done == last.total
    told = {image["component"]: [layer["state"] for layer in image["layers"]] for image in last.data["images"]}
    assert set(told) == {"backend", "front"}
    assert told["backend"] == ["pushed", "pushed"]
    assert "backend: 2 layers, 0 of them there already, 0.3 MB sent in" in result.log

    # The engine keeps no name of ours, and what it pulls by the release's name is the image that was built.
    assert engine.inspect_image(image.digest)["RepoTags"] == [f"publish-test:{image.digest[7:19]}"]
    assert pulled(engine, name) == image.digest


def pulled(engine: APIClient, name: str) -> str:
    """The id of the image that is at a registry, seen anew."""
    before = {image["Id"]: image["RepoTags"] for image in engine.images()}
    engine.pull(name, auth_config={"username": USER, "password": PASSWORD})
    found = str(engine.inspect_image(name)["Id"])
    if found not in before:
        engine.remove_image(found, force=True)
    return found


def test_the_second_push_sends_nothing_and_is_the_same_release(
    publish: PublishExecutor, stage: Any, running: Running, built: Builder
) -> None:
    spec = stage(running, built(50, 5))
    first, second = done(publish, spec, "k-1"), done(publish, spec, "k-2")
    assert first.release == second.release
    assert "2 layers, 2 of them there already, 0.0 MB sent" in second.log


def test_a_tag_that_is_moved_changes_nothing(
    publish: PublishExecutor, stage: Any, running: Running, built: Builder, engine: APIClient
) -> None:
    image = built(20)
    spec = stage(running, image)
    result = done(publish, spec)
    assert result.release is not None
    name = result.release.meta["images"]["backend"]
    tag = f"{COMMIT[:12]}-{image.digest[7:19]}"
    put_image(running, "burger/backend", tag, b"something else", config=b'{"other": 1}')
    assert pulled(engine, name) == image.digest
    again = done(publish, spec, "k-2")
    assert again.release == result.release


def test_a_token_registry_gives_the_engine_a_token_only(
    cluster: Facts, publish: PublishExecutor, stage: Any, trusted: Path, built: Builder
) -> None:
    host = str(cluster.host)
    with (
        registries.token_service(trusted, host) as service,
        registries.serve(trusted, host=host, auth=service.auth()) as running,
        registries.proxy(running, host) as between,
    ):
        result = done(publish, stage(between, built(20), token_hosts=[service.address]))
        assert result.outcome.state == "succeeded", result.outcome
        assert {seen.authorization.partition(" ")[0] for seen in between.seen} == {"", "Bearer"}
        assert all("python-httpx" in agent for agent in service.agents)
        refused = done(publish, stage(between, built(20)), "k-2")
    assert (refused.outcome.state, "add it to token_hosts" in refused.outcome.reason) == ("failed", True)


def test_a_wrong_password_fails_at_once_and_is_named(
    publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder
) -> None:
    path = publish.workplace.home / "secrets" / "dev" / "password"
    path.write_text("wrong")
    result = done(publish, stage(proxy, built(5)))
    assert result.outcome.state == "failed"
    assert f"{proxy.address} answered 401 when pushing" in result.outcome.reason
    assert "the secrets 'user' and 'password' of team dev" in result.outcome.reason
    assert result.log == "", "no second try"


def test_a_credential_that_may_not_write_the_manifest_is_named(
    publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder
) -> None:
    """Only the engine hears of this refusal."""
    denied = b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'
    proxy.meddle = lambda request: request.command == "PUT" and "/manifests/" in request.path and (
        reply(request, 403, denied) is None
    )  # fmt: skip
    result = done(publish, stage(proxy, built(5)))
    assert result.outcome.state == "failed"
    assert "refuses the engine's push of burger/backend with the secrets 'user'" in result.outcome.reason


@pytest.mark.parametrize("status", [500, 503])
def test_what_passes_is_tried_again(
    publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder, status: int
) -> None:
    left = [1, 1]
    proxy.meddle = lambda request: bool(
        request.command == "PUT" and "/manifests/" in request.path and left and reply(request, left.pop() and status)
        is None
    )  # fmt: skip
    result = done(publish, stage(proxy, built(5)))
    assert (result.outcome.state, left) == ("succeeded", [])
    assert result.log.count("trying again in") == 2


def test_a_push_that_hangs_is_given_up_and_goes_on_later(
    publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder
) -> None:
    publish.silence = 0.5
    slow = Slow(threading.Event(), threading.Event())
    proxy.meddle = slow
    spec = stage(proxy, built(5))
    result = done(publish, spec)
    assert result.outcome.state == "engine"
    assert "nothing moved for 0.5 s; trying again" in result.log
    slow.free.set()
    proxy.meddle = lambda _: False
    publish.silence = 20.0
    assert done(publish, spec).outcome.state == "succeeded"


def test_a_registry_that_is_away_is_waited_for(
    cluster: Facts, publish: PublishExecutor, stage: Any, trusted: Path, built: Builder
) -> None:
    port = registries.free_port(str(cluster.host))
    away = Running(f"{cluster.host}:{port}", trusted / "ca.crt", trusted)
    spec = stage(away, built(5))
    result = done(publish, spec)
    assert result.outcome.state == "engine"
    assert f"{away.address} cannot be reached" in result.outcome.reason
    with registries.serve(trusted, host=str(cluster.host), port=port):
        assert done(publish, spec).outcome.state == "succeeded"


def test_an_engine_that_does_not_trust_the_registry_says_where_to_put_what(
    cluster: Facts, publish: PublishExecutor, stage: Any, tmp_path: Path, built: Builder
) -> None:
    with registries.serve(tmp_path / "untrusted", host=str(cluster.host)) as running:
        result = done(publish, stage(running, built(5)))
    assert result.outcome.state == "failed"
    assert f"/etc/docker/certs.d/{running.address}/ca.crt" in result.outcome.reason


def test_an_image_that_is_gone_is_said_to_be(
    publish: PublishExecutor, stage: Any, running: Running, built: Builder
) -> None:
    gone = replace(built(5), digest="sha256:" + "0" * 64)
    result = done(publish, stage(running, gone))
    assert result.outcome.state == "failed"
    assert f"has no image {gone.digest} any more, which build-backend built" in result.outcome.reason


def test_what_the_registry_holds_has_to_be_what_was_built(
    publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder, running: Running
) -> None:
    """Somebody between engine and registry who answers for it cannot slip another image in."""
    other, _ = put_image(running, "burger/other", "one", b"evil")
    body = json.dumps({"schemaVersion": 2, "config": {"digest": other, "size": 1}, "layers": []}).encode()

    def slip(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "GET" or "/manifests/sha256" not in request.path:
            return False
        return reply(request, 200, body, Docker_Content_Digest=registries.digest_of(body)) is None

    proxy.meddle = slip
    result = done(publish, stage(proxy, built(5)))
    assert (result.outcome.state, result.release) == ("failed", None)
    assert "changes contents" in result.outcome.reason


def test_an_upload_that_leads_to_another_host_takes_no_credential_there(
    cluster: Facts, publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder, running: Running
) -> None:
    basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with registries.proxy(running, str(cluster.host)) as elsewhere:

        def let_in(request: BaseHTTPRequestHandler) -> bool:
            request.headers["Authorization"] = basic
            return False

        def lead_away(request: BaseHTTPRequestHandler) -> bool:
            request.leads_to = f"https://{elsewhere.address}"  # type: ignore[attr-defined]
            return False

        elsewhere.meddle, proxy.meddle = let_in, lead_away
        result = done(publish, stage(proxy, built(5)))
    assert result.outcome.state == "succeeded", result.outcome
    assert {seen.method for seen in elsewhere.seen} >= {"PATCH", "PUT"}
    assert {seen.authorization for seen in elsewhere.seen} == {""}
    assert basic in {seen.authorization for seen in proxy.seen}


@pytest.mark.parametrize("how", ["control", "cancel"])
def test_cancel_works_in_the_middle_of_a_layer(
    publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder, running: Running, how: str
) -> None:
    slow = Slow(threading.Event(), threading.Event())
    proxy.meddle = slow
    spec = stage(proxy, built(500))
    stop = threading.Event()
    results: list[Done] = []
    thread = threading.Thread(
        target=lambda: results.append(done(publish, spec, "k-1", Unattended(stop=stop.is_set))), daemon=True
    )
    thread.start()
    assert slow.began.wait(20)
    began = time.monotonic()
    if how == "control":
        stop.set()
    else:
        PublishExecutor(publish.workplace).cancel(spec, "k-1")
    thread.join(10)
    took = time.monotonic() - began
    slow.free.set()
    assert [result.outcome.state for result in results] == ["canceled"]
    assert took < 5
    assert not (running.folder / "data/docker/registry/v2/repositories/burger/backend/_manifests").exists()


def test_a_worker_that_dies_leaves_nothing_in_the_way(
    publish: PublishExecutor,
    stage: Any,
    proxy: Proxy,
    built: Builder,
    worker: Any,  # noqa: F811
) -> None:
    """The next worker finds that it never ended, and pushes again."""
    slow = Slow(threading.Event(), threading.Event())
    proxy.meddle = slow
    spec = stage(proxy, built(100))
    first = worker(PublishExecutor(publish.workplace), spec, "k-1")
    assert slow.began.wait(30)
    first.kill()
    first.wait()
    slow.free.set()
    proxy.meddle = lambda _: False
    assert publish.probe(spec, "k-1").state == "never_started"
    assert eventually(lambda: done(publish, spec, "k-1").outcome.state == "succeeded")
    assert publish.probe(spec, "k-1").state == "done"


def test_an_engine_that_goes_away_in_the_middle_is_waited_for(
    cluster: Facts, publish: PublishExecutor, stage: Any, proxy: Proxy, built: Builder, tmp_path: Path
) -> None:
    slow = Slow(threading.Event(), threading.Event())
    proxy.meddle = slow
    spec = stage(proxy, built(100))
    path = publish.workplace.home / "connections.yaml"
    results: list[Done] = []
    with Relay(tmp_path / "engine.sock", cluster.docker_host.removeprefix("unix://")) as relay:
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "docker": {"host": f"unix://{relay.path}"}}))
        thread = threading.Thread(target=lambda: results.append(done(publish, spec)), daemon=True)
        thread.start()
        assert slow.began.wait(20)
    thread.join(30)
    assert [result.outcome.state for result in results] == ["engine"]
    assert "does not answer" in results[0].outcome.reason
    slow.free.set()
    proxy.meddle = lambda _: False
    path.write_text(json.dumps(told))
    assert done(publish, spec).outcome.state == "succeeded"


class Relay:
    """A socket that leads to the engine's, until the end of the block."""

    def __init__(self, path: Path, to: str) -> None:
        self.path, self.to = path, to
        self.open: list[socket.socket] = []

    def __enter__(self) -> Relay:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink()
        for each in (self.listener, *self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inward, _ = self.listener.accept()
                outward = socket.socket(socket.AF_UNIX)
                outward.connect(self.to)
                self.open += [inward, outward]
                for one, other in ((inward, outward), (outward, inward)):
                    threading.Thread(target=_pour, args=(one, other), daemon=True).start()


def _pour(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
