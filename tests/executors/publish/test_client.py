"""Our client against Debian's docker-registry: what it reads, when it tries again, where credentials go."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pipelines.executors.connections import Registry
from pipelines.executors.oci import RegistryAway, RegistryClient, RegistryError, RegistryRefused, check

from . import registries
from .conftest import CREDENTIAL, QUICK, WRONG
from .registries import Proxy, Running, put_image, reply

BASIC = "Basic " + base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()


def test_reads_a_manifest_by_tag_and_by_digest(client: RegistryClient, running: Running) -> None:
    digest, config = put_image(running, "read/backend", "one", b"layer")
    found = client.manifest("read/backend", "one")
    assert found is not None
    assert (found.digest, found.config) == (digest, config)
    assert sorted(found.blobs.values()) == [len(b"{}"), len(b"layer")]
    assert client.manifest("read/backend", digest) == found
    assert client.manifest("read/backend", "two") is None
    assert client.manifest("read/nothing", "one") is None


def test_lists_tags(client: RegistryClient, running: Running) -> None:
    for tag in ("b", "c", "a"):
        put_image(running, "list/backend", tag, b"x")
    assert client.tags("list/backend") == ["a", "b", "c"]
    assert client.tags("list/nothing") == []


def test_lists_tags_page_by_page(proxy: Proxy, client: RegistryClient) -> None:
    """Debian's registry gives them all at once; others do not."""

    def pages(request: BaseHTTPRequestHandler) -> bool:
        if "/tags/list" not in request.path:
            return False
        if "last=b" in request.path:
            return reply(request, 200, b'{"tags": ["c"]}') is None
        following = '</v2/list/many/tags/list?n=500&last=b>; rel="next"'
        return reply(request, 200, b'{"tags": ["a", "b"]}', Link=following) is None

    proxy.meddle = pages
    assert client.tags("list/many") == ["a", "b", "c"]


def test_deletes_by_digest(client: RegistryClient, running: Running) -> None:
    digest, _ = put_image(running, "delete/backend", "one", b"x")
    assert client.delete("delete/backend", digest) is True
    assert client.manifest("delete/backend", digest) is None
    assert client.delete("delete/backend", digest) is False


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_passes_is_tried_again(proxy: Proxy, client: RegistryClient, status: int) -> None:
    left = [status, status]
    proxy.meddle = lambda request: bool(left) and reply(request, left.pop()) is None
    client.check_push("again/backend")
    assert left == []


def test_a_registry_that_stays_away_is_said_to_be(proxy: Proxy, client: RegistryClient) -> None:
    proxy.meddle = lambda request: reply(request, 503, b'{"errors": [{"code": "BUSY", "message": "later"}]}') is None
    with pytest.raises(RegistryAway, match="answers 503: BUSY: later"):
        client.ping()
    assert len(proxy.seen) == QUICK.tries


def test_retry_after_is_honoured(proxy: Proxy, client: RegistryClient) -> None:
    left = [1]
    proxy.meddle = lambda request: bool(left) and reply(request, 429, Retry_After=str(left.pop())) is None
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 1


def test_waiting_ends_when_somebody_wants_it_to(proxy: Proxy) -> None:
    proxy.meddle = lambda request: reply(request, 503, Retry_After="60") is None
    began = time.monotonic()
    with (
        RegistryClient(proxy.registry(), CREDENTIAL, stopping=lambda: bool(proxy.seen)) as client,
        pytest.raises(RegistryAway),
    ):
        client.ping()
    assert time.monotonic() - began < 20


def test_slowness_counts_as_away(proxy: Proxy) -> None:
    def slow(request: BaseHTTPRequestHandler) -> bool:
        time.sleep(0.5)
        return reply(request, 200) is None

    proxy.meddle = slow
    with (
        RegistryClient(proxy.registry(), patience=replace(QUICK, tries=2, timeout=0.1)) as client,
        pytest.raises(RegistryAway, match="timed out"),
    ):
        client.ping()


def test_nobody_there_is_away() -> None:
    address = f"127.0.0.1:{registries.free_port()}"
    with RegistryClient(Registry(address), patience=QUICK) as client, pytest.raises(RegistryAway, match=address):
        client.ping()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_final_and_names_the_credential(proxy: Proxy, status: int) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> bool:
        if not request.headers.get("Authorization"):
            return False
        return reply(request, status) is None

    proxy.meddle = refuse
    with (
        RegistryClient(proxy.registry(), CREDENTIAL, patience=QUICK) as client,
        pytest.raises(RegistryRefused) as caught,
    ):
        client.check_push("refused/backend")
    said = str(caught.value)
    assert f"{proxy.address} answered {status} when pushing" in said
    assert "the secrets 'user' and 'password' of team dev" in said
    assert ("set them again" if status == 401 else "have the account given the right") in said
    assert registries.PASSWORD not in said
    assert sum(bool(seen.authorization) for seen in proxy.seen) == 1


def test_a_wrong_password_is_refused_by_the_registry_itself(running: Running) -> None:
    with (
        RegistryClient(running.registry(), WRONG, patience=QUICK) as client,
        pytest.raises(RegistryRefused, match="401"),
    ):
        client.check_push("refused/backend")
    with (
        RegistryClient(running.registry(), patience=QUICK) as client,
        pytest.raises(RegistryRefused, match="no credential was given: name `secrets"),
    ):
        client.check_push("refused/backend")


