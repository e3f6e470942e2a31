"""The keeper: one command, once, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors import process
from pipelines.executors.base import Log, Unattended
from pipelines.executors.masks import Masker
from pipelines.executors.process import Exit

from .conftest import MARK, ROOT, eventually, marked, python, read_json

Run = Callable[..., Iterator[Log | Exit]]

CALLER = """
import sys
from pathlib import Path
from pipelines.executors import process
from pipelines.executors.base import Unattended
folder, mark, *argv = sys.argv[1:]
env = {"PATH": "/usr/bin:/bin", "BURGER_TEST": mark}
for event in process.run(Path(folder), argv, cwd=Path("/"), env=env, control=Unattended()):
    print(event, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "process"


@pytest.fixture
def run(folder: Path, tmp_path: Path, mark: str) -> Run:
    def start(argv: Any, **options: Any) -> Iterator[Log | Exit]:
        env = {"PATH": os.environ["PATH"], MARK: mark} | options.pop("env", {})
        options = {"cwd": tmp_path, "control": Unattended()} | options
        return process.run(folder, argv, env=env, **options)

    return start


@pytest.fixture
def caller(folder: Path, mark: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Calls `run` in a process that can be killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CALLER, str(folder), mark, *argv]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


def text_of(events: list[Log | Exit]) -> str:
    return "".join(event.text for event in events if isinstance(event, Log))


def kill_keeper(folder: Path) -> None:
    os.kill(read_json(folder / "pid.json")["pid"], signal.SIGKILL)


def test_yields_both_outputs_and_the_exit(run: Run) -> None:
    events = list(run(["sh", "-c", "echo out; echo err >&2; exit 3"]))
    assert text_of(events) == "out\nerr\n"
    assert events[-1] == Exit(3, "exit code 3", "exited")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["no-such-program"], 127, "no program 'no-such-program'"),
        (["/dev/null"], 126, "Permission denied"),
        (["sh", "-c", "kill -SEGV $$"], -11, "ended by SIGSEGV"),
    ],
)
def test_says_why_a_command_did_not_run_or_end_well(run: Run, argv: Any, code: int, words: str) -> None:
    (event,) = run(argv)
    assert isinstance(event, Exit)
    assert (event.how, event.code) == ("exited", code)
    assert words in event.reason


def test_names_a_missing_folder(run: Run, tmp_path: Path) -> None:
    (event,) = run(["true"], cwd=tmp_path / "nowhere")
    assert isinstance(event, Exit)
    assert f"{tmp_path}/nowhere does not exist" in event.reason


@pytest.mark.parametrize("argv", [[], "true", [""], ["tr\0ue"], [1]])
def test_refuses_what_is_no_command(run: Run, argv: Any) -> None:
    with pytest.raises(ValueError, match="command"):
        list(run(argv))


def test_hands_over_stdin_the_environment_and_nothing_else(run: Run) -> None:
    argv = python("import os, sys", "print(sorted(os.environ), sys.stdin.read(), os.listdir('/proc/self/fd'))")
    events = list(run(argv, env={"SECRET": "x", "LC_ALL": "C.UTF-8"}, stdin=b"hello"))
    # Descriptor 3 is the one that listing this folder takes.
    assert text_of(events) == (
        "['BURGER_PROCESS', 'BURGER_TEST', 'LC_ALL', 'PATH', 'SECRET'] hello ['0', '1', '2', '3']\n"
    )


def test_a_large_stdin_does_not_block(run: Run) -> None:
    events = list(run(["wc", "-c"], stdin=b"x" * 3_000_000))
    assert text_of(events).strip() == "3000000"


