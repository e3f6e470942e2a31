"""The command line from outside: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from tests.api.site import eventually
from tests.cli.conftest import BURGER

GOOD = "name: x\nstages:\n  - {name: a, kind: noop, owner: dev}\n"
BAD = "name: x\nstages:\n  - {name: a, kindd: noop, owner: dev}\n  - {name: a, kind: noop, owner: dev, needs: [b]}\n"


def test_help_is_there_at_once():
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run([BURGER, "--help"], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - begun)
    assert "approve" in done.stdout
    # On a machine of its own it takes 0.15 s; what this guards against is a slow import, which adds far more.
    code = "import sys, portal.cli.app; print(sorted({'django', 'httpx', 'yaml', 'rich.live'} & set(sys.modules)))"
    loaded = subprocess.run([BURGER.with_name("python"), "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
    assert min(times) < 2


def test_lint_needs_no_portal(burger, tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    good = burger("lint", str(tmp_path / "good.yaml"), BURGER_URL="http://127.0.0.1:1")
    assert (good.returncode, good.stdout.endswith("1 stages, no problems\n")) == (0, True)
    bad = burger("lint", str(tmp_path / "bad.yaml"))
    assert bad.returncode == 1
    assert re.search(r"bad\.yaml:3:\d+: .*kindd.*\(did you mean \"kind\"\?\)", bad.stdout)
    assert re.search(r"\d problems$", bad.stdout.strip())
    assert burger("lint", "-", say=GOOD).returncode == 0
    missing = burger("lint", "no-such-file.yaml")
    assert (missing.returncode, missing.stderr) == (
        2,
        "burger: no-such-file.yaml cannot be read: No such file or directory.\n",
    )


def test_lint_asks_the_portal_for_its_teams(burger, tmp_path):
    (tmp_path / "file.yaml").write_text(GOOD.replace("owner: dev", "owner: devs"))
    unknown = burger("lint", str(tmp_path / "file.yaml"))
    assert unknown.returncode == 1, unknown.stderr
    assert '"devs"' in unknown.stdout
    assert 'did you mean "dev"?' in unknown.stdout
    named = burger("lint", str(tmp_path / "file.yaml"), "--teams", "devs, ops")
    assert (named.returncode, named.stderr) == (0, "")
    for away in ({"BURGER_URL": "http://127.0.0.1:1"}, {"user": "nobody"}):
        unchecked = burger("lint", str(tmp_path / "file.yaml"), **away)
        assert unchecked.returncode == 0
        assert unchecked.stderr == "Teams were not checked: no portal was in reach. Name them with --teams.\n"


@pytest.mark.parametrize("token", ["abc\n", "abc def", "abc\u00e9", "\x00"])
def test_a_token_that_was_copied_with_more_than_itself(burger, token):
    done = burger("runs", "--token", token)
    assert (done.returncode, "copy it once more" in done.stderr) == (2, True)


def test_the_schema_is_printed(burger):
    assert json.loads(burger("schema").stdout)["$schema"].startswith("https://json-schema.org")


def test_a_file_without_end_is_not_read_to_its_end(burger, tmp_path, monkeypatch):
    (tmp_path / "huge.yaml").touch()
    os.truncate(tmp_path / "huge.yaml", 1 << 40)
    os.mkfifo(tmp_path / "pipe.yaml")
    for command in (["lint"], ["compile"], ["import", "argo"]):
        done = burger(*command, str(tmp_path / "huge.yaml"))
        assert done.returncode == 1, command
        assert "larger than 1 MiB" in done.stdout, command
        done = burger(*command, str(tmp_path / "pipe.yaml"))
        assert (done.returncode, "is no regular file" in done.stderr) == (2, True), command
    assert "larger than 1 MiB" in burger("lint", "-", say="x" * (2 << 20)).stdout


def test_lint_warns_of_what_nobody_can_see(burger, tmp_path):
    (tmp_path / "file.yaml").write_text(GOOD.replace("name: x\n", "name: x\r\ndescription: a\u202eb ❤️\n"))
    done = burger("lint", "--teams", "dev", str(tmp_path / "file.yaml"))
    assert done.returncode == 0
    assert done.stderr == f"{tmp_path}/file.yaml:2:15: warning: nobody can see the \\u202e here\n"


def test_a_run_is_started_shown_listed_and_approved_with_the_plan_that_was_shown(site, burger, waiting):
    shown = burger("show", waiting).stdout
    assert "Waiting" in shown
    assert "‖ waiting" in shown
    assert waiting in burger("runs", "--pipeline", "demo").stdout
    assert json.loads(burger("runs", "--json", "--limit", "1").stdout)[0]["run"] == waiting

    digest = site.get(f"runs/{waiting}/stages/ship")["digest"]
    assert digest in burger("plan", f"{waiting}/ship").stdout
    assert f"{waiting}/ship" in burger("inbox", user="olga").stdout
    inbox = burger("inbox", user="ann").stdout
    assert "Nothing waits for you." in inbox
    assert "You wait for ops" in inbox

    first = burger("approve", f"{waiting}/ship", "--digest", digest[7:19], "--reason", "fine", user="olga")
    assert first.returncode == 0, first.stderr
    assert digest in first.stdout
    assert burger("approve", f"{waiting}/ship", "--yes", user="pete").returncode == 0
    ended = burger("follow", waiting)
    assert (ended.returncode, f"Run {waiting}: ✓ succeeded. All done" in ended.stdout) == (0, True)
    assert "olga approve ship for ops: fine" in ended.stdout


def test_a_run_that_is_refused_at_once_is_no_success(burger):
    done = burger("run", "demo", "-p", "verdict=maybe", user="pia")
    assert done.returncode == 1
    assert "It was refused: " in done.stdout
    assert "verdict" in done.stdout
    assert burger("run", "demo", "-p", "verdict=no", user="pia").returncode == 0


def test_where_nothing_is_asked_nothing_can_be_approved(burger, waiting):
    done = burger("approve", f"{waiting}/after", "--yes", user="olga")
    assert done.returncode == 4
    assert f"{waiting}/after waits for no approval: it is pending" in done.stderr


def test_a_stage_that_one_team_has_approved_names_the_other(burger, waiting):
    assert burger("approve", f"{waiting}/ship", "--yes", user="olga").returncode == 0
    shown = burger("show", waiting).stdout
    assert "waiting for platform to approve its plan" in shown
    assert "ops and platform" not in shown


def test_following_tells_at_the_gate_who_is_asked_and_how_to_answer(site, burger):
    environment = site.environment | {"BURGER_HOME": str(site.home / "var"), "PYTHONUNBUFFERED": "1"}
    command = [BURGER, "--as", "pia", "run", "demo", "--follow"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        seen: list[str] = []
        for line in follower.stdout:
            seen.append(line)
            if "approve it by" in line and "(platform)" in line:
                break
        commands = [
            line.partition("approve it by")[2].rpartition("(")[0].split() for line in seen if "approve it by" in line
        ]
        assert all(words[0].endswith("burger") for words in commands)
        assert [words[1:3] for words in commands] == [["--as", "olga"], ["--as", "pete"]]
        for words in commands:
            argv = [str(BURGER), *(word.strip("'") for word in words[1:])]
            assert subprocess.run(argv, env=environment, capture_output=True, check=False).returncode == 0
        rest = follower.stdout.read()
        assert follower.wait(30) == 0
    told = "".join(seen) + rest
    assert "ship waits for ops (0 of 1) and platform (0 of 1)" in told
    assert f"{site.url}/runs/demo/" in told
    for stage in ("build", "ship", "after"):
        assert re.search(rf"\d\d:\d\d:\d\d  {stage} +✓ succeeded", told), stage


def test_in_a_terminal_the_table_is_live_and_questions_are_asked(site, waiting):
    """On a real pseudo terminal, as a person would answer."""
    environment = site.environment | {"BURGER_URL": site.url, "BURGER_TOKEN": site.tokens["olga"], "TERM": "xterm"}
    screen = on_terminal([BURGER, "approve", f"{waiting}/ship"], environment, {"[y/N]": "n\n"})
    assert "Approve and" in screen
    assert "Aborted" in screen
    assert site.get(f"runs/{waiting}/stages/ship")["gate"]["teams"][0]["approved"] == 0
    screen = on_terminal([BURGER, "reject", f"{waiting}/ship", "-r", "no"], environment, {"[y/N]": "y\n"})
    assert "is rejected" in screen
    screen = on_terminal([BURGER, "follow", waiting], environment, {})
    assert "stage" in screen
    assert "rejected" in screen
    assert "\x1b[" in screen


def test_streams_of_every_kind(site, waiting):
    """Few letters, none to read from, and a disk that is full."""
    environment = site.environment | {"BURGER_URL": site.url, "BURGER_TOKEN": site.tokens["olga"]}

    def shell(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", script, "sh", str(BURGER), f"{waiting}/ship"]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)

    done = shell('"$1" plan "$2"; "$1" runs', PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell('"$1" approve "$2" <&-')
    assert done.returncode == 2
    assert "say --yes, or name the plan by --digest sha256:" in done.stderr
    done = shell('"$1" runs >/dev/full')
    assert (done.returncode, done.stderr) == (
        1, "burger: what was to be shown could not be written: No space left on device.\n")  # fmt: skip
    done = shell('"$1" runs >&-')
    assert (done.returncode, done.stderr) == (0, "")


def test_a_row_is_a_line_for_what_reads_a_pipe(burger, waiting):
    lines = burger("show", waiting).stdout.splitlines()
    (row,) = [line for line in lines if line.startswith("ship ")]
    assert "waiting for" in row or "ops" in row
    assert len(burger("runs").stdout.splitlines()) == 1 + len(burger("runs", "--json").stdout.split('"run": "')) - 1


def on_terminal(command: list[str], environment: dict[str, str], answers: dict[str, str]) -> str:
    """What a command writes to its terminal; `answers` are typed when their prompt appears."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, deadline = "", time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 0.1)
            try:
                screen += os.read(ours, 65_536).decode(errors="replace") if ready else ""
            except OSError:  # the terminal has no other end any more
                break
            for prompt in [prompt for prompt in answers if prompt in screen]:
                os.write(ours, answers.pop(prompt).encode())
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return screen


