"""`build` with a real Docker Engine: what comes out, with which builder, from what, within which limits."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.executors.base import Artifact, Outcome
from tests.cluster.build_helpers import ABSENT, COMMIT, SHELL, Running, Site, config_of, processes, resetting
from tests.cluster.own_engine import BASE, OwnEngine
from tests.executors.conftest import eventually

pytestmark = pytest.mark.cluster


# --- one build --------------------------------------------------------------------------------------------


def test_output_comes_live_and_the_image_has_its_labels_layers_sizes_and_time(site: Site, engine: OwnEngine) -> None:
    files = {"Dockerfile": f"{SHELL}RUN echo first\nRUN sleep 2.5\nRUN head -c 5000000 /dev/zero > /big\n"}
    running = Running(site, site.spec(site.workspace(files)))
    eventually(lambda: running.has_said("first"), 30)
    assert not any(isinstance(event, Outcome) for event in running.events)
    result = running.result()
    assert result.outcome.state == "succeeded", result.outcome
    image = result.artifact
    assert image is not None
    assert (image.name, image.kind) == ("build-shop", "image")
    assert image.meta["component"] == "shop"
    assert [layer["size"] for layer in image.meta["layers"]][-1] == 5_000_000
    assert image.size == sum(layer["size"] for layer in image.meta["layers"])
    assert image.meta["seconds"] >= 2.5
    assert (image.meta["steps"], image.meta["cached"]) == (3, 0)
    assert "with BuildKit" in result.outcome.reason
    assert "5.0 MB  RUN head -c 5000000" in result.log
    assert result.progress[-1].done == result.progress[-1].total == 3
    inspected = engine.command("image", "inspect", image.digest).stdout.decode()
    assert json.loads(inspected)[0]["RepoTags"] == [image.meta["tag"]]
    labels = config_of(inspected)["Labels"]
    assert labels["org.opencontainers.image.revision"] == COMMIT
    assert (labels["burger-stack.run"], labels["burger-stack.pipeline"]) == ("7", "shop")


def test_the_same_commit_again_comes_from_the_cache_and_is_compared_with_the_last_release(site: Site) -> None:
    spec = site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN head -c 1000000 /dev/zero > /a\nRUN echo b > /b\n"}))
    first = site.build(spec, "k-1").artifact
    assert first is not None
    released = Artifact("build-shop", "image", first.digest, first.size - 900_000)
    again = site.build(site.spec(spec.artifacts["source"], released=released), "k-2")
    assert again.artifact is not None
    assert again.artifact.digest == first.digest
    assert again.artifact.meta["cached"] == 2
    assert "2 of 2 steps from the cache, 0.9 MB larger than in the last release" in again.outcome.reason
    assert again.outcome.data["before"] == released.size


def test_an_image_that_holds_the_same_as_the_last_release_keeps_its_digest(site: Site, engine: OwnEngine) -> None:
    """Labels name the commit, so each build would have another digest, and what runs it would be replaced."""
    files = {"Dockerfile": f"{SHELL}RUN echo same > /word\nUSER 1000\n"}
    spec = site.spec(site.workspace(files))
    released = site.build(spec).artifact
    later = replace(spec, commit="d" * 40, run=8, released=released)
    again = site.build(later, "k-2")
    assert again.artifact.digest == released.digest
    assert "The same as in the last release" in again.log
    assert again.artifact.meta["commit"] == "d" * 40
    tagged = engine.command("image", "inspect", "-f", "{{.Id}}", again.artifact.meta["tag"]).stdout
    assert tagged.decode().strip() == released.digest
    for text in (files["Dockerfile"].replace("same", "other"), files["Dockerfile"].replace("1000", "2000")):
        other = replace(site.spec(site.workspace({"Dockerfile": text})), commit="e" * 40, released=released)
        assert site.build(other, f"k-{len(text)}-{text[-3]}").artifact.digest != released.digest


def test_one_key_builds_once(site: Site) -> None:
    spec = site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN date +%N > /now\n"}))
    first, second = site.build(spec, "k-1"), site.build(spec, "k-1")
    assert first.artifact == second.artifact
    assert second.log == ""


def test_arguments_and_target(site: Site, engine: OwnEngine) -> None:
    text = f"{SHELL}ARG WORD=none\nRUN echo $WORD\nFROM ${{BASE}} AS middle\nRUN echo m > /m\nFROM middle\nRUN exit 3\n"
    spec = site.spec(site.workspace({"d/File": text}), dockerfile="d/File", target="middle", args={"BASE": BASE})
    assert site.build(spec).outcome.state == "succeeded"
    whole = site.build(site.spec(spec.artifacts["source"], dockerfile="d/File"), "k-2").outcome
    assert whole.state == "failed"
    assert "d/File failed at `RUN exit 3`" in whole.reason
    said = f"{SHELL}ARG WORD=none\nRUN echo the word is $WORD\n"
    assert (
        "the word is x y"
        in site.build(site.spec(site.workspace({"Dockerfile": said}), args={"WORD": "x y"}), "k-3").log
    )


# --- BuildKit or not --------------------------------------------------------------------------------------


def test_without_a_command_line_that_has_buildkit_the_classic_builder_is_used_and_says_so(
    engine: OwnEngine, tmp_path: Path
) -> None:
    refusing = tmp_path / "docker"
    refusing.write_text(
        "#!/bin/sh\necho 'ERROR: BuildKit is enabled but the buildx component is missing' >&2\nexit 1\n"
    )
    refusing.chmod(0o755)
    site = Site(tmp_path / "var", engine.host, cli=str(refusing))
    workspace = site.workspace(
        {"Dockerfile": f"{SHELL}COPY x /x\nRUN cat /x; sleep 1\nRUN echo done\n", "x": "hello\n"}
    )
    running = Running(site, site.spec(workspace))
    eventually(lambda: running.has_said("hello"), 30)
    result = running.result()
    assert result.outcome.state == "succeeded", result.outcome
    assert "Building with the SDK's classic builder. No command line here offers BuildKit" in result.log
    assert "buildx component is missing" in result.log
    assert "with the SDK's classic builder" in result.outcome.reason
    assert result.artifact is not None
    again = site.build(site.spec(workspace), "k-2")
    assert again.artifact is not None
    assert again.artifact.meta["cached"] > result.artifact.meta["cached"] == 0


def test_the_classic_builder_is_refused_a_secret_and_what_only_buildkit_reads(
    engine: OwnEngine, tmp_path: Path
) -> None:
    site = Site(tmp_path / "var", engine.host, cli=str(tmp_path / "none"))
    site.secret("token", "planted-value-1")
    workspace = site.workspace(
        {"Dockerfile": f"{SHELL}RUN echo x\n", "M": f"{SHELL}RUN --mount=type=cache,target=/c echo\n"}
    )
    outcome = site.build(site.spec(workspace, secrets={"token": "token"})).outcome
    assert outcome.state == "failed"
    assert "needs the secret token, and the SDK's classic builder could only hand it over in a layer" in outcome.reason
    outcome = site.build(site.spec(workspace, dockerfile="M"), "k-2").outcome
    assert outcome.state == "failed"
    assert "line 3 has RUN --mount" in outcome.reason


# --- secrets and certificates -----------------------------------------------------------------------------


def test_a_secret_reaches_its_step_and_is_in_no_layer_and_no_log(site: Site, engine: OwnEngine) -> None:
    value = "planted-Value-8217\nsecond-line-5521"
    site.secret("npm", value)
    text = f"{SHELL}RUN --mount=type=secret,id=npm cat /run/secrets/npm; sha256sum < /run/secrets/npm > /sum\n"
    result = site.build(site.spec(site.workspace({"Dockerfile": text}), secrets={"npm": "npm"}))
    assert result.outcome.state == "succeeded", result.outcome
    saved = _saved(engine, result.artifact)
    assert hashlib.sha256(value.encode()).hexdigest().encode() in saved
    for part in value.encode().splitlines():
        assert part not in saved
        assert part.decode() not in result.log
    assert "***" in result.log
    left = [path for path in site.home.rglob("*") if path.is_file() and path.name != "npm"]
    assert not [path for path in left if b"planted-Value" in path.read_bytes()]


def test_the_ca_bundle_of_the_machine_is_there_for_a_step_that_asks_and_in_no_layer(
    engine: OwnEngine, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nplantedcertificate0815\n-----END CERTIFICATE-----\n")
    site = Site(tmp_path / "var", engine.host, ca_bundle=str(bundle))
    text = f"{SHELL}RUN --mount=type=secret,id=ca,target=/run/ca.pem sha256sum /run/ca.pem\n"
    result = site.build(site.spec(site.workspace({"Dockerfile": text})))
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in result.log
    assert b"plantedcertificate" not in _saved(engine, result.artifact)


# --- the context ------------------------------------------------------------------------------------------


def test_a_context_ends_at_its_folder(site: Site) -> None:
    files = {
        "secret.txt": "outside",
        "c/f": "x",
        "c/Dockerfile": f"{SHELL}COPY out /\n",
        "c/Up": f"{SHELL}COPY ../secret.txt /\n",
    }
    workspace = site.workspace(files, links={"c/out": "../secret.txt"})
    for number, dockerfile in enumerate(("c/Dockerfile", "c/Up")):
        result = site.build(site.spec(workspace, dockerfile=dockerfile, context="c"), f"k-{number}")
        assert result.outcome.state == "failed", result.log
        assert "outside" not in result.log


# --- limits -----------------------------------------------------------------------------------------------


def test_memory_and_processors_are_limited_by_the_classic_builder_which_says_why(site: Site) -> None:
    text = (
        f"{SHELL}RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; "
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max; true\n"
        "RUN dd if=/dev/zero of=/dev/null bs=200M count=1\n"
    )
    result = site.build(site.spec(site.workspace({"Dockerfile": text}), limits={"memory": "64m", "cpus": 0.5}))
    assert "Only the classic builder holds a build to limits" in result.log
    assert str(64 * 2**20) in result.log
    assert "50000" in result.log
    assert result.outcome.state == "failed"
    assert "RUN dd" in result.outcome.reason


def test_limits_and_a_secret_together_are_refused(site: Site) -> None:
    site.secret("npm", "planted-value")
    workspace = site.workspace({"Dockerfile": SHELL})
    outcome = site.build(site.spec(workspace, limits={"memory": "64m"}, secrets={"npm": "npm"})).outcome
    assert outcome.state == "failed"
    assert "Leave out `limits`" in outcome.reason


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_a_build_that_takes_too_long_is_ended_with_all_that_it_runs(site: Site, limits: dict[str, object]) -> None:
    nap = f"7{time.monotonic_ns() % 10**7}.5"
    spec = site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN sleep {nap}\n"}), timeout=3.0, limits=limits)
    outcome = site.build(spec).outcome
    assert outcome.state == "failed"
    assert outcome.reason == "took longer than 3 s"
    eventually(lambda: not processes(nap), 20)


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_a_canceled_build_ends_with_all_that_it_runs(site: Site, limits: dict[str, object]) -> None:
    nap = f"8{time.monotonic_ns() % 10**7}.5"
    spec = site.spec(site.workspace({"Dockerfile": f"{SHELL}RUN sleep {nap}\n"}), limits=limits)
    running = Running(site, spec)
    eventually(lambda: processes(nap), 30)
    site.executor.cancel(spec, "k-1")
    assert running.result(20).outcome.state == "canceled"
    eventually(lambda: not processes(nap), 20)


# --- base images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_a_base_image_that_cannot_be_pulled_is_named_with_what_to_do(site: Site, limits: dict[str, object]) -> None:
    workspace = site.workspace({"Dockerfile": f"ARG BASE={ABSENT}\nFROM ${{BASE}} AS a\nRUN true\nFROM a\n"})
    outcome = site.build(site.spec(workspace, limits=limits)).outcome
    assert outcome.state == "failed"
    assert f"The image {ABSENT} (Dockerfile, line 2) is not in the engine and cannot be pulled" in outcome.reason
    assert "docker load" in outcome.reason
    assert "by the build argument BASE" in outcome.reason


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_a_step_that_fails_with_the_words_of_a_lost_engine_is_a_step_that_fails(
    site: Site, limits: dict[str, object]
) -> None:
    text = f"{SHELL}RUN echo 'error during connect: unexpected EOF, connection reset by peer' && no-such-program\n"
    outcome = site.build(site.spec(site.workspace({"Dockerfile": text}), limits=limits)).outcome
    assert outcome.state == "failed"
    assert "no-such-program" in outcome.reason


def test_a_registry_that_breaks_off_is_named_and_not_taken_for_the_engine(engine: OwnEngine, site: Site) -> None:
    with resetting() as port:
        text = f"FROM localhost:{port}/shop/base:1\nRUN true\n"
        outcome = site.build(site.spec(site.workspace({"Dockerfile": text}))).outcome
    assert outcome.state == "failed", outcome
    assert f"The image localhost:{port}/shop/base:1 (Dockerfile, line 1)" in outcome.reason
    assert "cannot be pulled" in outcome.reason


@pytest.mark.parametrize("limits", [{}, {"cpus": 1}], ids=["buildkit", "classic"])
def test_no_credential_goes_where_the_engine_speaks_plain_http(
    engine: OwnEngine, site: Site, limits: dict[str, object]
) -> None:
    site.secret("user", "somebody")
    site.secret("password", "a-password-of-ours")
    with resetting() as port:
        host = f"localhost:{port}"
        site.connect(engine.host, registries=[host])
        credential = {host: {"secrets": {"username": "user", "password": "password"}}}
        workspace = site.workspace({"Dockerfile": f"FROM {host}/shop/base:1\n"})
        result = site.build(site.spec(workspace, registries=credential, limits=limits))
    assert result.outcome.state == "failed"
    assert f"may speak plain http to {host}" in result.outcome.reason
    assert "Building with" not in result.log


def test_without_any_network_a_local_base_image_is_named_by_argument(engine: OwnEngine, tmp_path: Path) -> None:
    """By the stage, or by those who operate the machine."""
    text = f"ARG BASE={ABSENT}\nFROM ${{BASE}}\nRUN echo built in the air gap\n"
    site = Site(tmp_path / "var", engine.host)
    assert (
        "built in the air gap" in site.build(site.spec(site.workspace({"Dockerfile": text}), args={"BASE": BASE})).log
    )
    site.connect(engine.host, args={"BASE": BASE, "NOBODY_ASKS_FOR_THIS": "x"})
    spec = site.spec(site.workspace({"Dockerfile": text}))
    assert site.executor.plan(spec).details["args"] == {"BASE": BASE}
    assert site.build(spec, "k-2").outcome.state == "succeeded"


def _saved(engine: OwnEngine, image: Artifact | None) -> bytes:
    """Everything that leaves with an image: its layers unpacked, its configuration and history."""
    assert image is not None
    content = b""
    with tarfile.open(fileobj=io.BytesIO(engine.command("save", image.meta["tag"]).stdout)) as tar:
        for member in tar:
            if not member.isfile():
                continue
            data = tar.extractfile(member).read()  # type: ignore[union-attr]
            content += data
    assert content
    return content
