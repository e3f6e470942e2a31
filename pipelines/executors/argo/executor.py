"""`argo`: a template or a Workflow of Argo as one stage. Submitted once, followed to its end, joined after a crash."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from pipelines.definition.credentials import concealed
from pipelines.executors.base import (
    Artifact,
    Change,
    Control,
    EngineAwayError,
    Log,
    Outcome,
    Plan,
    PlanError,
    Probe,
    Produced,
    StageSpec,
    Workplace,
    Yielded,
    refuse_changed,
)
from pipelines.executors.store import Store, StoreError

from .nodes import NodesElsewhereError
from .order import API, ATTEMPT, STAGE, Order, named, order, place_of
from .referred import refers, refuse_foreign_accounts
from .shown import as_yaml

STOP_PATIENCE = 60.0  # seconds that a Workflow has to stop, its exit handlers included, before it is terminated
PATIENCE = 20.0  # seconds for a cluster that does not answer


class ArgoExecutor:
    """Produces a report of the stage's name, whose meta holds the `outputs` of what ran."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace

    def plan(self, spec: StageSpec) -> Plan:
        wanted = order(spec, self.workplace)
        if refers(wanted):
            self._plan_references(wanted, spec.owner)
        manifest = as_yaml(wanted.manifest)
        account = f" as {wanted.account}"
        return Plan(
            summary=f"run {wanted.source} on Argo at {wanted.place.title}",
            commit=spec.commit,
            kind=spec.kind,
            stage=spec.stage,
            environment=spec.environment,
            artifacts={wanted.workspace.name: wanted.workspace.digest} if wanted.workspace else {},
            parameters=concealed(spec.parameters),
            changes=[
                Change("Workflow", after=f"{wanted.source} at {wanted.place.title}{account}", diff=_added(manifest)),
                *(Change(f"argument {name}", after=value) for name, value in sorted(wanted.arguments.items())),
            ],
        )

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError

        try:
            yield from self._start(spec, key, control)
        except PlanError as error:
            yield Outcome("failed", str(error))
        except ClusterAway as error:
            yield Outcome("engine", str(error))
        except (ClusterError, NodesElsewhereError, OSError, StoreError) as error:
            yield Outcome("error", str(error))

    def _start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        from .follow import Follower, look

        name = name_of(key)
        folder = self.workplace.folder(key)
        place = place_of(self.workplace.home, str(spec.with_.get("place") or ""), spec.owner)
        client = self._client(place, control)
        try:
            submitted = folder / "submitted.json"
            if look(client, name) is None:
                if submitted.exists():
                    yield Outcome("error", f"The Workflow {name} was deleted from {place.title} before it had ended.")
                    return
                if changed := refuse_changed(self, spec):
                    yield changed
                    return
                wanted = order(spec, self.workplace)
                self._check_references(client, wanted, spec.owner)
                self._submit(client, wanted, name, spec, key)
            submitted.write_text("{}")
            yield Log(f"Workflow {name} at {place.title}\n")
            ended: Any = None
            for item in Follower(client, name, folder).follow(control.stopping):
                if item is None or isinstance(item, dict):
                    ended = item
                else:
                    yield item
            yield from self._ending(client, spec, name, ended, stopping=control.stopping())
        finally:
            client.close()

    def _plan_references(self, wanted: Order, team: str) -> None:
        from pipelines.executors.kubernetes.errors import ClusterError

        client = self._client(wanted.place)
        try:
            self._check_references(client, wanted, team)
        except ClusterError as error:
            raise PlanError(str(error)) from error
        finally:
            client.close()

    def _check_references(self, client: Any, wanted: Order, team: str) -> None:
        refuse_foreign_accounts(wanted, team, lambda kind, name: client.get(f"{API}/{kind}", name))

    def _submit(self, client: Any, wanted: Order, name: str, spec: StageSpec, key: str) -> None:
        from pipelines.executors.kubernetes.errors import Conflict

        labels = {ATTEMPT: key, STAGE: _label(spec.stage)}
        try:
            client.create(named(wanted.manifest, name, labels))
        except Conflict as conflict:
            if conflict.reason != "AlreadyExists":
                raise

    def _ending(self, client: Any, spec: StageSpec, name: str, ended: Any, *, stopping: bool) -> Iterator[Yielded]:
        from .follow import is_done, outputs_of, why

        if ended is not None and stopping and not is_done(ended):
            ended = _stop(client, name)
            yield Outcome("canceled", f"The Workflow {name} was stopped.")
            return
        if ended is None:
            yield Outcome("error", f"The Workflow {name} was deleted from the cluster before it had ended.")
            return
        task = str(spec.with_.get("task") or "").partition("/")[2]
        outputs = outputs_of(ended, task)
        digest, size = Store(self.workplace.home).add_bytes(json.dumps(outputs, sort_keys=True).encode())
        meta = {"workflow": name, "outputs": outputs}
        yield Produced(Artifact(spec.stage, "report", digest, size, meta))
        phase = ended["status"]["phase"]
        state: Any = {"Succeeded": "succeeded", "Failed": "failed"}.get(phase, "error")
        words = "" if outputs.get("status") != "Skipped" else "Argo skipped it: its condition was false"
        yield Outcome(state, words if state == "succeeded" else why(ended), {"workflow": name})

    def probe(self, spec: StageSpec, key: str) -> Probe:
        from pipelines.executors.kubernetes.errors import ClusterError

        from .follow import is_done, look

        name = name_of(key)
        try:
            place = place_of(self.workplace.home, str(spec.with_.get("place") or ""), spec.owner)
            client = self._client(place)
            try:
                found = look(client, name)
            finally:
                client.close()
        except (PlanError, ClusterError, OSError) as error:
            return Probe("away", f"Whether the Workflow {name} runs cannot be found out: {error}")
        if found is not None:
            return Probe("done" if is_done(found) else "running")
        if (self.workplace.folder(key) / "submitted.json").exists():
            return Probe("done", f"the Workflow {name} is gone from the cluster")
        return Probe("never_started")

    def cancel(self, spec: StageSpec, key: str) -> None:
        from pipelines.executors.kubernetes.errors import ClusterError

        try:
            place = place_of(self.workplace.home, str(spec.with_.get("place") or ""), spec.owner)
            client = self._client(place)
            try:
                _stop(client, name_of(key))
            finally:
                client.close()
        except (PlanError, ClusterError, OSError) as error:
            raise EngineAwayError(f"The Workflow {name_of(key)} cannot be stopped now: {error}") from error

    def _client(self, place: Any, control: Control | None = None) -> Any:
        from pipelines.executors.kubernetes.client import Client  # a second to import

        stopping = control.stopping if control else lambda: False
        return Client(place.cluster, place.namespace, patience=PATIENCE, stopping=stopping)


def name_of(key: str) -> str:
    """The name of the Workflow of an attempt."""
    return f"burger-{key}"[:63].rstrip("-")


def _label(text: str) -> str:
    kept = "".join(character if character.isalnum() or character in "-_." else "-" for character in text)
    return kept[:63].strip("-_.")


def _added(manifest: str) -> str:
    return "".join(f"+{line}\n" for line in manifest.splitlines())


def _stop(client: Any, name: str) -> Any:
    """Stop it, with its exit handlers, and wait until nothing of it runs; if that takes too long, without them."""
    from .follow import is_done, look, patch

    began = time.monotonic()
    wanted = ""
    while (found := look(client, name)) is not None and not is_done(found):
        late = time.monotonic() - began
        if late > 2 * STOP_PATIENCE:
            raise EngineAwayError(f"The Workflow {name} does not stop; the controller does not seem to run.")
        strategy = "Stop" if late < STOP_PATIENCE else "Terminate"
        if strategy != wanted:
            wanted = strategy
            patch(client, name, {"spec": {"shutdown": strategy}})
        time.sleep(0.2)
    return found