def test_how_a_run_ended_is_the_exit_status(site, burger, waiting):
    done = burger("reject", f"{waiting}/ship", "--reason", "not today", "--yes", user="olga")
    assert done.returncode == 0
    assert "olga rejected it for ops: not today" in done.stdout
    assert burger("follow", waiting).returncode == 3
    assert "not today" in burger("follow", waiting).stdout
    again = burger("retry-failed", waiting, user="olga")
    assert again.returncode == 0, again.stderr
    assert burger("cancel", waiting, user="pia").returncode == 0
    eventually(lambda: site.get(f"runs/{waiting}")["state"] == "canceled")
    assert burger("follow", waiting).returncode == 3


def test_a_pipeline_file_with_problems_is_a_run_that_failed_and_says_why(site, burger):
    good = (site.home / "checkout" / "pipeline.yaml").read_text()
    site.commit("Break it", {"pipeline.yaml": BAD})
    try:
        broken = burger("run", "demo", "--follow", user="pia")
    finally:
        site.commit("Mend it", {"pipeline.yaml": good})
    assert broken.returncode == 1
    assert "kindd" in broken.stdout


def test_what_is_refused_says_why_and_ends_with_4(site, burger, waiting):
    for arguments, user, words in (
        (("approve", f"{waiting}/ship", "--yes"), "ann", "Only members of ops or platform"),
        (("approve", f"{waiting}/ship", "--yes", "--digest", "sha256:" + "0" * 64), "olga", "plan has changed"),
        (("skip", f"{waiting}/build", "-r", "no"), "olga", "Only members of dev"),
        (("terminate", waiting, "-r", "no"), "ann", "Only members of platform"),
        (("retry", f"{waiting}/after"), "ann", "only a stage that has ended"),
        (("abort", f"{waiting}/ship"), "olga", "no rollout under way"),
        (("runs",), "eve", "in no team"),
        (("runs",), "nobody", "is not known here, or it has expired"),
        (("hook", "demo", "--repository", "."), "ann", "secret"),
    ):
        done = burger(*arguments, user=user)
        assert words in done.stderr, arguments
        assert done.stderr.count("\n") == 1
        assert done.returncode == (2 if arguments[0] == "hook" else 4), arguments


