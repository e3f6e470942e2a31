"""Starting and stopping the installation."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from contextlib import nullcontext

import pytest

from portal import settings, supervisor


@pytest.fixture
def port():
    """A port that somebody else has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_taken_port_of_the_portal_is_named_with_what_to_do(monkeypatch, port):
    monkeypatch.setattr(settings, "PORT_BASE", port)
    with pytest.raises(supervisor.StartError, match=rf"Port {port} .* wanted for the portal.*BURGER_PORT_BASE"):
        supervisor.check_ports()


def test_a_taken_port_of_an_environment_is_named_too(monkeypatch, port, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(settings, "PORT_BASE", free.getsockname()[1])
    monkeypatch.setattr(settings, "HOME", tmp_path)
    monkeypatch.setattr(settings, "ENVIRONMENT_PORTS", {"staging": port})
    with pytest.raises(supervisor.StartError, match=rf"Port {port} .* wanted for staging"):
        supervisor.check_ports()


def test_one_supervisor_for_each_home(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "HOME", tmp_path)
    assert supervisor.running() is None
    with (supervisor.run_folder() / "supervisor.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(json.dumps({"pid": os.getpid()}))
        held.flush()
        assert supervisor.running() == os.getpid()
        with pytest.raises(supervisor.StartError, match=r"runs already.*make down"):
            supervisor.Supervisor().run()
    assert supervisor.running() is None


def test_other_settings_than_those_of_the_portal_that_runs_are_refused(monkeypatch, tmp_path):
    """Else what the next command writes down names an address at which nobody answers."""
    monkeypatch.setattr(settings, "HOME", tmp_path)
    supervisor.check_address()
    with (supervisor.run_folder() / "supervisor.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for url, said in (
            (settings.PUBLIC_URL, None),
            ("http://127.0.0.1:1", "at http://127.0.0.1:1; .*BURGER_PORT_BASE"),
        ):
            held.seek(0)
            held.truncate()
            held.write(json.dumps({"pid": os.getpid(), "url": url}))
            held.flush()
            with pytest.raises(supervisor.StartError, match=said) if said else nullcontext():
                supervisor.check_address()


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


def stubborn(tmp_path) -> supervisor.Supervisor:
    """A supervisor with a child that does not end by itself."""
    made = supervisor.Supervisor(children=[supervisor.Child("workers", [sys.executable, "-c", STUBBORN])])
    log = tmp_path / "workers.log"
    made.children[0].start(log)
    deadline = time.monotonic() + 10
    while not log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    return made


def test_whoever_stops_it_is_told_at_once_what_is_waited_for_and_how_long(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(supervisor, "LAST_GRACE", 0.4)
    made = stubborn(tmp_path)
    made._stop()
    begun = time.monotonic()
    made._end_children()
    assert 0.3 < time.monotonic() - begun < 5
    said = capfd.readouterr().err
    assert said.startswith("Stopping. Stages under way have 0.4 s")
    assert "Ending workers now." in said
    assert made.children[0].process.poll() is not None


def test_who_asks_twice_does_not_wait(tmp_path):
    assert supervisor.LAST_GRACE <= 3
    made = stubborn(tmp_path)
    made._stop()
    made._stop()
    begun = time.monotonic()
    made._end_children()
    assert time.monotonic() - begun < 2


def test_what_is_started_is_argument_lists_of_this_installation():
    started = supervisor.commands()
    assert set(started) == {"web", "workers", "sweeper"}
    assert all(argv[0] and all(isinstance(part, str) for part in argv) for argv in started.values())
    assert str(settings.PORT_BASE) in started["web"]
