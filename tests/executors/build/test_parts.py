"""The parts of `build` that need no engine: what a stage says, what a Dockerfile says, what a builder says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Artifact, PlanError, StageSpec, Unattended, Workplace
from pipelines.executors.build import builders, order, scope, words
from pipelines.executors.build.builders import Builder
from pipelines.executors.build.dockerfile import read
from pipelines.executors.build.engine import Engine, EngineAwayError, Image, Layer
from pipelines.executors.build.executor import BuildExecutor
from pipelines.executors.build.settings import settings_of
from pipelines.executors.build.steps import Steps, load, save
from pipelines.executors.connections import Docker
from pipelines.executors.store import Store

DOCKER = Docker()
FILE = """\
# syntax=docker/dockerfile:1
ARG PYTHON=python:3.11
ARG TAG
FROM ${PYTHON} AS build
ARG WORD
RUN --mount=type=bind,from=tools:2,target=/t <<EOF
FROM nothing
EOF
FROM debian:${TAG:-bookworm} AS other
COPY --from=build /a /a
COPY --from=0 /a /a
COPY --from=busybox:1 /b /b
FROM build
FROM scratch
"""


@pytest.fixture
def workspace(workplace: Workplace, tmp_path: Path) -> Callable[..., Artifact]:
    def make(files: dict[str, str], links: dict[str, str] | None = None) -> Artifact:
        tree = tmp_path / "tree"
        for name, text in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        for name, target in (links or {}).items():
            (tree / name).symlink_to(target)
        digest, size = Store(workplace.home).pack(tree)
        return Artifact("source", "workspace", digest, size)

    return make


@pytest.fixture
def stage(spec: Callable[..., StageSpec], workspace: Callable[..., Artifact]) -> Callable[..., StageSpec]:
    def make(files: dict[str, str] | None = None, links: dict[str, str] | None = None, **with_: Any) -> StageSpec:
        found = workspace({"Dockerfile": "FROM scratch\n"} if files is None else files, links)
        return spec(kind="build", stage="build-shop", ref="refs/heads/main", with_=with_, artifacts={"source": found})

    return make


# --- what a Dockerfile says -------------------------------------------------------------------------------


def test_a_dockerfile_names_its_bases_with_the_arguments_that_choose_them() -> None:
    facts = read(FILE, {"PYTHON": "registry.example/python@sha256:1"})
    assert [(base.image, base.line, base.argument) for base in facts.bases] == [
        ("registry.example/python@sha256:1", 4, "PYTHON"),
        ("tools:2", 6, ""),
        ("debian:bookworm", 9, "TAG"),
        ("busybox:1", 12, ""),
    ]
    assert facts.arguments == {"PYTHON", "TAG", "WORD"}
    assert facts.targets == {"build", "other"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (FILE, "line 1 asks for the frontend docker/dockerfile:1"),
        ("FROM a\nRUN --mount=type=cache,target=/c true", "line 2 has RUN --mount"),
        ("FROM a\nRUN <<X\ntrue\nX\n", "line 2 has a heredoc"),
        ("FROM a\nCOPY --chmod=755 a /", "line 2 has COPY --chmod"),
        ("FROM a\nRUN a \\\n  # a remark\n  b\nUSER 1", ""),
        ("# escape=`\nFROM a\nRUN a `\n  --mount=b\n", ""),
        ("FROM a\nRUN echo $((1<<4)) && cat <<<word && echo ' <<X ' \\<<X\nFROM b AS c\n", ""),
        ('FROM a\nRUN ["cat", "<<X"]\n', ""),
        ("FROM a\nRUN 3<<-'X' cat\n\tX\nRUN --mount=x\n", "line 2 has a heredoc"),
    ],
)
def test_what_needs_buildkit_is_named_with_its_line(text: str, why: str) -> None:
    assert read(text, {}).buildkit == why


def test_what_only_looks_like_a_heredoc_hides_no_stage() -> None:
    facts = read(
        "FROM a AS b\nRUN echo $((1<<4)) <<<b\nCOPY <<X <<-Y /\nFROM no\nX\nFROM no\n\tY\nFROM c AS runtime\n", {}
    )
    assert facts.targets == {"b", "runtime"}
    assert [base.image for base in facts.bases] == ["a", "c"]


# --- what a stage says ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("with_", "said"),
    [
        ({"dockerfile": "../Dockerfile"}, "path inside the repository"),
        ({"dockerfile": "/etc/passwd"}, "path inside the repository"),
        ({"context": "a/../../b"}, "path inside the repository"),
        ({"context": "a\\..\\b"}, "path inside the repository"),
        ({"component": "Shop_1"}, "small letters"),
        ({"args": {"BUILDKIT_CACHE_MOUNT_NS": "x"}}, "kept for the engine"),
        ({"args": {"A B": "x"}}, "cannot be a build argument"),
        ({"secrets": {"a,src=/etc/shadow": "x"}}, "cannot stand in `secrets`"),
        ({"target": "--x"}, "cannot stand in `target`"),
        ({"cache_from": ["type=local,src=/"]}, "cannot stand in `cache_from`"),
        ({"cache_from": "x"}, "list of images"),
        ({"registries": {"h": {"secrets": {"username": "u"}}}}, "username: REFERENCE, password: REFERENCE"),
        ({"limits": {"memory": "2"}}, "such as 512m or 2g"),
        ({"limits": {"memory": "1m"}}, "at least 32m"),
        ({"limits": {"cpus": "0"}}, "such as 0.5 or 2"),
        ({"limits": {"disk": "1"}}, "memory and cpus"),
    ],
)
def test_settings_that_cannot_be_are_refused(spec: Callable[..., StageSpec], with_: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match="Stage stage") as refused:
        settings_of(spec(kind="build", with_=with_))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("links", "with_", "said"),
    [
        ({"D": "d/Dockerfile"}, {"dockerfile": "D"}, "through D, which is a link to d/Dockerfile"),
        ({"l": "d"}, {"dockerfile": "l/Dockerfile"}, "through l, which is a link to d"),
        ({"l": "d"}, {"context": "l", "dockerfile": "d/Dockerfile"}, "`context` leads through l"),
        ({}, {"dockerfile": "d"}, "no file d"),
        ({}, {"dockerfile": "d/Dockerfile", "context": "nowhere"}, "no folder of the commit"),
        ({}, {"dockerfile": "d/Dockerfile", "target": "x"}, "no stage 'x'; it has none"),
        ({}, {"dockerfile": "d/Open"}, "Give the build argument BASE"),
    ],
)
def test_what_leads_out_or_is_not_there_is_refused_before_anything_is_built(
    workplace: Workplace, stage: Callable[..., StageSpec], links: dict[str, str], with_: dict[str, Any], said: str
) -> None:
    files = {"d/Dockerfile": "FROM scratch\n", "d/Open": "ARG BASE\nFROM ${BASE}\n"}
    spec = stage(files, links, component="shop", **with_)
    executor = BuildExecutor(workplace)
    with pytest.raises(PlanError) as refused:
        executor.plan(spec)
    assert said in str(refused.value)
    *_, outcome = executor.start(spec, "k-1", Unattended())
    assert outcome.state == "error"  # type: ignore[union-attr]
    assert said in outcome.reason  # type: ignore[union-attr]


def test_the_same_plan_has_the_same_digest_and_names_what_it_is_built_from(
    workplace: Workplace, stage: Callable[..., StageSpec]
) -> None:
    workplace.home.mkdir(parents=True)
    (workplace.home / "connections.yaml").write_text("docker: {args: {BASE: 'x:1', OTHER: y}, host: unix:///nowhere}\n")
    spec = stage({"Dockerfile": "ARG BASE\nFROM ${BASE}\n"}, component="shop", limits={"memory": "1g"})
    plan = BuildExecutor(workplace).plan(spec)
    assert plan.digest == BuildExecutor(workplace).plan(spec).digest
    assert plan.summary == f"build the image of shop from commit {spec.commit[:12]}"
    assert plan.details["bases"] == ["x:1"]
    assert plan.details["args"] == {"BASE": "x:1"}
    assert plan.digest != BuildExecutor(workplace).plan(replace(spec, with_={**spec.with_, "args": {"A": "1"}})).digest


def test_a_credential_is_only_for_registries_that_the_installation_lists(
    workplace: Workplace, stage: Callable[..., StageSpec]
) -> None:
    workplace.home.mkdir(parents=True)
    known = workplace.home / "connections.yaml"
    known.write_text("registries: {'registry.example:5000': {}}\n")
    credential = {"secrets": {"username": "u", "password": "p"}}
    spec = stage(registries={"registry.example:5000": credential, "elsewhere.example": credential})
    with pytest.raises(PlanError, match=r"elsewhere\.example is none of registry\.example:5000\. Add it there"):
        BuildExecutor(workplace).plan(spec)
    known.write_text("registries: {'registry.example:5000': {}, elsewhere.example: {}}\n")
    assert set(BuildExecutor(workplace).plan(spec).details["registries"]) == {
        "registry.example:5000",
        "elsewhere.example",
    }


def test_a_bundle_that_is_not_there_is_said(workplace: Workplace, stage: Callable[..., StageSpec]) -> None:
    workplace.home.mkdir(parents=True)
    (workplace.home / "connections.yaml").write_text("docker: {ca_bundle: ca.pem}\n")
    with pytest.raises(PlanError, match=r"ca\.pem, which is no file"):
        BuildExecutor(workplace).plan(stage())


# --- who builds -------------------------------------------------------------------------------------------


def test_command_lines_are_found_by_trying(tmp_path: Path) -> None:
    def cli(name: str, script: str) -> Docker:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return Docker(cli=str(path))

    buildx = cli("x", '[ "$1" = buildx ] && echo "github.com/docker/buildx v0.17"')
    assert builders.find(buildx) == Builder("buildx", buildx.cli)
    old = 'case "$1" in buildx) exit 1;; --version) echo "Docker version 20.10.24";; build) echo "--iidfile";; esac'
    assert builders.find(cli("old", old)).kind == "buildkit"
    new = '[ "$1" = --version ] || { echo "ERROR: the buildx component is missing" >&2; exit 1; }'
    refusing = builders.find(cli("new", new))
    assert refusing.kind == "classic"
    assert "the buildx component is missing" in refusing.tried[0]
    assert "cannot be started" in builders.find(Docker(cli=str(tmp_path / "none"))).tried[0]


def test_the_command_line_of_a_build(workplace: Workplace, stage: Callable[..., StageSpec], tmp_path: Path) -> None:
    spec = stage(component="shop", target="t", args={"A": "1"}, cache_from=["h/i:1"], secrets={"npm": "r"})
    found = order.Order(
        spec=spec, settings=settings_of(spec), docker=Docker(ca_bundle=Path("/ca.pem")), args={"A": "1"},
        scope=scope.Scope("name", "burger-stack/shop/trusted/shop", True), tree=Path("/tree"), image=Path("/image"),
        tag="burger-stack/shop/trusted/shop:k-1", secrets={"npm": "value"},
    )  # fmt: skip
    assert order.command(found, Builder("buildkit", "/bin/docker")) == [
        "/bin/docker", "build", "--progress=plain", "--file", "/tree/Dockerfile",
        "--tag", "burger-stack/shop/trusted/shop:k-1", "--iidfile", "/image",
        "--label", "burger-stack.component=shop", "--label", "burger-stack.pipeline=shop",
        "--label", "burger-stack.run=7", "--label", "burger-stack.stage=build-shop",
        "--label", f"org.opencontainers.image.revision={spec.commit}",
        "--build-arg", "A=1", "--build-arg", "BUILDKIT_CACHE_MOUNT_NS=name",
        "--add-host", "name.build-cache.invalid:127.0.0.1",
        "--build-arg", "BUILDKIT_INLINE_CACHE=1", "--cache-from", "h/i:1", "--target", "t",
        "--secret", "id=npm,env=BURGER_BUILD_SECRET_0", "--secret", "id=ca,src=/ca.pem", "/tree",
    ]  # fmt: skip
    assert order.command(found, Builder("buildx", "d"))[:4] == ["d", "buildx", "build", "--load"]
    env = order.env(found, Builder("buildkit", "d"), workplace.home, tmp_path / "own")
    assert env["BURGER_BUILD_SECRET_0"] == "value"
    assert env["DOCKER_BUILDKIT"] == "1"


def test_a_cache_belongs_to_a_pipeline_and_to_whether_the_ref_is_trusted(
    workplace: Workplace, stage: Callable[..., StageSpec], tmp_path: Path
) -> None:
    spec = stage()

    def name(home: Path = workplace.home, docker: Docker = DOCKER, **changes: Any) -> str:
        return scope.scope_of(home, docker, replace(spec, **changes), "shop").name

    assert name() == name(ref="refs/tags/v1") == name(ref="refs/heads/release/2")
    assert len({name(), name(ref="refs/heads/x"), name(ref=""), name(pipeline="other"), name(home=tmp_path / "b")}) == 4
    assert name(ref="refs/heads/x", docker=Docker(trusted_refs=("refs/heads/*",))) == name()
    names = ("shop-x", "shop--x", "Shop-x", "shop_x")
    found = [scope.scope_of(workplace.home, DOCKER, replace(spec, pipeline=one), "shop").repository for one in names]
    assert len(set(found)) == 4
    assert found[0] == "burger-stack/shop-x/trusted/shop"
    assert (workplace.home / "build-cache.key").stat().st_mode & 0o777 == 0o600


def test_an_engine_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineAwayError, match=r"none\.sock does not answer .* Start it"):
        Engine(f"unix://{tmp_path}/none.sock").ping()


# --- what a builder says ----------------------------------------------------------------------------------

BUILDKIT = """\
#3 [internal] load metadata for docker.io/library/debian:12
#3 DONE 0.0s
#4 [build 1/3] FROM docker.io/library/debian:12
#4 CACHED
#5 [build 2/3] RUN one
#5 CACHED
#6 [stage-1 1/2] COPY --from=build /a /
#7 [build 3/3] RUN two
#7 0.2 ERROR: in what it runs
#7 DONE 1.2s
"""


def test_steps_are_counted_without_base_images_and_twice_read_is_once_counted(tmp_path: Path) -> None:
    steps = Steps()
    assert steps.feed(BUILDKIT)
    assert not steps.feed(BUILDKIT)
    assert steps.counted() == (2, 1, 4)
    save(steps, tmp_path / "steps.json")
    again = load(tmp_path / "steps.json")
    assert again == steps
    again.finish()
    assert again.counted()[:2] == (3, 1)
    assert load(tmp_path / "none.json") == Steps()


def test_a_page_is_told_the_last_steps_with_how_long_they_took() -> None:
    steps = Steps()
    steps.feed("#5 [build 1/4] FROM python\n#6 [build 2/4] RUN one\n#6 CACHED\n#7 [build 3/4] RUN two\n#7 DONE 1.5s\n")
    steps.feed("#8 [build 4/4] RUN three\n")
    assert steps.told() == [
        {"what": "RUN one", "stage": "build", "state": "cached", "seconds": 0.0},
        {"what": "RUN two", "stage": "build", "state": "done", "seconds": 1.5},
        {"what": "RUN three", "stage": "build", "state": "running", "seconds": 0.0},
    ]
    steps.feed("".join(f"#{n} [build 4/4] RUN {'x' * 500}\n" for n in range(9, 200)))
    assert len(steps.told()) == 40
    assert len(steps.told()[-1]["what"]) == 160


def test_what_went_wrong_is_read_from_either_builder() -> None:
    kit, classic = Steps(), Steps()
    kit.feed(f"{BUILDKIT}#8 [build 4/4] RUN three\n#8 ERROR: executor failed running [three]: exit code: 3\n")
    assert (kit.failed, kit.said) == ("RUN three", "executor failed running [three]: exit code: 3")
    classic.feed("Step 1/2 : FROM gone:1\nERROR: pull access denied for gone\n")
    assert (classic.missing, classic.said) == ("gone:1", "pull access denied for gone")
    kit.feed("#9 [internal] load metadata for registry.example/x:1\n#9 ERROR: not found\n")
    assert kit.missing == "registry.example/x:1"
    for line in (
        'ERROR: failed to solve: r:1/x: failed to do request: Head "https://r:1/v2/x": read: connection reset by peer',
        "#8 ERROR: failed to copy: httpReadSeeker: failed open: unexpected EOF",
        "#8 ERROR: process \"/bin/sh -c echo 'unexpected EOF' && no\" did not complete successfully: exit code: 127",
        "failed to solve: rpc error: code = Unknown desc = executor failed running [echo broken pipe]: exit code: 1",
    ):
        others = Steps()
        others.feed(f"{line}\n")
        assert not others.lost, line
    for line in (
        'error during connect: Post "http://%2Frun%2Fdocker.sock/v1.41/build": EOF',
        "ERROR: Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?",
        "ERROR: failed to build: read unix @->/run/docker.sock: read: connection reset by peer",
    ):
        away = Steps()
        away.feed(f"{line}\n")
        assert away.lost, line
    lost = Steps()
    lost.feed("#8 0.1 error reading from server: EOF\n")
    assert not lost.lost
    lost.feed("failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF\n")
    assert lost.lost


def test_a_summary_compares_with_the_release() -> None:
    image = Image("sha256:1", 12_000_000, (Layer(12_000_000, "COPY"),))
    text = words.summary(image, Steps(), 3.04, Artifact("b", "image", "sha256:0", 10_000_000))
    assert text == "12.0 MB in 1 layer, 3.0 s, 0 of 0 steps from the cache, 2.0 MB larger than in the last release"
    assert words.against(10_000_000, 10_000_001) == "as large as in the last release"
