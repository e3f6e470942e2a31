"""`source`: the commit as committed, and nothing that a repository or an address smuggles in."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.attempt import STANDARD_PATH, WorkFailedError
from pipelines.executors.base import PlanError, Unattended, Workplace
from pipelines.executors.mirror import Mirror, checked_path
from pipelines.executors.source import (
    RefusedInputError,
    SourceExecutor,
    check_address,
    check_commit,
    check_ref,
)
from pipelines.executors.store import Store

from .conftest import Repository, eventually, read_json


@pytest.fixture
def source(workplace: Workplace) -> SourceExecutor:
    return SourceExecutor(workplace)


@pytest.fixture
def fetch(spec: Callable[..., Any], repository: Repository) -> Callable[..., Any]:
    """A stage that fetches a commit of the repository."""

    def stage(commit: str, **changes: Any) -> Any:
        given = {"repository": str(repository.folder), "commit": commit, "kind": "source", "stage": "source"}
        return spec(**given | changes)

    return stage


@pytest.fixture
def slow_git(tmp_path: Path) -> Path:
    """A folder with a git whose fetch waits for the file `go` in it, and counts in `count`."""
    folder = tmp_path / "slow"
    folder.mkdir()
    real = shutil.which("git")
    (folder / "git").write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = fetch ]; then echo one >> {folder}/count; '
        f"until [ -e {folder}/go ]; do sleep 0.05; done; fi\n"
        f'exec {real} "$@"\n'
    )
    (folder / "git").chmod(0o755)
    return folder


def test_brings_the_tree_of_the_commit(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, tmp_path: Path
) -> None:
    repository.commit({"manage.py": "first\n", "gone.txt": "x"})
    (repository.folder / "gone.txt").unlink()
    (repository.folder / "run.sh").write_text("#!/bin/sh\n")
    (repository.folder / "run.sh").chmod(0o755)
    (repository.folder / "link").symlink_to("manage.py")
    commit = repository.commit({"manage.py": "second\n", "a b/ü.txt": "ü"})
    repository.commit({"manage.py": "third\n"})
    outcome, (workspace,), _ = carry_out(source, fetch(commit))
    assert outcome.state == "succeeded"
    assert (workspace.name, workspace.kind) == ("source", "workspace")
    assert workspace.meta == {"commit": commit, "tree": repository.git("rev-parse", f"{commit}^{{tree}}")}
    source.store.unpack(workspace.digest, tmp_path / "tree")
    found = sorted(str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*"))
    assert found == ["a b", "a b/ü.txt", "link", "manage.py", "run.sh"]
    assert (tmp_path / "tree/manage.py").read_text() == "second\n"
    assert (tmp_path / "tree/run.sh").stat().st_mode & stat.S_IXUSR
    assert (tmp_path / "tree/link").readlink() == Path("manage.py")


def test_the_same_commit_has_the_same_digest_and_is_fetched_once(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any
) -> None:
    commit = repository.commit({"file": "x"})
    _, first, said = carry_out(source, fetch(commit), "k-1")
    assert "fetching" in said
    repository.folder.rename(repository.folder.with_name("away"))
    _, second, said = carry_out(source, fetch(commit), "k-2")
    assert (first, said) == (second, "")


def test_nothing_stays_in_the_attempts_folder_but_its_result(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, workplace: Workplace
) -> None:
    commit = repository.commit({"file": "x"})
    first = carry_out(source, fetch(commit), "k-1")
    assert sorted(path.name for path in workplace.folder("k-1").iterdir()) == ["process", "result.json"]
    outcome, made, _ = carry_out(source, fetch(commit), "k-1")
    assert (outcome, made) == first[:2]
    assert source.probe(fetch(commit), "k-1").state == "done"


def test_no_hook_filter_or_attribute_has_a_say(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, tmp_path: Path
) -> None:
    attributes = "*.txt filter=evil ident\nhidden.txt export-ignore\n*.md export-subst text eol=crlf\n"
    files = {".gitattributes": attributes, "a.txt": "$Id$\n", "hidden.txt": "h\n", "b.md": "$Format:%H$\n"}
    commit = repository.commit(files)
    for name in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        hook = repository.folder / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
    repository.git("config", "filter.evil.smudge", f"touch {tmp_path}/ran")
    repository.git("config", "core.fsmonitor", f"touch {tmp_path}/ran")
    _, (workspace,), _ = carry_out(source, fetch(commit))
    source.store.unpack(workspace.digest, tmp_path / "tree")
    assert {path.name: path.read_text() for path in (tmp_path / "tree").iterdir()} == files
    assert not (tmp_path / "ran").exists()


def test_the_users_git_configuration_is_not_read(
    source: SourceExecutor,
    fetch: Any,
    repository: Repository,
    carry_out: Any,
    monkeypatch: Any,
    tmp_path: Path,
) -> None:
    commit = repository.commit({"file": "x"})
    (tmp_path / ".gitconfig").write_text('[url "/nowhere/"]\n\tinsteadOf = /\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert carry_out(source, fetch(commit))[0].state == "succeeded"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "sub/../../outside"])
def test_a_link_out_of_the_workspace_fails(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, target: str
) -> None:
    (repository.folder / "link").symlink_to(target)
    outcome, made, _ = carry_out(source, fetch(repository.commit({"file": "x"})))
    assert (outcome.state, made) == ("failed", [])
    assert f"The link link leads to {target}" in outcome.reason


def test_a_submodule_is_named_and_left_out(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any
) -> None:
    inner = repository.commit({"file": "x"})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{inner},vendor/lib")
    repository.git("commit", "--quiet", "--message", "submodule")
    commit = repository.git("rev-parse", "HEAD")
    outcome, made, said = carry_out(source, fetch(commit))
    assert (outcome.state, len(made)) == ("succeeded", 1)
    assert "vendor/lib is a submodule; it is not fetched." in said


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside", "a/.git/config", "a/.GIT/config"])
def test_a_path_out_of_the_workspace_is_refused(path: str) -> None:
    with pytest.raises(WorkFailedError, match="leads out of the workspace"):
        checked_path(path)


def test_a_commit_that_is_not_there_fails_with_gits_words(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any
) -> None:
    repository.commit({"file": "x"})
    outcome, _, _ = carry_out(source, fetch("a" * 40, ref="refs/heads/main"))
    assert outcome.state == "failed"
    assert f"The commit {'a' * 40} could not be fetched from {repository.folder}" in outcome.reason


def test_a_server_that_refuses_the_commits_name_is_asked_for_the_ref(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, workplace: Workplace
) -> None:
    first = repository.commit({"file": "x"})
    repository.commit({"file": "y"})
    # With protocol 0 a server hands out the tips of refs only.
    original = Mirror.environment

    def old_protocol(self: Mirror, *, token: str = "") -> dict[str, str]:
        variables = original(self, token=token)
        count = int(variables["GIT_CONFIG_COUNT"])
        return variables | {
            "GIT_CONFIG_COUNT": str(count + 1),
            f"GIT_CONFIG_KEY_{count}": "protocol.version",
            f"GIT_CONFIG_VALUE_{count}": "0",
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mirror, "environment", old_protocol)
        assert carry_out(source, fetch(first), "k-1")[0].state == "failed"
        outcome, (workspace,), _ = carry_out(source, fetch(first, ref="refs/heads/main"), "k-2")
    assert outcome.state == "succeeded"
    assert workspace.meta["commit"] == first


def test_a_token_reaches_the_server_and_shows_nowhere(
    source: SourceExecutor, fetch: Any, carry_out: Any, workplace: Workplace
) -> None:
    secret = workplace.home / "secrets" / "dev" / "deploy"
    secret.parent.mkdir(parents=True)
    secret.write_text("s3cr3t-planted\n")
    secret.chmod(0o600)
    stage = fetch("a" * 40, repository="https://127.0.0.1:1/x.git", with_={"token": "deploy"})
    environment = Mirror(workplace.home, stage.repository).environment(token="s3cr3t-planted")
    assert any(value.startswith("Authorization: Basic ") for value in environment.values())
    outcome, _, said = carry_out(source, stage)
    assert outcome.state == "error"
    assert "127.0.0.1" in outcome.reason
    kept = b"".join(path.read_bytes() for path in workplace.home.rglob("*") if path.is_file() and path != secret)
    assert b"s3cr3t-planted" not in kept
    assert "s3cr3t" not in said + str(source.plan(stage).as_dict())


def test_the_fetch_outlives_a_killed_worker(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, worker: Any, slow_git: Path
) -> None:
    stage = fetch(repository.commit({"file": "x"}))
    first = worker(source, stage, "k-1", STANDARD_PATH=f"{slow_git}:{STANDARD_PATH}")
    eventually(lambda: (slow_git / "count").exists())
    first.kill()
    first.wait()
    assert source.probe(stage, "k-1").state == "running"
    (slow_git / "go").touch()
    assert carry_out(source, stage, "k-1")[0].state == "succeeded"
    assert (slow_git / "count").read_text() == "one\n"


def test_a_killed_fetch_is_done_again(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, worker: Any, slow_git: Path
) -> None:
    stage = fetch(repository.commit({"file": "x"}))
    first = worker(source, stage, "k-1", STANDARD_PATH=f"{slow_git}:{STANDARD_PATH}")
    eventually(lambda: (slow_git / "count").exists())
    keeper = read_json(source.workplace.folder("k-1") / "process" / "pid.json")["pid"]
    first.kill()
    os.kill(keeper, signal.SIGKILL)
    first.wait()
    eventually(lambda: source.probe(stage, "k-1").state == "never_started")
    assert carry_out(source, stage, "k-1")[0].state == "succeeded"


def test_cancel_before_the_start_holds(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any
) -> None:
    stage = fetch(repository.commit({"file": "x"}))
    assert source.probe(stage, "k-1").state == "never_started"
    source.cancel(stage, "k-1")
    outcome, made, _ = carry_out(source, stage, "k-1")
    assert (outcome.state, made) == ("canceled", [])


def test_stops_waiting_for_the_mirror_when_told_to(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, workplace: Workplace
) -> None:
    stage = fetch(repository.commit({"file": "x"}))
    asked = iter([False, False, True])
    with Mirror(workplace.home, stage.repository).locked(Unattended()):
        outcome, _, _ = carry_out(source, stage, "k-1", Unattended(stop=lambda: next(asked, True)))
    assert outcome.state == "canceled"


def test_a_lock_that_a_killed_git_left_is_in_nobodys_way(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, workplace: Workplace
) -> None:
    first, second = repository.commit({"file": "x"}), repository.commit({"file": "y"})
    carry_out(source, fetch(first), "k-1")
    mirror = Mirror(workplace.home, str(repository.folder))
    (mirror.folder / "refs" / "burger" / f"{second}.lock").touch()
    assert carry_out(source, fetch(second), "k-2")[0].state == "succeeded"


def test_the_plan_names_the_commit_and_changes_with_it(source: SourceExecutor, fetch: Any) -> None:
    plan = source.plan(fetch("a" * 40))
    assert plan.digest == source.plan(fetch("a" * 40)).digest
    assert plan.digest != source.plan(fetch("b" * 40)).digest
    assert plan.changes[0].after == "a" * 40


def test_what_was_not_approved_is_not_fetched(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, workplace: Workplace
) -> None:
    commit = repository.commit({"file": "x"})
    outcome, made, _ = carry_out(source, fetch(commit, approved_digest="sha256:" + "0" * 64))
    assert (outcome.state, made) == ("changed", [])
    assert not (workplace.home / "mirrors").exists()
    approved = source.plan(fetch(commit)).digest
    assert carry_out(source, fetch(commit, approved_digest=approved), "k-2")[0].state == "succeeded"


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/org/repo.git",
        "https://git.example.org:8443/repo",
        "ssh://git@git.example.org:2222/org/repo.git",
        "git@github.com:org/repo.git",
        "file:///srv/git/repo.git",
        "/srv/git/repo.git",
        "/srv/my projects/burger stack.git",
    ],
)
def test_good_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x",
        "ext::sh -c touch% /tmp/x",
        "fd::17",
        "http://example.org/repo",
        "git://example.org/repo",
        "ftp://example.org/repo",
        "javascript:alert(1)",
        "relative/path",
        "../up",
        "https://user:planted@example.org/repo",
        "https://planted@example.org/repo",
        "ssh://git:planted@example.org/repo",
        "https://example.org/repo\n--evil",
        "https://example.org/re po",
        "https://example.org/repo\0",
        "https:///repo",
        "https://example.org:99999/repo",
        "https://example.org/repo?token=planted",
        "ssh://-oProxyCommand=x/repo",
        "ssh://-oProxyCommand=x@host/repo",
        "git@-oProxyCommand=x:repo",
        "git@host:-x",
        "file://host/repo",
        "/srv/\u202egit",
    ],
)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(RefusedInputError) as caught:
        check_address(address)
    assert "planted" not in str(caught.value)


def test_a_bad_address_or_commit_is_a_plan_error(source: SourceExecutor, fetch: Any, carry_out: Any) -> None:
    for bad in (fetch("main"), fetch("a" * 40, repository="ext::x"), fetch("a" * 40, ref="--x")):
        with pytest.raises(PlanError, match="Stage source: "):
            source.plan(bad)
    outcome, _, _ = carry_out(source, fetch("a" * 40, repository="ext::sh"))
    assert outcome.state == "error"


@pytest.mark.parametrize("ref", ["main", "refs/heads/main", "feature/x-1", "v1.0", "refs/tags/v1.0+ü"])
def test_good_refs(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-x",
        "--all",
        "a..b",
        "a b",
        "a\nb",
        "a:b",
        "a~1",
        "a^",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.",
        "@",
        "a@{1}",
        "x" * 300,
        "a\x7f",
    ],
)
def test_bad_refs(ref: str) -> None:
    with pytest.raises(RefusedInputError, match="no name of a branch"):
        check_ref(ref)


@pytest.mark.parametrize("commit", ["", "main", "a" * 39, "a" * 41, "A" * 40, "a" * 39 + "\n", "-" + "a" * 39])
def test_bad_commits(commit: str) -> None:
    with pytest.raises(RefusedInputError, match="40 hex digits"):
        check_commit(commit)


def test_the_store_has_what_the_source_made(
    source: SourceExecutor, fetch: Any, repository: Repository, carry_out: Any, workplace: Workplace
) -> None:
    _, (workspace,), _ = carry_out(source, fetch(repository.commit({"file": "x"})))
    assert Store(workplace.home).verify(workspace.digest) == workspace.size
