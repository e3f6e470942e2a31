"""Who asks: a pod shows the token of its service account, which its cluster vouches for; an attempt shows its own."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import signing

from pipelines.executors.connections import Argo, ConnectionsError, load

from .manifests import AUDIENCE, PHASE, STAGE

TRUSTED = 30.0  # seconds for which a token that was vouched for is not asked about again
_SALT = "burger-stack.attempt"
_LONGEST = 30 * 86_400  # seconds for which an attempt may last


class Stranger(Exception):
    """Not who may ask; the message is a whole sentence."""


class ClusterSilent(Exception):
    """The cluster cannot be asked who this is; it may be tried again."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a Workflow, as its cluster tells of it. `phase` is what it is there for, "plan" or "work"."""

    name: str
    uid: str
    account: str
    workflow: str
    workflow_uid: str
    stage: str
    phase: str

    @property
    def worker(self) -> str:
        return f"argo:{self.name}:{self.uid}"


def argo_settings() -> Argo | None:
    """What connections.yaml says of Argo, None where it says nothing. Raises ConnectionsError."""
    return load(Path(settings.HOME)).argo


_known: dict[str, tuple[float, Pod]] = {}
_guard = threading.Lock()
_clients: dict[Argo, Any] = {}


def client_of(argo: Argo) -> Any:
    """A connection to the cluster of Argo, kept for the next call."""
    from pipelines.executors.kubernetes.client import Client  # a second to import

    with _guard:
        if argo not in _clients:
            _clients.clear()
            _clients[argo] = Client(argo.cluster, argo.namespace, patience=5, timeout=5)
        return _clients[argo]


def pod_of(token: str) -> Pod:
    """Whose token this is. Raises Stranger, ClusterSilent."""
    key = hashlib.sha256(token.encode()).hexdigest()
    with _guard:
        until, pod = _known.get(key, (0.0, None))
    if pod is not None and until > time.monotonic():
        return pod
    from pipelines.executors.kubernetes.errors import ClusterAway, ClusterError

    try:
        argo = argo_settings()
        if argo is None:
            raise Stranger("This installation has no Argo: connections.yaml does not name one.")
        found = _asked(client_of(argo), argo, token)
    except (ClusterAway, OSError) as error:
        raise ClusterSilent(str(error)) from error
    except (ClusterError, ConnectionsError) as error:
        raise Stranger(str(error)) from error
    with _guard:
        now = time.monotonic()
        for old in [each for each, (end, _) in _known.items() if end < now]:
            del _known[old]
        _known[key] = (now + TRUSTED, found)
    return found


def _asked(client: Any, argo: Argo, token: str) -> Pod:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [AUDIENCE]},
    }
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = client.raw("POST", path, None, body, what="create TokenReview")["status"]
    if not status.get("authenticated") or AUDIENCE not in status.get("audiences", ()):
        raise Stranger("The cluster does not know this token.")
    user = status["user"]
    namespace, _, account = user["username"].removeprefix("system:serviceaccount:").partition(":")
    names = (user.get("extra") or {}).get("authentication.kubernetes.io/pod-name") or [""]
    uids = (user.get("extra") or {}).get("authentication.kubernetes.io/pod-uid") or [""]
    if namespace != argo.namespace or not names[0]:
        raise Stranger(f"This token belongs to no pod of {argo.namespace}.")
    pod = client.get("Pod", names[0], namespace)
    if pod is None or pod["metadata"]["uid"] != uids[0]:
        raise Stranger(f"The pod {names[0]} is gone.")
    return _described(pod, account)


def _described(pod: dict[str, Any], account: str) -> Pod:
    metadata = pod["metadata"]
    owner = next((one for one in metadata.get("ownerReferences", ()) if one["kind"] == "Workflow"), None)
    stage = metadata.get("annotations", {}).get(STAGE)
    phase = metadata.get("labels", {}).get(PHASE)
    if owner is None or not stage or phase not in ("plan", "work"):
        raise Stranger(f"The pod {metadata['name']} does no stage of a run.")
    return Pod(metadata["name"], metadata["uid"], account, owner["name"], owner["uid"], stage, phase)


def attempt_token(attempt: int, fence: int) -> str:
    """What lets its holder report about this attempt, for as long as nobody else has taken it."""
    return signing.dumps([attempt, fence], salt=_SALT)


def attempt_of(token: str) -> tuple[int, int]:
    """The attempt and its fencing token. Raises Stranger."""
    try:
        attempt, fence = signing.loads(token, salt=_SALT, max_age=_LONGEST)
    except (signing.BadSignature, ValueError, TypeError):
        raise Stranger("This is no token of an attempt.") from None
    return int(attempt), int(fence)
