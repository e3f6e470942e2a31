"""Watching one Workflow to its end: progress, the output of its pods, and what it gave."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.executors.base import Log, Progress, Yielded
from pipelines.executors.kubernetes.client import Client
from pipelines.executors.kubernetes.errors import ClusterError, Refused
from pipelines.executors.kubernetes.names import MANAGER
from pipelines.states import ENDED, State

from .nodes import nodes_of, state_of

GROUP = "argoproj.io"
KIND = f"{GROUP}/v1alpha1/Workflow"
LOOK = 0.5  # seconds between looks
LOG_LIMIT = 4 * 1024 * 1024  # bytes of one pod's output
MOST_PODS = 200  # whose output is kept
NODE_NAME = "workflows.argoproj.io/node-name"
OF = "workflows.argoproj.io/workflow"
LEAVES = frozenset({"Pod", "HTTP", "Plugin", "Suspend"})
DONE = frozenset({"Succeeded", "Failed", "Error"})


def patch(client: Client, name: str, body: dict[str, Any]) -> None:
    """A merge patch of a Workflow, its status included. Raises Refused, ClusterAway."""
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{client.namespace}/workflows/{name}"
    query = {"fieldManager": MANAGER}
    client.raw("PATCH", path, query, body, "application/merge-patch+json", f"patch Workflow/{name}")


def look(client: Client, name: str) -> dict[str, Any] | None:
    return client.get(KIND, name)


def is_done(workflow: Mapping[str, Any]) -> bool:
    """Whether nothing of it goes on: its phase may be there before its pods' results are."""
    return (workflow.get("status") or {}).get("phase") in DONE


class Follower:
    """`folder` keeps how much of each pod's output was told, so that another worker goes on from there."""

    def __init__(self, client: Client, name: str, folder: Path) -> None:
        self.client, self.name = client, name
        self._file = folder / "told.json"
        self._told: dict[str, int] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._complete: set[str] = set()
        self._said = ""

    def follow(self, stopping: Callable[[], bool]) -> Iterator[Yielded | dict[str, Any] | None]:
        """What happens, then the Workflow as it ended, or None if it is gone. Ends early when told to stop, with the
        Workflow as it is. Raises ClusterError."""
        while True:
            found = look(self.client, self.name)
            if found is None:
                yield None
                return
            done = is_done(found)
            yield from self._progress(found)
            yield from self._output(last=done)
            if done or stopping():
                yield found
                return
            time.sleep(LOOK)

    def _progress(self, workflow: Mapping[str, Any]) -> Iterator[Progress]:
        leaves = [one for one in nodes_of(workflow).values() if one.get("type") in LEAVES]
        states = [(one, *state_of(one)) for one in leaves]
        ended = sum(state in ENDED for _, state, _, _ in states)
        now = [
            f"{one.get('displayName')} {_words(state, reason)}"
            for one, state, _, reason in states
            if state not in ENDED
        ]
        text = f"{ended} of {len(states)} nodes have ended" + (f"; {', '.join(now[:3])}" if now else "")
        if states and text != self._said:
            self._said = text
            yield Progress(text, ended, len(states), {"workflow": self.name})

    def _output(self, *, last: bool) -> Iterator[Log]:
        pods = self.client.list("Pod", labels=f"{OF}={self.name}")
        for pod in pods[:MOST_PODS]:
            name = pod["metadata"]["name"]
            phase = (pod.get("status") or {}).get("phase")
            if name in self._complete or phase in (None, "Pending"):
                continue
            try:
                text = self.client.log(name, "main", limit=LOG_LIMIT)
            except Refused:
                continue  # its container has not begun, or is gone already
            if phase in ("Succeeded", "Failed"):
                self._complete.add(name)
            whole = text if last or name in self._complete else text[: text.rfind("\n") + 1]
            new = whole[self._told.get(name, 0) :]
            if new:
                step = (pod["metadata"].get("annotations") or {}).get(NODE_NAME, name).removeprefix(f"{self.name}")
                yield Log("".join(f"{step.lstrip('.') or 'main'} | {line}\n" for line in new.splitlines()))
                self._told[name] = len(whole)
                self._file.write_text(json.dumps(self._told))


def _words(state: State, reason: str) -> str:
    word = "waits" if state in (State.WAITING, State.QUEUED, State.PENDING) else str(state)
    return f"{word} ({reason})" if reason else word


def why(workflow: Mapping[str, Any]) -> str:
    """In a sentence, how it ended."""
    status = workflow.get("status") or {}
    failed = [
        f"{node.get('displayName')}: {reason}"
        for node in nodes_of(workflow).values()
        for state, _, reason in [state_of(node)]
        if state in (State.FAILED, State.ERROR) and node.get("type") in LEAVES and reason
    ]
    return "; ".join(failed[:3]) or str(status.get("message") or f"the Workflow ended as {status.get('phase')}")


def outputs_of(workflow: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What it gave: `parameters`, `result`, `exitCode` and `status`, of the one task if there is one, else of its
    entrypoint. Of a fan, lists in JSON."""
    nodes = list(nodes_of(workflow).values())
    name = str(workflow["metadata"]["name"])
    whole = f"{name}[0].{task}" if task else name
    own = [one for one in nodes if one.get("name") == whole]
    items = [one for one in nodes if str(one.get("name", "")).startswith(f"{whole}(") and one.get("boundaryID") == name]
    found = own or sorted(items, key=lambda one: _index(str(one["name"]), whole))
    if not found:
        return {}
    if own:
        return {**_outputs(own[0]), "status": own[0].get("phase", "")}
    each = [_outputs(one) for one in found]
    given: dict[str, Any] = {"status": (workflow.get("status") or {}).get("phase", "")}
    results = [one["result"] for one in each if "result" in one]
    if results:
        given["result"] = json.dumps([_value(one) for one in results])
    names: Sequence[str] = sorted({key for one in each for key in one.get("parameters", {})})
    given["parameters"] = {
        key: json.dumps([_value(one["parameters"][key]) for one in each if key in one.get("parameters", {})])
        for key in names
    }
    return given


def _outputs(node: Mapping[str, Any]) -> dict[str, Any]:
    raw = node.get("outputs") or {}
    found: dict[str, Any] = {key: raw[key] for key in ("result", "exitCode") if key in raw}
    found["parameters"] = {one["name"]: one["value"] for one in raw.get("parameters") or () if "value" in one}
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _index(name: str, whole: str) -> int:
    number = name.removeprefix(f"{whole}(").partition(":")[0].rstrip(")")
    return int(number) if number.isdigit() else 0


def close_quietly(client: Client) -> None:
    try:
        client.close()
    except ClusterError:  # nothing depends on it
        return
