"""Whether a stage may have killed its worker, or all workers were stopped together."""

from __future__ import annotations

import os
import socket

import pytest

from pipelines.engines.local import identity, loop


@pytest.fixture
def run_dir(settings, tmp_path):
    settings.RUN_DIR = tmp_path
    return tmp_path


def worker(started: int) -> str:
    """A worker of this machine, since this boot, that began so many clock ticks after it."""
    return f"{socket.gethostname()}:4242:{started}-{identity._boot()}"


def test_without_a_main_process_all_have_ended_together(run_dir):
    assert identity.ended_with_the_others(worker(1))
    held = loop.announce_workers()
    held.close()
    assert identity.ended_with_the_others(worker(1))


def test_a_worker_of_an_earlier_main_process_ended_with_it(run_dir):
    held = loop.announce_workers()
    mine = identity._started(os.getpid())
    assert identity.ended_with_the_others(worker(mine - 100))
    assert not identity.ended_with_the_others(worker(mine + 100)), "its main process lives: something killed it"
    assert identity.ended_with_the_others(worker(mine + 100).replace(identity._boot(), "01234567"))
    held.close()
