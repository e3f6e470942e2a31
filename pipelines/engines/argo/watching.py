"""The part of the sweeper that keeps a follower for each place where Workflows are that runs show."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from pipelines.executors.connections import ConnectionsError, load
from pipelines.executors.workflow_places import Watch, WorkflowPlace

from .follower import Follower, open_places

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at whom to follow

Key = tuple[WorkflowPlace, Watch | None]


class Watching:
    """Runs in threads of the sweeper, for as long as that lives, or until it is stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._followers: dict[str, tuple[Follower, threading.Thread]] = {}

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="workflows", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Returns once no follower works any more."""
        self.stopped.set()
        for follower, thread in self._followers.values():
            follower.stopped.set()
            thread.join(timeout=30)

    def _run(self) -> None:
        while not self.stopped.wait(LOOK):
            try:
                self._look()
            except (DatabaseError, InterfaceError):
                connections.close_all()
            except ConnectionsError as error:
                log.warning("Workflows are not followed: %s", error)
        connections.close_all()

    def _look(self) -> None:
        wanted = self._wanted()
        for key in set(self._followers) - set(wanted):
            self._followers.pop(key)[0].stopped.set()
        for key, (place, watch) in wanted.items():
            if key not in self._followers or not self._followers[key][1].is_alive():
                follower = Follower(place, watch)
                self._followers[key] = follower, follower.start()

    def _wanted(self) -> dict[str, Key]:
        """By all that connections.yaml says of it, so that a change of the file is a new follower."""
        places = load(Path(settings.HOME)).workflows
        in_use = open_places()
        found: dict[str, Key] = {}
        for place in places.values():
            if place.name in in_use:
                found[repr((place, None))] = place, None
            found |= {repr((place, watch)): (place, watch) for watch in place.watch}
        return found
