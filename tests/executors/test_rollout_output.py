"""What a replica prints reaches its file without its secrets, all of it, whoever is killed."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from pipelines.executors.base import Artifact
from pipelines.executors.masks import Masker
from pipelines.executors.rollout.local import masking, processes
from pipelines.executors.rollout.local.control import keeper
from pipelines.executors.rollout.local.place import read_json
from pipelines.executors.rollout.local.replica import hidden
from pipelines.executors.rollout.release import Service
from pipelines.executors.store import Store
from tests.executors.rollout_helpers import SERVER, installation, start_keeper, until

SECRET = "Gurke/ä+s3cret word"
CONFIGURED = "from-the-configuration"
# Prints all forms of what it was given whenever it is asked, and at its end.
TALKER = (
    """
import base64, os, urllib.parse
def say(where):
    for secret in (os.environ["GIVEN"], os.environ.get("CONFIGURED", "none")):
        data = secret.encode()
        said = [secret, base64.b64encode(data).decode(), base64.b64encode(b"x" + data).decode(), data.hex(),
                urllib.parse.quote(secret)]
        os.write(1, (where + " begins " + " ".join(said) + " " + where + " ends\\n").encode())
say("start")
"""
    + SERVER.replace('if path == "/healthz":', 'say(path)\n    if path == "/healthz":')
    + 'say("last")\n'
)


def forms(secret: str) -> list[bytes]:
    data = secret.encode()
    shifted = [base64.b64encode(b"x" * n + data)[4:-4] for n in range(3)]
    return [data, data.hex().encode(), quote(secret).encode(), *shifted]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with installation(tmp_path_factory.mktemp("output")) as made:
        folder = made.home / "secrets" / "dev"
        folder.mkdir(parents=True)
        (folder / "given").touch(mode=0o600)
        (folder / "given").write_text(SECRET)
        made.place.config.mkdir(parents=True)
        (made.place.config / "shop.env").write_text(f"CONFIGURED={CONFIGURED}\n")
        made.rolled(spec(made))
        yield made


def spec(made):
    tree = made.home.parent / "talker"
    tree.mkdir(exist_ok=True)
    (tree / "serve.py").write_text(TALKER)
    digest, size = Store(made.home).pack(tree)
    service = {"artifact": "talker", "replicas": 1, "secrets": {"GIVEN": "given"}}
    one = made.spec("talks", service=service)
    return type(one)(**{**{f: getattr(one, f) for f in one.__slots__}, "artifacts": {
        "talker": Artifact("talker", "slug", digest, size)
    }})  # fmt: skip


def said(place) -> bytes:
    return b"".join(path.read_bytes() for path in place.place.logs.glob("*.log*"))


def leaks(place) -> list[bytes]:
    text = said(place)
    return [form for secret in (SECRET, CONFIGURED) for form in forms(secret) if form in text]


def masker(place) -> int:
    return read_json(place.place.memory)[0]["output_pid"]


def tell(place, path: str) -> None:
    """Ask for `path` and wait until what the replica says of it has been written."""
    assert place.get(path)[0] == 200
    until(lambda: f"{path} ends".encode() in said(place), f"the output about {path}")


def kill(pid: int) -> None:
    """Returns once it is dead: until then it may take from the pipe what it will not write any more."""
    process = psutil.Process(pid)
    process.kill()
    until(lambda: is_dead(process), f"the death of {pid}")


def is_dead(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_no_form_of_a_secret_reaches_the_file(place):
    tell(place, "/one")
    assert said(place).count(b"***") > 10
    assert leaks(place) == []
    modes = {path.stat().st_mode & 0o777 for path in place.place.logs.iterdir()}
    assert modes == {0o600}


def test_nobody_who_lists_processes_learns_what_is_masked(place):
    process = psutil.Process(masker(place))
    assert SECRET not in " ".join(process.cmdline())
    assert SECRET not in str(process.environ())


def test_whoever_is_killed_nothing_is_lost_and_nothing_leaks(place):
    replica = place.replicas()[0]
    first = masker(place)
    kill(first)
    tell(place, "/after-the-masker")
    until(lambda: masker(place) != first, "another one")

    os.kill(keeper(place.home)["pid"], signal.SIGKILL)
    until(lambda: keeper(place.home) is None, "the keeper's death")
    tell(place, "/without-a-keeper")
    # What it was started with is still hidden, though the files say something else by now.
    (place.home / "secrets" / "dev" / "given").write_text("something else")
    kill(masker(place))
    assert place.get("/without-anybody")[0] == 200
    start_keeper(place)
    until(lambda: b"/without-anybody ends" in said(place), "what had waited in the pipe")
    (place.home / "secrets" / "dev" / "given").write_text(SECRET)
    assert leaks(place) == []
    assert place.replicas()[0]["pid"] == replica["pid"]
    assert place.replicas()[0]["restarts"] == 0


def test_the_last_words_of_a_replica_are_all_there_and_its_masker_ends_with_it(place):
    replica, reader = place.replicas()[0], psutil.Process(masker(place))
    os.kill(replica["pid"], signal.SIGTERM)
    until(lambda: any(one["restarts"] for one in place.replicas()), "its end")
    assert said(place).rstrip().endswith(b"ends") or b"last ends" in said(place)
    assert b"last ends" in said(place)
    until(lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE, "the end of the reader")
    assert leaks(place) == []


def test_the_file_is_bounded_and_what_was_before_is_kept_once(tmp_path):
    out = masking.Bounded(tmp_path / "a.log", largest=1000)
    source, write = os.pipe()
    with subprocess.Popen(["seq", "1", "400"], stdout=write):
        os.close(write)
        masking.copy(source, out, Masker(["399"]))
    os.close(source)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"a.log", "a.log.1"} or sizes["a.log"] > 0
    for number in range(40):
        out.write(f"line {number} of what comes later, long enough to fill it\n")
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1500
    assert "line 39" in (tmp_path / "a.log").read_text()
    assert "399" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_disk_that_takes_nothing_does_not_stop_a_replica():
    out = masking.Bounded(Path("/dev/full"))
    source, write = os.pipe()
    os.write(write, b"words")
    os.close(write)
    masking.copy(source, out, Masker([]))
    os.close(source)


def test_what_the_target_and_the_file_say_openly_is_not_hidden():
    from pipelines.executors.rollout.local.config import Config

    service = Service("web", "sha256:" + "0" * 64, ("python",), route="/", env={"MODE": "production"},
                      secrets={"KEY": "key"})  # fmt: skip
    variables = {"MODE": "production", "KEY": "s3", "PATH": "/usr/bin:/bin", "ADDED": "long enough", "SHORT": "12",
                 processes.MARK: "abcdefabcdef:x"}  # fmt: skip
    assert hidden(variables, service, Config()) == ["s3", "long enough"]
    assert hidden(variables, service, Config({"MODE": "production"})) == ["production", "s3", "long enough"]