def test_the_environment_is_never_on_disk_nor_on_a_command_line(run: Run, folder: Path) -> None:
    events = run(["sh", "-c", "echo ready; read nothing; sleep 60"], env={"TOKEN": "s3cr3t-planted"})
    assert next(events) == Log("ready\n")
    process.cancel(folder, grace=0)
    list(events)
    assert b"s3cr3t-planted" not in b"".join(path.read_bytes() for path in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_keepers_own_environment_is_empty(run: Run, folder: Path) -> None:
    events = run(["sh", "-c", "echo ready; sleep 60"], env={"TOKEN": "s3cr3t-planted"})
    next(events)
    pid = read_json(folder / "pid.json")["pid"]
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert b"s3cr3t" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    process.cancel(folder, grace=0)
    list(events)


def test_masks_and_erases_the_output(run: Run, folder: Path) -> None:
    masker = Masker(["s3cr3t-planted"])
    events = list(run(["sh", "-c", 'echo "it is $TOKEN"'], env={"TOKEN": "s3cr3t-planted"}, masker=masker))
    assert text_of(events) == "it is ***\n"
    assert (folder / "output").read_bytes() == b""


def test_masks_in_a_line_longer_than_any_buffer(run: Run) -> None:
    secret = "s3cr3t-planted-" * 4
    argv = python("import os", "print('x' * 65_500 + os.environ['TOKEN'] * 2_000, end='')")
    events = list(run(argv, env={"TOKEN": secret}, masker=Masker([secret])))
    assert len(events) > 2
    assert text_of(events).replace("***", "") == "x" * 65_500


def test_cuts_a_long_line_between_characters_and_replaces_nul(run: Run) -> None:
    argv = python("import sys", "sys.stdout.buffer.write('é'.encode() * 70_000 + b'\\0\\xff')")
    assert text_of(list(run(argv))) == "é" * 70_000 + "\N{REPLACEMENT CHARACTER}" * 2


def test_the_timeout_ends_the_command_and_all_its_children(run: Run, mark: str) -> None:
    started = time.monotonic()
    events = list(run(["sh", "-c", "sleep 61 & setsid sleep 62 & wait"], timeout=0.3))
    assert events[-1] == Exit(None, "took longer than 0.3 s", "timeout")
    assert time.monotonic() - started < 20
    assert marked(mark) == []


def test_the_output_limit_ends_the_command_and_keeps_what_fits(run: Run, mark: str) -> None:
    events = list(run(["yes"], output_limit=10_000))
    assert events[-1] == Exit(None, "wrote more than 10000 bytes of output", "output_limit")
    assert text_of(events) == "y\n" * 5_000
    assert marked(mark) == []


def test_children_and_daemons_end_with_the_command(run: Run, mark: str) -> None:
    daemon = (
        "import os, time",
        "if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork() == 0:",
        "        time.sleep(60)",
        "    os._exit(0)",
        "os.wait()",
    )
    events = list(run(["sh", "-c", 'sleep 60 & "$@"; echo done', "sh", *python(*daemon)]))
    assert text_of(events) == "done\n"
    assert events[-1] == Exit(0, "exit code 0", "exited")
    assert marked(mark) == []


def test_control_stops_the_command(run: Run, mark: str) -> None:
    events = []
    control = Unattended(stop=lambda: bool(events))
    for event in run(["sh", "-c", "echo ready; sleep 60"], control=control):
        events.append(event)
    assert events == [Log("ready\n"), Exit(None, "canceled", "canceled")]
    assert marked(mark) == []


def test_cancel_lets_a_command_clean_up_and_returns_once_it_is_gone(run: Run, folder: Path, mark: str) -> None:
    events = run(["sh", "-c", "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done"])
    assert next(events) == Log("ready\n")
    process.cancel(folder, grace=20)
    assert marked(mark) == []
    assert process.probe(folder).state == "done"
    rest = list(events)
    assert text_of(rest).endswith("cleaned\n")
    assert rest[-1] == Exit(None, "canceled", "canceled")


def test_cancel_kills_what_ignores_sigterm(run: Run, folder: Path, mark: str) -> None:
    events = run(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    next(events)
    process.cancel(folder, grace=0.2)
    assert marked(mark) == []
    assert list(events)[-1] == Exit(None, "canceled", "canceled")


def test_what_was_canceled_first_never_starts(run: Run, folder: Path, tmp_path: Path) -> None:
    process.cancel(folder)
    assert list(run(["touch", str(tmp_path / "started")])) == [Exit(None, "canceled before it started", "canceled")]
    assert not (tmp_path / "started").exists()


def test_cancel_after_the_end_changes_nothing(run: Run, folder: Path) -> None:
    list(run(["true"]))
    process.cancel(folder)
    assert list(run(["true"])) == [Exit(0, "exit code 0", "exited")]


def test_probe_tells_the_states_apart(run: Run, folder: Path) -> None:
    assert process.probe(folder).state == "never_started"
    assert not folder.exists()
    events = run(["sh", "-c", "echo ready; sleep 60"])
    next(events)
    assert process.probe(folder).state == "running"
    process.cancel(folder, grace=0)
    assert process.probe(folder).state == "done"
    list(events)


def test_a_second_call_yields_what_is_left_and_runs_nothing(run: Run, tmp_path: Path) -> None:
    argv = ["sh", "-c", f"echo one >> {tmp_path}/count; echo first; sleep 0.3; echo second"]
    events = run(argv)
    assert next(events) == Log("first\n")
    events.close()
    # The first caller never asked for more, so nobody knows whether it stored what it got.
    assert list(run(argv)) == [Log("first\n"), Log("second\n"), Exit(0, "exit code 0", "exited")]
    assert list(run(argv)) == [Exit(0, "exit code 0", "exited")]
    assert (tmp_path / "count").read_text() == "one\n"


def test_callers_at_the_same_time_start_one_command(run: Run, tmp_path: Path) -> None:
    argv = ["sh", "-c", f"echo one >> {tmp_path}/count; sleep 0.2"]
    ends: list[Log | Exit] = []
    threads = [threading.Thread(target=lambda: ends.extend(run(argv))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [Exit(0, "exit code 0", "exited")] * 6
    assert (tmp_path / "count").read_text() == "one\n"


def test_a_killed_caller_takes_nothing_with_it(
    run: Run, caller: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    argv = [
        "sh",
        "-c",
        f"echo one >> {tmp_path}/count; echo first; until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 4",
    ]
    first = caller(*argv)
    assert "first" in first.stdout.readline()
    first.kill()
    first.wait()
    assert process.probe(folder).state == "running"
    (tmp_path / "go").touch()
    assert list(run(argv))[-1] == Exit(4, "exit code 4", "exited")
    assert (tmp_path / "count").read_text() == "one\n"


def test_limits_hold_with_every_caller_dead(
    caller: Callable[..., Any], folder: Path, mark: str, tmp_path: Path
) -> None:
    script = CALLER.replace("control=Unattended()", "control=Unattended(), timeout=0.8")
    command = [sys.executable, "-c", script, str(folder), mark, "sh", "-c", "echo ready; sleep 60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        assert "ready" in first.stdout.readline()
        first.kill()
    eventually(lambda: process.probe(folder).state == "done")
    assert read_json(folder / "exit.json")["how"] == "timeout"
    assert marked(mark) == []


def test_callers_killed_at_any_moment_leave_one_run_or_none(
    run: Run, caller: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    argv = ["sh", "-c", f"echo one >> {tmp_path}/count; echo end"]
    for milliseconds in (40, 70, 90, 110, 140):
        process.discard(folder)
        (tmp_path / "count").unlink(missing_ok=True)
        first = caller(*argv)
        time.sleep(milliseconds / 1000)  # the moment of the kill is the point of this test
        first.kill()
        first.wait()
        events = list(run(argv))
        assert events[-1] == Exit(0, "exit code 0", "exited")
        assert (tmp_path / "count").read_text() == "one\n"


def test_a_killed_keeper_is_lost_and_its_orphans_end(run: Run, folder: Path, mark: str) -> None:
    events = run(["sh", "-c", "(setsid sleep 60 &) ; echo ready; sleep 60"])
    next(events)
    kill_keeper(folder)
    eventually(lambda: process.probe(folder).state == "unknown")
    assert "was killed" in process.probe(folder).reason
    (end,) = events
    assert isinstance(end, Exit)
    assert (end.how, end.code) == ("lost", None)
    assert marked(mark) == []
    assert list(run(["true"])) == [end]


def test_cancel_ends_what_a_killed_keeper_left(run: Run, folder: Path, mark: str) -> None:
    events = run(["sh", "-c", "(setsid sleep 60 &) ; echo ready; sleep 60"])
    next(events)
    kill_keeper(folder)
    process.cancel(folder)
    assert marked(mark) == []
    events.close()


@pytest.fixture
def elsewhere(folder: Path, mark: str) -> Iterator[subprocess.Popen[str]]:
    """A caller on another machine, as far as process ids tell: in a pid namespace, over the same files."""
    inside = [sys.executable, "-c", CALLER, str(folder), mark, "sh", "-c", "echo ready; sleep 60"]
    apart = ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--pid", "--fork", "--kill-child"]
    command = [*apart, "--mount-proc", *inside]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as there:
        assert "ready" in there.stdout.readline()
        yield there
        there.kill()


@pytest.mark.usefixtures("elsewhere")
def test_a_command_on_another_machine_is_joined_and_canceled_through_its_folder(run: Run, folder: Path) -> None:
    assert process.probe(folder).state == "running"
    events: list[Log | Exit] = []
    joining = threading.Thread(target=lambda: events.extend(run(["never", "started"])))
    joining.start()
    process.cancel(folder)
    assert process.probe(folder).state == "done"
    joining.join(30)
    assert events[-1] == Exit(None, "canceled", "canceled")


def test_a_command_on_a_machine_that_is_gone_is_lost(elsewhere: subprocess.Popen[str], folder: Path) -> None:
    elsewhere.kill()
    eventually(lambda: process.probe(folder).state == "unknown")


def test_another_process_with_the_same_pid_is_not_mistaken_for_the_keeper(run: Run, folder: Path) -> None:
    list(run(["true"]))
    (folder / "exit.json").unlink()
    recorded = (folder / "pid.json").read_text()
    pid = str(read_json(folder / "pid.json")["pid"])
    (folder / "pid.json").write_text(recorded.replace(pid, str(os.getpid())))
    assert process.probe(folder).state == "unknown"
    process.cancel(folder)  # must not signal this very process


def test_a_keeper_that_cannot_start_is_an_error_that_can_be_tried_again(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no room')")
    with monkeypatch.context() as patch:
        patch.setattr(process, "SHIM", broken)
        (end,) = run(["true"])
    assert isinstance(end, Exit)
    assert end.how == "lost"
    assert "no room" in end.reason
    assert process.probe(folder).state == "never_started"
    assert list(run(["true"])) == [Exit(0, "exit code 0", "exited")]


def test_discard_forgets(run: Run, folder: Path) -> None:
    list(run(["false"]))
    process.discard(folder)
    assert process.probe(folder).state == "never_started"
    assert list(run(["true"])) == [Exit(0, "exit code 0", "exited")]


def kept(events: Iterator[Log | Exit], wanted: str) -> list[Log]:
    """Take events as a worker does that will store them later, until the text is there."""
    taken: list[Log] = []
    while wanted not in text_of(taken):
        event = next(events)
        assert isinstance(event, Log)
        assert event.receipt is not None
        event.receipt.keep()
        taken.append(event)
    return taken


def test_what_was_taken_but_not_stored_is_said_again_to_the_next(run: Run, tmp_path: Path) -> None:
    """A worker collects output for a moment before it writes it down, and may be killed in that moment."""
    go_on = tmp_path / "go-on"
    argv = ["sh", "-c", f"echo one; while [ ! -e {go_on} ]; do sleep 0.02; done; echo two"]
    first = run(argv)
    kept(first, "one")
    go_on.touch()
    kept(first, "two")
    first.close()
    second = run(argv)
    taken = kept(second, "two")
    assert text_of(taken) == "one\ntwo\n"
    for event in taken:
        event.receipt.stored()
    second.close()
    assert text_of(list(run(argv))) == ""


def test_masked_output_is_erased_only_once_it_is_stored(run: Run, folder: Path) -> None:
    masked = {"env": {"TOKEN": "s3cr3t-planted"}, "masker": Masker(["s3cr3t-planted"])}
    argv = ["sh", "-c", "echo begin $TOKEN"]
    events = run(argv, **masked)
    taken = kept(events, "begin ***")
    assert isinstance(next(events), Exit)
    assert (folder / "output").stat().st_size > 0
    taken[-1].receipt.stored()
    assert (folder / "output").stat().st_size == 0
    assert list(run(argv, **masked)) == [Exit(0, "exit code 0", "exited")]


def test_cutting_off_ends_what_runs_below_a_folder_and_nothing_else(run: Run, folder: Path, mark: str) -> None:
    next(run(["sh", "-c", "setsid sleep 60 & env -i sleep 61 & echo ready $!; sleep 60"]))
    assert process.cut_off(folder.parent / "elsewhere") == 0
    assert process.probe(folder).state == "running"
    assert process.cut_off(folder.parent) == 1
    assert process.probe(folder).state == "unknown"
    assert marked(mark) == []