def test_a_changed_manifest_is_found_out(proxy: Proxy, client: RegistryClient, running: Running) -> None:
    digest, _ = put_image(running, "changed/backend", "one", b"x")

    def change(request: BaseHTTPRequestHandler) -> bool:
        if "manifests" not in request.path:
            return False
        return reply(request, 200, b'{"schemaVersion": 2}', Docker_Content_Digest=digest) is None

    proxy.meddle = change
    for reference in ("one", digest):
        with pytest.raises(RegistryError, match="changes contents"):
            client.manifest("changed/backend", reference)


def test_a_redirect_to_another_host_gets_no_credential(
    proxy: Proxy, client: RegistryClient, running: Running, tmp_path: Path
) -> None:
    digest, _ = put_image(running, "moved/backend", "one", b"x")
    heard: list[str] = []

    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        heard.append(request.headers.get("Authorization", ""))
        reply(request, 404)

    with registries.https(running.folder, "elsewhere", elsewhere, "127.0.0.1") as port:
        other = f"https://127.0.0.1:{port}/blob"
        proxy.meddle = lambda request: (
            "manifests" in request.path and reply(request, 307, Location=other) is None
        )  # fmt: skip
        assert client.manifest("moved/backend", digest) is None
    assert heard == [""]
    assert BASIC in [seen.authorization for seen in proxy.seen]


def test_a_redirect_away_from_tls_is_refused(proxy: Proxy, client: RegistryClient) -> None:
    proxy.meddle = lambda request: (
        "manifests" in request.path and reply(request, 302, Location="http://127.0.0.1:1/x") is None
    )
    with pytest.raises(RegistryError, match="expected https"):
        client.manifest("moved/backend", "one")


# --- tokens -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[tuple[registries.TokenService, Running]]:
    if not registries.installed():
        pytest.skip(registries.MISSING)
    with (
        registries.token_service(tmp_path) as service,
        registries.serve(tmp_path, auth=service.auth()) as running,
    ):
        yield service, running


def test_a_token_service_that_is_listed_is_asked(tokens: tuple[registries.TokenService, Running]) -> None:
    service, running = tokens
    registry = running.registry(token_hosts=(service.address,))
    with RegistryClient(registry, CREDENTIAL, patience=QUICK) as client:
        client.check_push("shop/backend")
        given = client.engine_auth(["shop/frontend", "shop/backend"])
    assert list(given) == ["registrytoken"]
    payload = given["registrytoken"].split(".")[1]
    access = json.loads(base64.urlsafe_b64decode(payload + "==="))["access"]
    assert [(each["name"], each["actions"]) for each in access] == [
        ("shop/backend", ["pull", "push"]), ("shop/frontend", ["pull", "push"]),
    ]  # fmt: skip


def test_a_token_service_that_nobody_listed_gets_nothing(tokens: tuple[registries.TokenService, Running]) -> None:
    service, running = tokens
    with (
        RegistryClient(running.registry(), CREDENTIAL, patience=QUICK) as client,
        pytest.raises(RegistryError, match=f"wants a token from {service.address}.*add it to token_hosts"),
    ):
        client.check_push("shop/backend")
    assert service.seen == []


def test_a_token_that_ended_is_replaced(tokens: tuple[registries.TokenService, Running]) -> None:
    service, running = tokens
    ended: list[str] = []

    def end_the_first(request: BaseHTTPRequestHandler) -> bool:
        sent = request.headers.get("Authorization", "")
        if not sent or ended:
            return False
        ended.append(sent)
        return reply(request, 401) is None

    with (
        registries.proxy(running) as between,
        RegistryClient(between.registry(token_hosts=(service.address,)), CREDENTIAL, patience=QUICK) as client,
    ):
        between.meddle = end_the_first
        client.check_push("shop/backend")
    assert len(service.seen) == 2


def test_a_token_without_the_right_to_push_is_a_refusal(tokens: tuple[registries.TokenService, Running]) -> None:
    service, running = tokens
    service.allows = lambda _, action: action == "pull"
    registry = running.registry(token_hosts=(service.address,))
    with (
        RegistryClient(registry, CREDENTIAL, patience=QUICK) as client,
        pytest.raises(RegistryRefused, match="answered 401 when pushing /v2/shop/backend"),
    ):
        client.check_push("shop/backend")


def test_a_token_service_that_refuses_is_named(tokens: tuple[registries.TokenService, Running]) -> None:
    service, running = tokens
    registry = running.registry(token_hosts=(service.address,))
    with (
        RegistryClient(registry, WRONG, patience=QUICK) as client,
        pytest.raises(RegistryRefused, match=f"asking {service.address} for a token with the secrets 'user'"),
    ):
        client.check_push("shop/backend")


# --- the engines page ---------------------------------------------------------------------------------------------


def test_check_says_how_a_registry_is(running: Running, tokens: tuple[registries.TokenService, Running]) -> None:
    service, with_tokens = tokens
    assert check(running.registry()) == (
        True, f"The registry {running.address} answers and asks for a username and a password."
    )  # fmt: skip
    good, said = check(with_tokens.registry(token_hosts=(service.address,)))
    assert (good, service.address in said) == (True, True)
    assert check(with_tokens.registry())[0] is False
    untrusted, said = check(Registry(running.address))
    assert (untrusted, "name its file as `ca`" in said) == (False, True)
    away, said = check(Registry(f"127.0.0.1:{registries.free_port()}"))
    assert (away, "cannot be reached" in said) == (False, True)


def test_check_finds_one_without_tls(tmp_path: Path) -> None:
    from http.server import HTTPServer
    from threading import Thread

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        good, said = check(Registry(f"127.0.0.1:{server.server_address[1]}"))
        server.shutdown()
        thread.join(5)
    assert (good, "does not speak TLS" in said) == (False, True), said
