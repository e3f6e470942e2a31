"""`slug`: the same commit built twice is the same thing."""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Artifact, PlanError, Unattended, Workplace
from pipelines.executors.slug import SlugExecutor

from .conftest import MARK, eventually, marked, python, read_json

COMMIT = "c" * 40


@pytest.fixture
def slug(workplace: Workplace) -> SlugExecutor:
    return SlugExecutor(workplace)


@pytest.fixture
def build(spec: Callable[..., Any], slug: SlugExecutor, tmp_path: Path) -> Callable[..., Any]:
    """A stage that builds the component `backend` from a small workspace."""
    tree = tmp_path / "workspace"
    (tree / "app").mkdir(parents=True)
    (tree / "app" / "main.py").write_text("print('hello')\n")
    (tree / "README.md").write_text("read me\n")
    digest, size = slug.store.pack(tree)
    workspace = Artifact("source", "workspace", digest, size, {"commit": COMMIT})

    def stage(**with_: Any) -> Any:
        return spec(kind="slug", stage="backend", artifacts={"source": workspace}, with_=with_)

    return stage


def names(slug: SlugExecutor, artifact: Artifact) -> list[str]:
    with tarfile.open(slug.store.path(artifact.digest)) as tar:
        return tar.getnames()


def read(slug: SlugExecutor, artifact: Artifact, name: str) -> str:
    with tarfile.open(slug.store.path(artifact.digest)) as tar:
        return tar.extractfile(name).read().decode()


