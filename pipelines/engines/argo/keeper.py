"""The part of the sweeper that looks after runs on Argo: follows their Workflows, and brings run and Workflow together
whenever one of them has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from typing import Any, cast

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Q

from pipelines import doorbell
from pipelines.executors.connections import Argo, ConnectionsError
from pipelines.executors.kubernetes.errors import ClusterError, Refused
from pipelines.models import Run, Workflow

from . import mirror, submit
from .identity import argo_settings
from .manifests import INSTALLATION
from .nodes import Summary, summary

log = logging.getLogger(__name__)

TICK = 0.1  # seconds between two looks at what has changed
LOOK = 2.0  # seconds after which all runs are looked at without anybody having rung
IDLE = 2.0  # seconds between two looks whether there is anything to do with Argo at all
AFTER_A_FAILURE = 1.0
PATIENCE = 5.0


class Keeper:
    """Runs in a thread of the sweeper, for as long as that lives."""

    def __init__(self) -> None:
        self._seen: dict[str, Summary] = {}
        self._tasks: dict[str, dict[str, list[str]]] = {}
        self._runs: dict[int, int] = {}  # the last event of each run that was looked at
        self._dirty: set[str] = set()
        self._synced = False
        self._looked = 0.0
        self._bell: doorbell.Bell | None = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="argo", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        self._bell = doorbell.Bell(doorbell.ARGO)
        while True:
            try:
                self._once()
            except (DatabaseError, InterfaceError) as error:
                log.warning("Runs on Argo cannot be looked at while the database is away: %s", error)
                connections.close_all()
            except Exception:
                log.exception("Runs on Argo could not be looked at; trying again in %s s", AFTER_A_FAILURE)
                connections.close_all()
            time.sleep(AFTER_A_FAILURE)

    def _once(self) -> None:
        if not (open_runs := self._open()):
            self._bell_or(IDLE)
            return
        try:
            self._follow(_argo())
        except (ClusterError, ConnectionsError, OSError) as away:
            self._synced = False
            for run in open_runs:
                mirror.away(run, str(away))
            self._runs.clear()

    def _bell_or(self, seconds: float) -> None:
        if self._bell is not None:
            self._bell.wait(seconds)

    def _open(self) -> dict[int, int]:
        """The runs to look after, and the last event of each."""
        wanted = Q(ended_at=None) | Q(workflows__open=True)
        return dict(Run.objects.filter(wanted, engine="argo").values_list("pk", "last_seq").distinct())

    def _follow(self, argo: Argo) -> None:
        """Until there is nothing to follow, or Argo is somewhere else by now."""
        from pipelines.executors.kubernetes.client import Client

        client = Client(argo.cluster, argo.namespace, patience=PATIENCE, timeout=PATIENCE)
        self._seen.clear()
        self._synced = False
        labels = f"{INSTALLATION}={submit.installation()}"
        with closing(cast(Any, client.watch(submit.KIND, labels=labels, tick=TICK))) as watch:
            last = time.monotonic()
            for event in watch:
                if event is not None and event.type == "SYNCED":
                    self._begin()
                elif event is not None:
                    self._take(event.type, event.object)
                if self._synced and (event is None or time.monotonic() - last > TICK):
                    last = time.monotonic()
                    if not self._round(client, argo):
                        break
        client.close()

    def _begin(self) -> None:
        """The list is complete: what is not in it is not in the cluster."""
        first, self._synced = not self._synced, True
        self._runs.clear()
        if first:
            for run in self._open():
                mirror.back(run)
        for workflow in Workflow.objects.filter(open=True).exclude(uid=""):
            if workflow.name not in self._seen:
                mirror.vanished(workflow)

    def _take(self, kind: str, item: dict[str, object]) -> None:
        name = str(item["metadata"]["name"])  # type: ignore[index]
        if kind == "DELETED":
            self._seen.pop(name, None)
            for workflow in Workflow.objects.filter(name=name, open=True):
                mirror.vanished(workflow)
                self._runs.pop(workflow.run_id, None)
            return
        self._seen[name] = summary(item, self._tasks_of(name))
        self._dirty.add(name)

    def _tasks_of(self, name: str) -> dict[str, list[str]]:
        if name not in self._tasks:
            found = Workflow.objects.filter(name=name).values_list("tasks", flat=True).first()
            if found is None:
                return {}
            self._tasks[name] = found
        return self._tasks[name]

    def _round(self, client: object, argo: Argo) -> bool:
        """Look after what has changed; False once there is nothing to look after, or Argo is elsewhere."""
        rung = self._bell is not None and self._bell.drain()
        due = time.monotonic() - self._looked > LOOK
        if not (rung or due or self._dirty):
            return True
        dirty, self._dirty = self._dirty, set()
        changed = set(Workflow.objects.filter(name__in=dirty).values_list("run", flat=True)) if dirty else set()
        if rung or due:
            self._looked = time.monotonic()
            found = self._open()
            changed |= {run for run, last in found.items() if self._runs.get(run) != last or due}
            self._runs = {run: last for run, last in self._runs.items() if run in found}
            if not found or argo_settings() != argo:
                return False
        for run in sorted(changed):
            self._look_after(run, client, argo)
        return True

    def _look_after(self, run: int, client: object, argo: Argo) -> None:
        last = Run.objects.values_list("last_seq", flat=True).get(pk=run)
        names = Workflow.objects.filter(run=run, open=True).values_list("name", flat=True)
        try:
            mirror.sync(run, client, argo, {name: self._seen[name] for name in names if name in self._seen})
        except Refused as refused:
            log.warning("Run %s: %s", run, refused)
        self._runs[run] = last


def _argo() -> Argo:
    if (argo := argo_settings()) is None:
        raise ConnectionsError("connections.yaml does not say where Argo is: write `argo:` into it.")
    return argo
