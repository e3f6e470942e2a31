"""What can go wrong between us and a cluster, told apart by what the one who called can do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class ClusterError(Exception):
    """The message is a whole sentence for a person."""


class ClusterAway(ClusterError):
    """The cluster does not answer, or is too busy for longer than the client's patience: try again later.

    `retry_after` is in seconds, what the server asked for; None where it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stopped(ClusterError):
    """The work was told to stop while the client waited for the cluster."""


class Refused(ClusterError):
    """The server understood and said no (401, 403, 404, 422 and the like), in its own sentence."""

    def __init__(self, message: str, code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, order=True)
class FieldConflict:
    """Another manager owns a field that we would set: `field` as the server writes it, ".spec.replicas"."""

    manager: str
    field: str


class Conflict(Refused):
    """409: what we read is no longer so, or `fields` belong to somebody else (server-side apply)."""

    def __init__(self, message: str, reason: str = "Conflict", fields: Iterable[FieldConflict] = ()) -> None:
        super().__init__(message, 409, reason)
        self.fields = tuple(fields)


class Foreign(Refused):
    """An object of that name is there already and is not of this pipeline and environment."""


class Refusals:
    """Lets the rest be done where a part is refused: what happens in a `later()` raises its Refused at the end of the
    `with` that this is for, the first of them."""

    def __init__(self) -> None:
        self._first: Refused | None = None

    def __enter__(self) -> Refusals:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._first is not None:
            raise self._first

    @contextmanager
    def later(self) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            self._first = self._first or refused


class ManifestError(ValueError):
    """What is wrong in the manifests, one problem a line, each with file and line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def refusal(code: int, status: Mapping[str, Any], what: str) -> Refused:
    """The exception for a `Status` that the server answered to `what` ("PATCH Deployment/backend")."""
    said = str(status.get("message") or f"the server answered {code}").rstrip(".")
    message = f"{what}: {said}."
    if code != 409:
        return Refused(message, code, str(status.get("reason") or ""))
    causes = (status.get("details") or {}).get("causes") or ()
    fields = [
        FieldConflict(_manager(cause.get("message", "")), cause.get("field", ""))
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]
    return Conflict(message, str(status.get("reason") or "Conflict"), sorted(fields))


def _manager(text: str) -> str:
    """The name in `conflict with "kubectl-edit" using apps/v1`."""
    _, _, rest = text.partition('"')
    return rest.partition('"')[0] or text