def test_packs_the_tree_as_it_is_without_a_command(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    outcome, (artifact,), _ = carry_out(slug, build())
    assert outcome.state == "succeeded"
    assert (artifact.name, artifact.kind) == ("backend", "slug")
    assert artifact.meta == {"component": "backend", "files": 2, "commit": COMMIT}
    assert artifact.size == slug.store.verify(artifact.digest)


def test_builds_chooses_and_packs(slug: SlugExecutor, build: Any, carry_out: Any, workplace: Workplace) -> None:
    script = ["from pathlib import Path", "Path('dist').mkdir()"]
    script += ["Path('dist/out.txt').write_text('built')", "Path('dist/out.map').touch()", "print('working')"]
    stage = build(command=python(*script), output="dist", exclude=["*.map"], component="web")
    outcome, (artifact,), said = carry_out(slug, stage)
    assert outcome.state == "succeeded"
    assert "working\n" in said
    assert names(slug, artifact) == ["out.txt"]
    assert artifact.meta["component"] == "web"
    assert sorted(path.name for path in workplace.folder("k-1").iterdir()) == ["process", "result.json"]


def test_the_same_commit_built_twice_has_one_digest(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    script = (
        "import os, sys, time, random",
        "for number, name in enumerate({'one', 'two', 'three', 'four'}):",
        "    with open(name, 'w') as file: file.write(os.environ['SOURCE_DATE_EPOCH'] + str(hash(name)))",
        "    os.utime(name, (random.random() * 1e9, time.time()))",
        "os.makedirs('app/__pycache__'); open(f'app/__pycache__/{time.time_ns()}.pyc', 'w').close()",
        "os.umask(0o077 if random.random() > 0.5 else 0o002); open('five', 'w').close()",
    )
    stage = build(command=python(*script))
    _, (first,), _ = carry_out(slug, stage, "k-1")
    _, (second,), _ = carry_out(slug, stage, "k-2-elsewhere")
    assert first == second


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package with a command and a module, as a file that installers take without a network."""
    path = tmp_path / "wheels" / "greeting-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "greeting-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("greeting.py", "def main():\n    print('hello')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ngreet = greeting:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_installed_dependencies_are_reproducible(slug: SlugExecutor, build: Any, carry_out: Any, wheel: Path) -> None:
    argv = [
        "uv",
        "pip",
        "install",
        "--python",
        sys.executable,
        "--no-index",
        "--find-links",
        str(wheel.parent),
    ]
    stage = build(command=[*argv, "--target", "vendor", "greeting==1.0"])
    outcome, (first,), said = carry_out(slug, stage, "k-1")
    assert outcome.state == "succeeded", said
    _, (second,), said = carry_out(slug, stage, "k-2-elsewhere")
    assert first == second
    assert "vendor/greeting.py" in names(slug, first)
    assert "hold the path" not in said


def test_a_build_that_names_its_folder_is_told_so(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    _, _, said = carry_out(slug, build(command=["sh", "-c", "pwd > where"]))
    assert "where and 0 other files hold the path of the build folder" in said


def test_the_environment_is_the_same_everywhere(
    slug: SlugExecutor, build: Any, carry_out: Any, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SECRET_KEY", "planted")
    monkeypatch.setenv("https_proxy", "http://user:planted-too@proxy:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/company.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example.org/simple")
    monkeypatch.setenv("UV_CACHE_DIR", "/nowhere")
    script = (
        "import os, json",
        "json.dump(dict(os.environ), open('env.json', 'w'))",
        "print(os.environ['https_proxy'])",
    )
    _, (artifact,), said = carry_out(slug, build(command=python(*script), env={"MINE": "yes"}))
    found = json.loads(read(slug, artifact, "env.json"))
    attempt = workplace.folder("k-1")
    assert found.pop("BURGER_PROCESS")
    passed = {name for name in found if name.lower().endswith("_proxy") or name.startswith(("PIP_", "UV_"))}
    assert {"https_proxy", "PIP_INDEX_URL"} <= passed
    assert {
        name: value for name, value in found.items() if name not in passed | {"SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
    } == {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(attempt / "home"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SSL_CERT_FILE": "/etc/company.pem",
        "MINE": "yes",
    }
    assert found["UV_CACHE_DIR"] == str(workplace.home / "cache" / "uv")
    assert "http://user:***@proxy:3128" in said


def test_a_failed_build_says_so_and_packs_nothing(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    outcome, made, said = carry_out(slug, build(command=["sh", "-c", "echo broken; exit 3"]))
    assert (outcome.state, outcome.reason, made) == ("failed", "exit code 3", [])
    assert said == "broken\n"


def test_a_missing_output_folder_fails(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    outcome, _, _ = carry_out(slug, build(command=["true"], output="dist"))
    assert (outcome.state, outcome.reason) == (
        "failed",
        "The build made no folder 'dist', which `output` says is to be packed.",
    )


def test_an_output_folder_that_leads_away_is_not_packed(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    outcome, made, _ = carry_out(slug, build(command=["ln", "-s", "/etc", "dist"], output="dist"))
    assert (outcome.state, made) == ("failed", [])


def test_a_missing_workspace_content_is_an_error(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    stage = build()
    slug.store.path(stage.artifacts["source"].digest).unlink()
    outcome, _, _ = carry_out(slug, stage)
    assert outcome.state == "error"
    assert "Run the stage that makes it again" in outcome.reason


def waiting_build(build: Any, tmp_path: Path, mark: str) -> Any:
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    script = f"echo one >> {tmp_path}/count; echo begun; {wait}; echo built > out"
    return build(command=["sh", "-c", script], env={MARK: mark})


def test_the_build_outlives_a_killed_worker(
    slug: SlugExecutor, build: Any, carry_out: Any, worker: Any, tmp_path: Path, mark: str
) -> None:
    stage = waiting_build(build, tmp_path, mark)
    first = worker(slug, stage, "k-1")
    assert "begun" in first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert slug.probe(stage, "k-1").state == "running"
    (tmp_path / "go").touch()
    outcome, (artifact,), _ = carry_out(slug, stage, "k-1")
    assert outcome.state == "succeeded"
    assert "out" in names(slug, artifact)
    assert (tmp_path / "count").read_text() == "one\n"
    assert slug.probe(stage, "k-1").state == "done"
    assert carry_out(slug, stage, "k-1")[:2] == (outcome, [artifact])


def test_a_build_whose_keeper_was_killed_begins_again(
    slug: SlugExecutor,
    build: Any,
    carry_out: Any,
    worker: Any,
    tmp_path: Path,
    mark: str,
    workplace: Workplace,
) -> None:
    stage = waiting_build(build, tmp_path, mark)
    first = worker(slug, stage, "k-1")
    assert "begun" in first.stdout.readline()
    first.kill()
    first.wait()
    os.kill(read_json(workplace.folder("k-1") / "process" / "pid.json")["pid"], signal.SIGKILL)
    eventually(lambda: slug.probe(stage, "k-1").state == "never_started")
    (tmp_path / "go").touch()
    assert carry_out(slug, stage, "k-1")[0].state == "succeeded"


def test_cancel_from_another_process_ends_the_build(
    slug: SlugExecutor, build: Any, worker: Any, tmp_path: Path, mark: str
) -> None:
    stage = waiting_build(build, tmp_path, mark)
    first = worker(slug, stage, "k-1")
    assert "begun" in first.stdout.readline()
    slug.cancel(stage, "k-1")
    assert marked(mark) == []
    assert "state='canceled'" in first.stdout.read()


def test_stopping_ends_the_build(slug: SlugExecutor, build: Any, carry_out: Any, tmp_path: Path, mark: str) -> None:
    stage = waiting_build(build, tmp_path, mark)
    control = Unattended(stop=lambda: (tmp_path / "count").exists())
    outcome, made, _ = carry_out(slug, stage, "k-1", control)
    assert (outcome.state, made) == ("canceled", [])
    assert marked(mark) == []


@pytest.mark.parametrize(
    ("with_", "words"),
    [
        ({"command": "make"}, "`command` has to be a list of texts"),
        ({"command": [1]}, "`command` has to be a list of texts"),
        ({"include": "**"}, "`include` has to be a list of globs"),
        ({"output": "../out"}, "`output` has to be a folder inside the tree"),
        ({"output": "/etc"}, "`output` has to be a folder inside the tree"),
        ({"env": ["A"]}, "`env` has to be a mapping"),
    ],
)
def test_bad_settings_are_plan_errors(slug: SlugExecutor, build: Any, with_: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        slug.plan(build(**with_))


def test_needs_exactly_one_workspace(slug: SlugExecutor, spec: Any) -> None:
    with pytest.raises(PlanError, match="needs exactly one workspace, found 0"):
        slug.plan(spec(kind="slug"))


def test_the_plan_changes_with_what_would_be_built(slug: SlugExecutor, build: Any, carry_out: Any) -> None:
    plan = slug.plan(build(command=["make"], env={"A": "1", "B": "2"}))
    assert plan.digest == slug.plan(build(env={"B": "2", "A": "1"}, command=["make"])).digest
    for other in (
        build(command=["make", "x"], env={"A": "1", "B": "2"}),
        build(command=["make"], env={"A": "2"}),
    ):
        assert slug.plan(other).digest != plan.digest
    assert plan.artifacts["source"].startswith("sha256:")