def test_wrong_usage_ends_with_2(burger, waiting):
    for arguments in (
        ("no-such-command",), ("show",), ("show", "demo"), ("show", "demo/999"), ("log", "demo/1"), ("run", "nothing"),
        ("run", "demo", "-p", "soak"), ("run", "demo", "--ref", "-x"), ("runs", "--state", "purple"),
        ("skip", f"{waiting}/build"), ("rollback", "demo", "r1", "-r", "x"), ("token", "create", "--days", "0"),
        ("approve", f"{waiting}/ship", "--as", "zoe"),
    ):  # fmt: skip
        done = burger(*arguments, user="pia")
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    asked = burger("approve", f"{waiting}/ship", user="olga")
    assert (asked.returncode, "Nobody can be asked here" in asked.stderr) == (2, True)


def test_a_portal_that_is_not_there_ends_with_5(burger):
    done = burger("runs", BURGER_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "http://127.0.0.1:1 does not answer" in done.stderr


def test_without_an_address_it_says_how_to_give_one(burger, tmp_path):
    done = burger("runs", BURGER_URL="", BURGER_HOME=str(tmp_path))
    assert (done.returncode, "--url" in done.stderr) == (2, True)


def test_options_for_every_command_may_stand_behind_it(burger):
    for arguments in (("--as", "olga", "me"), ("me", "--as", "olga"), ("me", "--as=olga")):
        assert burger(*arguments, BURGER_TOKEN="").stdout == "olga: member of ops\n"


def test_a_log_is_printed_as_it_is(site, burger, waiting):
    log = burger("log", f"{waiting}/build")
    assert log.returncode == 0
    assert burger("log", f"{waiting}/build", "--follow").stdout == log.stdout


def test_environments_audit_pipelines_and_tokens(site, burger, waiting):
    assert "demo/staging" in burger("environments").stdout
    assert "nothing yet" in burger("environments").stdout
    assert burger("rollback", "demo/staging", "r9", "-r", "x", user="olga").returncode == 2
    assert "demo" in burger("pipelines").stdout
    made = burger("token", "create", "--days", "3").stdout.strip()
    assert burger("me", "--token", made).stdout == "ann: member of dev\n"
    mine = next(
        token["id"]
        for token in json.loads(burger("token", "list", "--json", "--token", made).stdout)
        if token["current"]
    )
    assert burger("token", "revoke", mine).returncode == 0
    assert burger("me", "--token", made).returncode == 4
    assert "revoke-token" in burger("audit", "--actor", "ann").stdout


def test_rerun_follows_the_new_run(site, burger, waiting):
    done = burger("rerun", waiting, user="pia")
    assert done.returncode == 0
    name = done.stdout.split()[1]
    assert site.get(f"runs/{name}")["rerun_of"] == int(waiting.split("/")[1])


def test_the_hook_is_set_up_by_a_lead(site, burger):
    done = burger("hook", "demo", "--repository", str(site.repository), user="pia")
    assert done.returncode == 0, done.stderr
    commit = site.commit("Pushed with the hook that burger made")
    eventually(lambda: commit in [run["commit"] for run in site.get("runs")["results"]])


def test_follow_is_a_function_that_others_call(site, burger, waiting):
    from io import StringIO

    from rich.console import Console

    from portal.cli.client import Client, stage_path
    from portal.cli.follow import follow

    asked = []

    def on_gate(stage: dict[str, object]) -> None:
        asked.append(stage["name"])
        for person, team in (("olga", "ops"), ("pete", "platform")):
            body = {"digest": stage["digest"], "team": team}
            Client(site.url, site.tokens[person]).post(f"{stage_path(waiting, 'ship')}/approve", body)

    output = StringIO()
    pipeline, number = waiting.split("/")
    client = Client(site.url, site.tokens["ann"])
    state = follow(client, pipeline, int(number), console=Console(file=output, width=200), on_gate=on_gate)
    assert (state, asked) == ("succeeded", ["ship"])
    assert f"Run {waiting}: ✓ succeeded." in output.getvalue()
