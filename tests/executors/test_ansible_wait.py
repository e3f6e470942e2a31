"""The module that waits for a configuration to be in force, against files such as the keeper writes."""

from __future__ import annotations

import importlib.util
import json
import threading
from pathlib import Path

import pytest

from pipelines.executors.rollout.local.config import read_access, read_config
from pipelines.executors.rollout.local.place import Place

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
MODULE = PLAYBOOKS / "roles" / "wait_effective" / "library" / "environment_effective.py"


@pytest.fixture(scope="module")
def effective():
    specification = importlib.util.spec_from_file_location("environment_effective", MODULE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path, "staging")
    found.config.mkdir(parents=True)
    (found.config / "variables.env").write_text("SHOP_NAME= Burger = Stack \n# a comment\nBOTH=1\nno line\n")
    (found.config / "secrets.env").write_text("KEY=ä\nBOTH=2\n")
    found.access.write_text(json.dumps({"allow": ["127.0.0.1/8", "::1/128"]}))
    return found


def observe(place, *, ready=True, revisions=("a", "a"), **more):
    """Write what a keeper would that has read the files of `place`, with one replica for each revision."""
    replicas = [{"ready": ready, "revision": revision, "state": "starting"} for revision in revisions]
    seen = {
        "sets": {"r1": {"backend": replicas}},
        "config": {"digest": read_config(place).digest, "problem": ""},
        "access": {"allow": list(read_access(place)[0]), "problem": ""},
    }
    place.observed.write_text(json.dumps({**seen, **more}))


def test_what_the_keeper_reads_is_what_is_waited_for(effective, place):
    assert effective.config_digest(place.folder) == read_config(place).digest
    assert tuple(effective.allowed(place.folder)) == read_access(place)[0]
    observe(place)
    assert effective.wait(place.folder, 20) == (True, "in force")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"config": {"digest": "sha256:0", "problem": ""}}, "variables sha256:0 are in force"),
        ({"access": {"allow": ["10.0.0.0/8"]}}, "may come in"),
        ({"ready": False}, "2 replicas are not ready: starting"),
        ({"revisions": ("a", "b")}, "still being replaced"),
    ],
)
def test_what_is_not_in_force_yet_is_told(effective, place, seen, words):
    observe(place, **seen)
    done, found = effective.wait(place.folder, 0)
    assert (done, words in found) == (False, True)


def test_nothing_is_waited_for_where_nothing_runs(effective, place):
    assert effective.wait(place.folder, 0) == (True, "nothing runs")
    observe(place, revisions=())
    assert effective.wait(place.folder, 0) == (True, "nothing runs")


def test_a_keeper_that_does_not_tell_is_not_waited_for(effective, place):
    place.observed.write_text(json.dumps({"sets": {"r1": {"backend": [{}]}}}))
    assert effective.wait(place.folder, 20) == (True, "in force")


def test_the_wait_ends_when_the_keeper_follows(effective, place):
    observe(place, config={"digest": "", "problem": ""})
    later = threading.Timer(0.3, observe, [place])
    later.start()
    try:
        assert effective.wait(place.folder, 20) == (True, "in force")
    finally:
        later.join()
