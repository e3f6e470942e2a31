"""What an environment runs right now, asked of the target that serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.conf import settings

from pipelines.executors import rollout


def status(name: str) -> dict[str, Any]:
    """As `pipelines.executors.rollout.status`; with "problem", a sentence, when it cannot be found out."""
    return _read_status(Path(settings.HOME), name)


def releases(name: str) -> list[dict[str, Any]]:
    """The releases that can be gone back to, the latest rolled out first; none where they cannot be read."""
    return _read_releases(Path(settings.HOME), name) or []


def statuses(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The status of several environments, all asked at once; one that takes longer than `PATIENCE` has a problem."""
    return {name: _of_status(name, found) for name, found in _asked(_read_status, names).items()}


def standing(name: str) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """(status, releases that can be gone back to), asked at once and within `PATIENCE`; None for the releases where
    they cannot be found out in that time."""
    until = time.monotonic() + PATIENCE
    asked = [_ask(what, name) for what in (_read_status, _read_releases)]
    found, kept = (_answer(future, until) for future in asked)
    return _of_status(name, found), kept


def _read_status(home: Path, name: str) -> dict[str, Any]:
    try:
        return rollout.status(home, name) | {"problem": ""}
    except (OSError, ValueError) as error:
        return _unknown(name, f"What runs in {name} cannot be read: {error}")


def _read_releases(home: Path, name: str) -> list[dict[str, Any]] | None:
    try:
        return rollout.releases(home, name)
    except (OSError, ValueError):
        return None


def _unknown(name: str, problem: str) -> dict[str, Any]:
    return {
        "environment": name, "release": "", "commit": "", "run": None, "since": None, "rollout": None,
        "weights": {}, "sets": {}, "router": {"ok": False, "problem": "", "restarts": 0},
        "problem": problem,
    }  # fmt: skip


def _of_status(name: str, found: dict[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return _unknown(name, f"What runs in {name} was not answered within {PATIENCE:g} s. It is asked again.")
    return found


# --- asked at once, and never for long: a page does not wait for a cluster ----------------------------------------

Ask = Callable[[Path, str], Any]

PATIENCE = 3.0
# Seconds for which an answer that came too late for one page is good enough for the next.
LATE = 10.0
_pool = ThreadPoolExecutor(16, thread_name_prefix="environments")
_pending: dict[tuple[Ask, Path, str], tuple[float, Future[Any]]] = {}
_guard = threading.RLock()  # what is answered at once is forgotten while it is being asked


def _asked(what: Ask, names: Iterable[str]) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    futures = {name: _ask(what, name) for name in names}
    return {name: _answer(future, until) for name, future in futures.items()}


def _ask(what: Ask, name: str) -> Future[Any]:
    """What everybody who asks at this moment waits for; a question that is not answered yet is not asked again."""
    home = Path(settings.HOME)
    key = (what, home, name)
    now = time.monotonic()
    with _guard:
        since, future = _pending.get(key, (0.0, None))
        if future is not None and future.done():
            del _pending[key]
            future = None if now - since > LATE else future
        if future is None:
            future = _pool.submit(what, home, name)
            _pending[key] = (now, future)
            future.add_done_callback(lambda done: _forget(key, done))
        return future


def _forget(key: tuple[Ask, Path, str], done: Future[Any]) -> None:
    """An answer in time is nobody's but theirs who waited for it."""
    with _guard:
        since, future = _pending.get(key, (0.0, None))
        if future is done and time.monotonic() - since < PATIENCE:
            del _pending[key]


def _answer(future: Future[Any], until: float) -> Any:
    """None where there is none in time."""
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return None


def retire() -> list[str]:
    """Take away what clusters kept beside a release and whose time is over; returns what went. Call it now and then.
    Raises OSError or ValueError with a sentence."""
    return rollout.retire(Path(settings.HOME))


def address(name: str) -> str:
    """Where this machine reaches an environment, "" where nobody said."""
    try:
        return rollout.address(Path(settings.HOME), name, settings.ENVIRONMENT_PORTS)
    except ValueError:
        return ""


def are_kept(home: Path) -> bool:
    """Whether what was rolled out is served, so that its ports are taken by this installation itself."""
    return rollout.serves(home)


def keep(home: Path, ports: Mapping[str, int], listen: str) -> None:
    """See that what was rolled out goes on, or begins again where everything had been stopped."""
    rollout.ensure_keeper(home, ports, listen, _hosts())


def configure(home: Path, ports: Mapping[str, int], listen: str) -> None:
    """Say how environments are reached, before the first of them is."""
    rollout.configure(home, ports, listen, _hosts())


def _hosts() -> dict[str, str]:
    return {
        "portal": settings.PORTAL_HOST,
        "environments": settings.ENVIRONMENT_HOST,
        "collector": settings.COLLECTOR_URL,
    }


def stop(home: Path) -> bool:
    """Stop all that was rolled out; False if nothing ran. `keep` brings it back as it was."""
    return rollout.stop_keeper(home)
