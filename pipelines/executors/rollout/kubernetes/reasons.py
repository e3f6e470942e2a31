"""What keeps pods from being ready, in words: the cluster's own, as far as it has any. Pure, but for a pod's log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipelines.executors.kubernetes.errors import FieldConflict
from pipelines.executors.kubernetes.names import Ref
from pipelines.executors.rollout.kubernetes.seen import containers, is_going, is_ready

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_MAKING = ("FailedCreate", "SuccessfulCreate")
# (pod, container, previous) -> the last line that it wrote, "" where it wrote none.
LastLine = Callable[[str, str, bool], str]


def back_again(ref: Ref, fields: Iterable[FieldConflict]) -> str:
    """What is told of fields that others had changed."""
    what = ", ".join(f"{one.field} (by {one.manager})" for one in fields)
    return f"{ref} was changed by others; it is as in the manifest again: {what}"


def why(pod: Mapping[str, Any], last_line: LastLine) -> str:
    """One sentence for a pod that is not ready, "" for one that is or that ends."""
    if is_going(pod) or is_ready(pod):
        return ""
    name = pod["metadata"]["name"]
    said = _scheduling(pod) or next((text for one in containers(pod) if (text := _container(name, one, last_line))), "")
    return f"{name}: {said}" if said else f"{name}: {_waits(pod)}"


def _scheduling(pod: Mapping[str, Any]) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"cannot be placed on a node: {condition.get('message') or condition.get('reason')}"
    return ""


def _container(pod: str, status: Mapping[str, Any], last_line: LastLine) -> str:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), " ".join(str(waiting.get("message", "")).split())
    if reason in _PULL:
        return f"its image {status.get('image', '')} cannot be pulled: {message or reason}"
    if reason in _CONFIGURATION:
        return f"{status['name']} cannot be started: {message or reason}"
    ended = (status.get("state") or {}).get("terminated") or {}
    before = (status.get("lastState") or {}).get("terminated") or {}
    how = ended or before
    if not how or (how.get("exitCode") == 0 and how.get("reason") == "Completed" and not before):
        return ""
    times = f", {status['restartCount']} times now" if status.get("restartCount") else ""
    what = "was killed for using too much memory" if how.get("reason") == "OOMKilled" else "ended"
    line = last_line(pod, str(status["name"]), not ended)
    words = f": {line}" if line else ""
    return f"{status['name']} {what} with exit code {how.get('exitCode')}{times}{words}"


def _waits(pod: Mapping[str, Any]) -> str:
    for one in containers(pod):
        if not one.get("ready") and (one.get("state") or {}).get("running"):
            return f"{one['name']} runs, but its readiness probe does not pass yet"
    return "starts"


def refusals(owners: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why a ReplicaSet or Deployment may not make its pods: quota, limits, security."""
    found = []
    for owner in owners:
        for condition in (owner.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                found.append(f"{owner['metadata']['name']}: no pod may be made: {condition.get('message')}")
    return found


def events_of(owner: str, events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a controller reported last about an object that may not make its pods (StatefulSet, DaemonSet), unless it
    has made one since."""
    about = [
        event
        for event in events
        if event.get("reason") in _MAKING and (event.get("involvedObject") or {}).get("name") == owner
    ]
    # In the same second it is the refusal that counts: whoever asks knows that a pod is missing.
    last = max(about, key=lambda event: (_when(event), event["reason"] == "FailedCreate"), default=None)
    if last is None or last["reason"] != "FailedCreate":
        return []
    return [f"{owner}: no pod may be made: {' '.join(str(last.get('message', '')).split())}"]


def _when(event: Mapping[str, Any]) -> str:
    """To the second, as RFC 3339."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")[:19]
