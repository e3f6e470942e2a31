"""One namespace of one cluster: the Workflows in it that runs show, followed as they change, and told what the portal
decided. Every step is safe to repeat.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, cast

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from pipelines.executors.argo.follow import patch
from pipelines.executors.kubernetes.errors import ClusterError, Conflict, Refused
from pipelines.executors.workflow_places import Watch, WorkflowPlace
from pipelines.models import AdoptedWorkflow, Approval, Stage
from pipelines.runs import mirrored
from pipelines.runs.mirrored import Ending
from pipelines.states import ENDED, RunState, State

from . import foreign
from .phases import NodesElsewhereError, Seen, nodes_of
from .standings import NODES, Known, Standings, is_asked, standings
from .weave import ANSWERS

log = logging.getLogger(__name__)

KIND = "argoproj.io/v1alpha1/Workflow"
ADOPTED = "burger-stack/adopted"  # the label of what the portal submitted for a run that shows it
TICK = 0.2  # seconds between two looks at what the portal decided
AFTER_A_FAILURE = 1.0
PATIENCE = 5.0
AGAIN = 1.0  # seconds until something that the cluster was told is told again
LOG_LIMIT = 1024 * 1024  # bytes of one node's output
NODE_ID = "workflows.argoproj.io/node-id"
OF = "workflows.argoproj.io/workflow"


class Follower:
    """Without `watch`, it follows what the portal submitted itself; with it, what that selects."""

    def __init__(self, place: WorkflowPlace, watch: Watch | None = None) -> None:
        self.place, self.watch = place, watch
        self.stopped = threading.Event()
        self._seen: dict[str, dict[str, Any]] = {}
        self._stages: dict[int, list[Known]] = {}
        self._said: dict[str, float] = {}
        self._client: Any = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=f"workflows-{self.place.name}", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                for _ in self.steps():
                    if self.stopped.is_set():
                        break
            except (ClusterError, OSError) as error:
                self._tell_runs(str(error))
            except (DatabaseError, InterfaceError) as error:
                log.warning("Workflows cannot be followed while the database is away: %s", error)
                connections.close_all()
            except Exception:
                log.exception("The Workflows of %s could not be followed", self.place.title)
                connections.close_all()
            self.stopped.wait(AFTER_A_FAILURE)
        connections.close_all()

    def steps(self) -> Iterator[None]:
        """Follows for ever, a step at a time. Raises ClusterError, OSError."""
        from pipelines.executors.kubernetes.client import Client

        self._client = Client(self.place.cluster, self.place.namespace, patience=PATIENCE, timeout=PATIENCE)
        self._seen.clear()
        labels = self.watch.labels if self.watch else ADOPTED
        try:
            with closing(cast(Any, self._client.watch(KIND, labels=labels, tick=TICK))) as watch:
                last, synced = 0.0, False
                for event in watch:
                    synced = self._step(event) or synced
                    if synced and time.monotonic() - last > TICK:
                        last = time.monotonic()
                        self._act()
                    yield
        finally:
            self._client.close()

    def _step(self, event: Any) -> bool:
        """Whether all that was there before has been told by now."""
        if event is None:
            return False
        if event.type == "SYNCED":
            self._tell_runs("")
            self._look_for_vanished()
            return True
        if event.type == "DELETED":
            self._vanished(event.object)
        else:
            self._take(event.object)
        return False

    def _rows(self) -> list[AdoptedWorkflow]:
        here = {"place": self.place.name, "cluster": self.place.cluster.name, "namespace": self.place.namespace}
        rows = AdoptedWorkflow.objects.filter(**here, open=True, ours=self.watch is None)
        return list(rows.select_related("run__pipeline"))

    def _tell_runs(self, words: str) -> None:
        for row in self._rows():
            mirrored.away(run=row.run_id, words=words)

    # --- what the cluster says ----------------------------------------------------------------------------

    def _take(self, workflow: dict[str, Any]) -> None:
        uid = workflow["metadata"]["uid"]
        self._seen[uid] = workflow
        row = self._row_of(workflow)
        if row is None and self.watch is not None:
            row = foreign.begin(workflow, self.place, self.watch)
        if row is None or not row.open:
            return
        try:
            found = standings(workflow, self._known(row.run_id))
        except NodesElsewhereError as error:
            mirrored.away(run=row.run_id, words=str(error))
            return
        self._keep_output(row, workflow, found)
        mirrored.observe(run=row.run_id, seen=found.observed, ending=found.ending)

    def _row_of(self, workflow: Mapping[str, Any]) -> AdoptedWorkflow | None:
        rows = AdoptedWorkflow.objects.select_related("run").filter(cluster=self.place.cluster.name)
        metadata = workflow["metadata"]
        if row := rows.filter(uid=metadata["uid"]).first():
            return row
        row = rows.filter(uid="", namespace=self.place.namespace, name=metadata["name"], ours=True).first()
        if row is not None:
            mirrored.submitted(run=row.run_id, uid=metadata["uid"])
        return row

    def _known(self, run: int) -> list[Known]:
        if run not in self._stages:
            definitions = Stage.objects.filter(run=run).order_by("position").values_list("definition", flat=True)
            self._stages[run] = [Known.of(definition) for definition in definitions]
        return self._stages[run]

    def _keep_output(self, row: AdoptedWorkflow, workflow: Mapping[str, Any], found: Standings) -> None:
        """Before its end is told: afterwards the pods may be gone."""
        wanted = [
            (stage, one)
            for stage, nodes in found.nodes.items()
            for one in nodes
            if one.type == "Pod" and one.state in ENDED and one.started_at and one.id not in row.told
        ]
        pods = self._pods(row.name) if wanted else {}
        for stage, one in wanted:
            mirrored.told(
                run=row.run_id, stage=stage, node=one.id, text=self._output(pods.get(one.id, ""), one),
                observed=found.observed[stage],
            )  # fmt: skip

    def _pods(self, workflow: str) -> dict[str, str]:
        found = self._client.list("Pod", labels=f"{OF}={workflow}")
        return {(pod["metadata"].get("annotations") or {}).get(NODE_ID, ""): pod["metadata"]["name"] for pod in found}

    def _output(self, pod: str, node: Seen) -> str:
        if not pod:
            return ""
        try:
            text = self._client.log(pod, "main", limit=LOG_LIMIT)
        except Refused:
            return ""  # its container never began
        prefix = f"{node.index} | " if node.index else ""
        return "".join(f"{prefix}{line}\n" for line in text.splitlines())

    def _look_for_vanished(self) -> None:
        for row in self._rows():
            if row.uid and row.uid not in self._seen:
                self._gone(row)

    def _vanished(self, workflow: Mapping[str, Any]) -> None:
        uid = workflow["metadata"]["uid"]
        self._seen.pop(uid, None)
        for row in AdoptedWorkflow.objects.filter(cluster=self.place.cluster.name, uid=uid, open=True):
            self._gone(row)

    def _gone(self, row: AdoptedWorkflow) -> None:
        words = f"the Workflow {row.name} was deleted from the cluster before it had ended"
        mirrored.observe(run=row.run_id, seen={}, ending=Ending(RunState.ERROR, words))

    # --- what the portal decided --------------------------------------------------------------------------

    def _act(self) -> None:
        for row in self._rows():
            try:
                if not row.uid:
                    self._submit(row)
                elif (workflow := self._seen.get(row.uid)) is not None and row.governed:
                    self._stop(row, workflow)
                    self._let_go(row, workflow)
            except Refused as refused:
                log.warning("%s: %s", row, refused)

    def _submit(self, row: AdoptedWorkflow) -> None:
        if row.run.stopping:
            return mirrored.observe(run=row.run_id, seen={}, ending=Ending(RunState.CANCELED, row.run.reason))
        try:
            made = self._client.create(row.manifest)
        except Conflict as conflict:
            if conflict.reason != "AlreadyExists":
                raise
            made = self._client.get(KIND, row.name)
        except Refused as refused:
            ending = Ending(RunState.ERROR, f"the cluster does not take the Workflow: {refused}")
            return mirrored.observe(run=row.run_id, seen={}, ending=ending)
        if made is not None:
            mirrored.submitted(run=row.run_id, uid=made["metadata"]["uid"])
        return None

    def _stop(self, row: AdoptedWorkflow, workflow: Mapping[str, Any]) -> None:
        if not row.run.stopping:
            return
        how = "Stop" if row.run.stopping == "cancel" else "Terminate"
        present = (workflow.get("spec") or {}).get("shutdown")
        if present not in (how, "Terminate") and self._is_due(f"stop {row.pk}"):
            self._patch(row, {"spec": {"shutdown": how}})

    def _let_go(self, row: AdoptedWorkflow, workflow: Mapping[str, Any]) -> None:
        """Resume the nodes whose plan was approved, and no others; fail those that were rejected."""
        decided = Stage.objects.filter(run=row.run_id, gated=True, state__in=(State.QUEUED, State.REJECTED))
        for stage in decided.exclude(plan_digest=""):
            nodes = nodes_of(workflow)
            waiting = [
                key
                for key in ((stage.plan or {}).get("details") or {}).get(NODES, ())
                if nodes.get(key, {}).get("type") == "Suspend" and nodes[key].get("phase") == "Running"
            ]
            if waiting and self._is_due(f"node {waiting}"):
                ended = _rejected(stage) if stage.state == State.REJECTED else _approved(stage)
                self._end_nodes(row, workflow, nodes, {key: ended(nodes[key]) for key in waiting})

    def _end_nodes(
        self,
        row: AdoptedWorkflow,
        workflow: Mapping[str, Any],
        nodes: Mapping[str, Mapping[str, Any]],
        ends: Mapping[str, Mapping[str, Any]],
    ) -> None:
        status: dict[str, Any] = {"nodes": dict(ends)}
        if (workflow.get("status") or {}).get("compressedNodes"):
            # The controller packs them again; as long as they are packed, none can be named in a patch.
            status = {
                "compressedNodes": None,
                "nodes": {key: {**node, **ends.get(key, {})} for key, node in nodes.items()},
            }
        self._patch(row, {"status": status})

    def _patch(self, row: AdoptedWorkflow, body: dict[str, Any]) -> None:
        patch(self._client, row.name, {**body, "metadata": {"uid": row.uid}})

    def _is_due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(what, -AGAIN) < AGAIN:
            return False
        self._said[what] = now
        return True


def _now() -> str:
    return timezone.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _rejected(stage: Stage) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda _: {"phase": "Failed", "message": stage.reason[:1000] or "rejected", "finishedAt": _now()}


def _approved(stage: Stage) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """How a node ends: with who, when, why and which plan as its outputs where it is a gate of ours, which has room for
    them; else with the values that it asked for."""
    with transaction.atomic():
        votes = list(
            Approval.objects.select_related("user").filter(
                stage=stage, voided="", verdict=Approval.Verdict.APPROVE, plan_digest=stage.plan_digest
            )
        )
    by = ", ".join(f"{vote.user.username} for {vote.team}" for vote in votes)
    at = max((vote.at for vote in votes), default=timezone.now()).isoformat()
    why = "; ".join(vote.reason for vote in votes if vote.reason)
    ended = {"phase": "Succeeded", "message": f"approved by {by}"[:1000], "finishedAt": _now()}
    if stage.definition["with_"].get("asks_before"):
        said = dict(zip(ANSWERS, (by, at, why, stage.plan_digest), strict=True))
        outputs = {"parameters": [{"name": name, "value": value} for name, value in said.items()]}
        return lambda _: {**ended, "outputs": outputs}
    values = {name: value for vote in votes for name, value in vote.values.items()}
    return lambda node: {**ended, **_with_values(node, values)}


def _with_values(node: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The outputs of a node with what somebody supplied; {} where it asked for nothing."""
    known = (node.get("outputs") or {}).get("parameters") or ()
    if not any(is_asked(one) and one["name"] in values for one in known):
        return {}
    return {"outputs": {"parameters": [_with_value(one, values) for one in known]}}


def _with_value(output: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    if not is_asked(output) or output["name"] not in values:
        return dict(output)
    return {key: item for key, item in output.items() if key != "valueFrom"} | {"value": values[output["name"]]}


def open_places() -> set[str]:
    """The places of Workflows that the portal submitted and that have not ended."""
    found = AdoptedWorkflow.objects.filter(open=True, ours=True).values_list("place", flat=True)
    return set(found.distinct())
