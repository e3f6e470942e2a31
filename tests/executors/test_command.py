"""`command`: runs once, shows no secret, ends with all that it started."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Artifact, Log, PlanError, Unattended, Workplace
from pipelines.executors.command import CommandExecutor

from .conftest import MARK, eventually, marked, python, read_json

SECRET = "s3cr3t-plänted/value"


@pytest.fixture
def command(workplace: Workplace) -> CommandExecutor:
    return CommandExecutor(workplace)


@pytest.fixture
def stage(spec: Callable[..., Any], command: CommandExecutor, tmp_path: Path) -> Callable[..., Any]:
    """A stage that runs a command where a workspace and the slug `backend` are at hand."""
    artifacts = {}
    for name, kind in (("source", "workspace"), ("backend", "slug")):
        tree = tmp_path / name
        tree.mkdir()
        (tree / "which").write_text(f"{name}\n")
        artifacts[name] = Artifact(name, kind, *command.store.pack(tree))  # type: ignore[arg-type]

    def make(*argv: str, environment: str | None = None, timeout: float | None = None, **with_: Any) -> Any:
        return spec(
            stage="test",
            artifacts=artifacts,
            environment=environment,
            timeout=timeout,
            with_={"command": list(argv)} | with_,
        )

    return make


@pytest.fixture
def secret(workplace: Workplace) -> Path:
    path = workplace.home / "secrets" / "dev" / "token"
    path.parent.mkdir(parents=True)
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def test_streams_the_output_and_succeeds(command: CommandExecutor, stage: Any, carry_out: Any) -> None:
    outcome, made, said = carry_out(command, stage("sh", "-c", "cat which; echo more >&2"))
    assert (outcome.state, outcome.reason, made) == ("succeeded", "exit code 0", [])
    assert said == "source\nmore\n"


def test_runs_in_a_slug(command: CommandExecutor, stage: Any, carry_out: Any) -> None:
    assert carry_out(command, stage("cat", "which", **{"in": "backend"}))[2] == "backend\n"


def test_its_folder_is_its_own(command: CommandExecutor, stage: Any, carry_out: Any, workplace: Workplace) -> None:
    script = "cat which; echo changed > which; touch $HOME/x"
    assert carry_out(command, stage("sh", "-c", script), "k-1")[2] == "source\n"
    assert carry_out(command, stage("sh", "-c", script), "k-2")[2] == "source\n"
    assert sorted(path.name for path in workplace.folder("k-1").iterdir()) == ["process", "result.json"]


@pytest.mark.parametrize(
    ("script", "options", "reason"),
    [
        ("exit 3", {}, "exit code 3"),
        ("kill -KILL $$", {}, "ended by SIGKILL (often the machine was out of memory)"),
        ("sleep 60", {"timeout": 0.2}, "took longer than 0.2 s"),
        ("yes", {"output_limit": 100}, "wrote more than 100 bytes of output"),
        ("exec no-such-program", {}, "exit code 127"),
    ],
)
def test_says_why_it_failed(
    command: CommandExecutor, stage: Any, carry_out: Any, script: str, options: Any, reason: str
) -> None:
    outcome, _, _ = carry_out(command, stage("sh", "-c", script, **options))
    assert (outcome.state, outcome.reason) == ("failed", reason)


def test_is_told_what_it_works_for(command: CommandExecutor, stage: Any, carry_out: Any, workplace: Workplace) -> None:
    told = "$BURGER_RUN $BURGER_STAGE $BURGER_COMMIT $BURGER_ENVIRONMENT $MINE"
    script = f"echo {told}; touch $DATA_DIR/db; echo $DATA_DIR"
    _, _, said = carry_out(command, stage("sh", "-c", script, environment="staging", env={"MINE": "yes"}))
    data = workplace.home / "environments" / "staging" / "data"
    assert said == f"7 test {'c' * 40} staging yes\n{data}\n"
    assert (data / "db").exists()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_stage_cannot_pretend_to_be_another(command: CommandExecutor, stage: Any, carry_out: Any) -> None:
    env = {"BURGER_ENVIRONMENT": "production", "DATA_DIR": "/elsewhere"}
    _, _, said = carry_out(
        command, stage("sh", "-c", "echo $BURGER_ENVIRONMENT $DATA_DIR", environment="staging", env=env)
    )
    assert said.startswith("staging /")
    assert "elsewhere" not in said


@pytest.mark.parametrize("name", ["../production", "a/b", "."])
def test_an_environment_that_leads_elsewhere_is_refused(
    command: CommandExecutor, stage: Any, carry_out: Any, workplace: Workplace, name: str
) -> None:
    spec = replace(stage("true"), environment=name)
    assert carry_out(command, spec)[0].state == "error"
    assert not (workplace.home / "environments").exists()


@pytest.mark.usefixtures("secret")
def test_a_secret_reaches_the_command_and_shows_nowhere(
    command: CommandExecutor, stage: Any, carry_out: Any, workplace: Workplace, secret: Path
) -> None:
    script = (
        "import base64, json, os, sys, urllib.parse",
        "value = os.environ['TOKEN']",
        "data = value.encode()",
        "print(len(value), value, base64.b64encode(data).decode(), base64.b64encode(b'u:' + data).decode())",
        "print(data.hex(), urllib.parse.quote(value, safe=''), json.dumps(value), repr(value))",
        "sys.stdout.write('x' * 65530 + value); sys.stdout.flush()",
        "open('report.txt', 'w').write(f'token={value}')",
    )
    spec = stage(*python(*script), secrets={"TOKEN": "token"}, report="report.txt")
    outcome, (report,), said = carry_out(command, spec)
    assert outcome.state == "succeeded"
    assert said.startswith(f"{len(SECRET)} *** ***")
    shown = said + repr(outcome) + repr(report) + json.dumps(command.plan(spec).as_dict())
    secret.unlink()
    kept = b"".join(path.read_bytes() for path in workplace.home.rglob("*") if path.is_file())
    data = SECRET.encode()
    for form in (data, base64.b64encode(data)[:-4], data.hex().encode(), json.dumps(SECRET)[1:-1].encode()):
        assert form not in shown.encode()
        assert form not in kept
    assert command.store.path(report.digest).read_text() == "token=***"


def test_only_the_owners_secrets_are_handed_over(
    command: CommandExecutor, stage: Any, carry_out: Any, secret: Path
) -> None:
    spec = replace(stage("env", secrets={"TOKEN": "token"}), owner="ops")
    outcome, _, said = carry_out(command, spec)
    assert outcome.state == "error"
    assert "The secret 'token' of team 'ops' is not there" in outcome.reason
    assert said == ""
    # What was missing may be set, and the attempt go on.
    (secret.parents[1] / "ops").mkdir()
    secret.rename(secret.parents[1] / "ops" / "token")
    assert carry_out(command, spec)[0].state == "succeeded"


def test_a_variable_that_cannot_be_one_is_an_error(command: CommandExecutor, stage: Any, carry_out: Any) -> None:
    outcome, _, _ = carry_out(command, stage("true", env={"A": "x\0y"}))
    assert outcome.state == "error"
    assert "holds a NUL" in outcome.reason


def test_a_report_is_kept_even_of_a_failure(command: CommandExecutor, stage: Any, carry_out: Any) -> None:
    spec = stage("sh", "-c", "mkdir out; echo 1 > out/a.xml; echo 2 > out/b.xml; exit 1", report="out")
    outcome, (report,), _ = carry_out(command, spec)
    assert outcome.state == "failed"
    assert (report.name, report.kind, dict(report.meta)) == (
        "test",
        "report",
        {"path": "out", "packed": True},
    )
    assert command.store.count(report.digest) == 2


@pytest.mark.parametrize("script", ["true", "ln -s /etc/passwd report"])
def test_a_report_that_is_not_in_the_tree_is_named(
    command: CommandExecutor, stage: Any, carry_out: Any, script: str
) -> None:
    outcome, made, said = carry_out(command, stage("sh", "-c", script, report="report"))
    assert (outcome.state, made) == ("succeeded", [])
    assert "the command did not make report" in said


def waiting(stage: Any, tmp_path: Path, mark: str, **with_: Any) -> Any:
    script = f"echo one >> {tmp_path}/count; echo begun; until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 5"
    return stage("sh", "-c", script, env={MARK: mark}, **with_)


def test_the_command_outlives_a_killed_worker(
    command: CommandExecutor, stage: Any, carry_out: Any, worker: Any, tmp_path: Path, mark: str
) -> None:
    spec = waiting(stage, tmp_path, mark)
    assert command.probe(spec, "k-1").state == "never_started"
    first = worker(command, spec, "k-1")
    assert "begun" in first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert command.probe(spec, "k-1").state == "running"
    (tmp_path / "go").touch()
    eventually(lambda: command.probe(spec, "k-1").state == "done")
    outcome, _, _ = carry_out(command, spec, "k-1")
    assert (outcome.state, outcome.reason) == ("failed", "exit code 5")
    assert (tmp_path / "count").read_text() == "one\n"
    assert marked(mark) == []


@pytest.mark.parametrize("repeatable", [False, True])
def test_a_command_that_was_cut_off_stops_for_a_person_unless_it_may_be_repeated(
    command: CommandExecutor,
    stage: Any,
    carry_out: Any,
    worker: Any,
    tmp_path: Path,
    mark: str,
    workplace: Workplace,
    repeatable: bool,
) -> None:
    spec = waiting(stage, tmp_path, mark, repeatable=repeatable)
    first = worker(command, spec, "k-1")
    assert "begun" in first.stdout.readline()
    first.kill()
    first.wait()
    os.kill(read_json(workplace.folder("k-1") / "process" / "pid.json")["pid"], signal.SIGKILL)
    expected = "never_started" if repeatable else "unknown"
    eventually(lambda: command.probe(spec, "k-1").state == expected)
    (tmp_path / "go").touch()
    outcome, _, _ = carry_out(command, spec, "k-1")
    assert outcome.state == ("failed" if repeatable else "error")
    assert (tmp_path / "count").read_text() == "one\n" * (2 if repeatable else 1)
    assert marked(mark) == []


def test_cancel_ends_it_all(command: CommandExecutor, stage: Any, worker: Any, tmp_path: Path, mark: str) -> None:
    spec = waiting(stage, tmp_path, mark)
    first = worker(command, spec, "k-1")
    assert "begun" in first.stdout.readline()
    command.cancel(spec, "k-1")
    assert marked(mark) == []
    assert "state='canceled'" in first.stdout.read()
    assert command.probe(spec, "k-1").state == "done"


def test_the_plan_shows_what_steers_the_command_and_hides_credentials(command: CommandExecutor, stage: Any) -> None:
    env = {"BASH_ENV": "/tmp/x", "EMPTY": "", "URL": "https://me:planted-1@host/", "HOST_TOKEN": "planted-2"}
    spec = stage("make", "test it", env=env, secrets={"TOKEN": "token"})
    plan = command.plan(spec)
    assert plan.changes[0].after == "make 'test it'"
    assert plan.artifacts == {"source": spec.artifacts["source"].digest}
    shown = {"BASH_ENV": "/tmp/x", "EMPTY": "", "HOST_TOKEN": "***", "URL": "https://me:***@host/"}
    assert plan.details["env"] == shown
    assert {change.title: change.after for change in plan.changes[1:]} == {
        **{f"variable {name}": value or '""' for name, value in shown.items()}, "secret TOKEN": "token of dev",
    }  # fmt: skip
    other = replace(spec, with_={**spec.with_, "env": {**env, "HOST_TOKEN": "another"}})
    assert command.plan(other).digest != plan.digest, "what is hidden counts as well"
    assert plan.details["secrets"] == {"TOKEN": "token"}
    assert "planted" not in json.dumps(plan.as_dict())


def test_the_plan_changes_with_anything_that_would_happen(command: CommandExecutor, stage: Any) -> None:
    plan = command.plan(stage("make", env={"A": "1"}))
    assert command.plan(stage("make", env={"A": "1"})).digest == plan.digest
    changed = [
        stage("make", env={"A": "2"}),
        stage("make", "-k", env={"A": "1"}),
        stage("make", env={"A": "1"}, secrets={"B": "b"}),
        stage("make", env={"A": "1"}, **{"in": "backend"}),
        stage("make", env={"A": "1"}, environment="staging"),
    ]
    assert len({plan.digest, *(command.plan(each).digest for each in changed)}) == 6


def test_what_was_not_approved_is_not_run(command: CommandExecutor, stage: Any, carry_out: Any, tmp_path: Path) -> None:
    approved = command.plan(stage("true")).digest
    spec = replace(stage("touch", str(tmp_path / "ran")), approved_digest=approved)
    outcome, _, _ = carry_out(command, spec)
    assert outcome.state == "changed"
    assert approved in outcome.reason
    assert not (tmp_path / "ran").exists()
    assert command.probe(spec, "k-1").state == "never_started"
    again = replace(spec, approved_digest=command.plan(spec).digest)
    assert carry_out(command, again)[0].state == "succeeded"
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("with_", "words"),
    [
        ({"command": []}, "`command` has to be a list"),
        ({"in": "frontend"}, "no stage that it needs made 'frontend'. There is: backend, source"),
        ({"env": {"A B": "x"}}, "'A B' cannot be a variable"),
        ({"env": {"A": "x"}, "secrets": {"A": "x"}}, "'A' cannot be a variable"),
        ({"output_limit": 0}, "`output_limit` is a number of bytes"),
        ({"report": "../x"}, "`report` has to be a path inside the tree"),
    ],
)
def test_bad_settings_are_plan_errors(command: CommandExecutor, stage: Any, with_: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        command.plan(stage("true", **with_))


def test_the_end_is_remembered_only_once_what_was_said_is_stored(
    command: CommandExecutor, stage: Any, workplace: Workplace
) -> None:
    """Else whoever takes over from a killed worker would hear how it ended, and nothing of its log."""
    spec = stage("sh", "-c", "echo all of it")
    result = workplace.folder("k-1") / "result.json"
    taken: list[Log] = []
    for event in command.start(spec, "k-1", Unattended()):
        if isinstance(event, Log) and event.receipt:
            event.receipt.keep()
            taken.append(event)
        elif isinstance(event, Log):
            assert (event.text, result.exists()) == ("", False)
            break  # the worker is killed
    assert [event.text for event in taken] == ["all of it\n"]
    events = []
    for event in command.start(spec, "k-1", Unattended()):
        events.append(event)
        if isinstance(event, Log) and event.receipt:
            event.receipt.keep()
        elif isinstance(event, Log):
            [one.receipt.stored() for one in events if isinstance(one, Log) and one.receipt]
    assert [event.text for event in events if isinstance(event, Log)] == ["all of it\n", ""]
    assert result.exists()
