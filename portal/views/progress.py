"""How far the work of a stage is, and what came of it: one small piece for each kind of work, drawn from what it told.

Stages that ran before their kind told this much have less in theirs; every piece shows what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.models import Stage
from pipelines.states import State

from . import verdicts

MOST_HOSTS = 40
_ROLLING = (State.RUNNING, State.WAITING, State.UNKNOWN)

Facts = dict[str, Any]


def of(stage: Stage) -> Facts | None:
    """What `_progress.html` draws: "piece" names the template, "reason" is what of the stage's reason it does
    not say itself, the rest is its own. None where there is nothing."""
    made = _PIECES.get(stage.kind)
    found = made(stage, stage.progress.get("data") or {}) if made else None
    return {"reason": stage.reason, **found} if found else None


# --- build --------------------------------------------------------------------------------------------------------


def _build(stage: Stage, told: Mapping[str, Any]) -> Facts | None:
    image = next((one for one in stage.artifacts if one["kind"] == "image"), None)
    steps = told.get("steps") or []
    if image is None and not steps:
        return None
    facts: Facts = {"piece": "portal/_build.html", "steps": steps}
    if image is not None and stage.state == State.SUCCEEDED:
        meta = image["meta"]
        layers = meta.get("layers") or []
        largest = max((layer["size"] for layer in layers), default=0) or 1
        facts |= {
            "image": image,
            "reason": "",  # the numbers say what the sentence does
            "seconds": meta.get("seconds"),
            "done": meta.get("steps"),
            "cached": meta.get("cached"),
            "builder": meta.get("builder", ""),
            "layers": [(layer, round(100 * layer["size"] / largest)) for layer in layers],
            "change": _change(image["size"], (_outcome(stage).get("before") or 0)),
        }
    return facts


@dataclass(frozen=True, slots=True)
class Change:
    """How a size compares with the one before, both in bytes."""

    size: int
    before: int

    @property
    def by(self) -> int:
        return abs(self.size - self.before)

    @property
    def is_alike(self) -> bool:
        return self.by < self.before / 1000

    @property
    def is_larger(self) -> bool:
        return self.size > self.before


def _change(size: int, before: int) -> Change | None:
    return Change(size, before) if before else None


# --- publish ------------------------------------------------------------------------------------------------------


def _publish(stage: Stage, told: Mapping[str, Any]) -> Facts | None:
    released = next((one["meta"].get("images") or {} for one in stage.artifacts if one["kind"] == "release"), {})
    images = [_pushed(one, released) for one in told.get("images") or ()]
    named = {one["component"] for one in images}
    images += [
        {"component": name, "name": reference.partition("@")[0], "digest": reference.partition("@")[2], "layers": []}
        for name, reference in sorted(released.items())
        if name not in named
    ]
    if not images:
        return None
    return {"piece": "portal/_publish.html", "images": images, "wanted": len(stage.definition["needs"])}


def _pushed(told: Mapping[str, Any], released: Mapping[str, str]) -> Facts:
    layers: Sequence[Mapping[str, Any]] = told["layers"]
    ended = [layer for layer in layers if layer["state"] in ("pushed", "there")]
    name, _, digest = released.get(told["component"], "").partition("@")
    return {
        "component": told["component"],
        "name": name,
        "digest": digest or told["digest"],
        "ended": len(ended),
        "total": len(layers),
        "there": sum(layer["state"] == "there" for layer in layers),
        "sent": sum(layer["sent"] for layer in layers),
        "layers": layers,
        "is_done": bool(digest or told["digest"]),
    }


# --- rollout ------------------------------------------------------------------------------------------------------


def _rollout(stage: Stage, told: Mapping[str, Any]) -> Facts | None:
    if not told.get("weights") and not told.get("ready"):
        return None
    rows = _services(told)
    coming = any(row["ready"] < row["running"] for row in rows)
    return {
        "piece": "portal/_rolling.html",
        "facts": told,
        "places": _by_place(rows),
        "troubles": told.get("troubles") or [] if coming and stage.state in _ROLLING else [],
        "is_open": stage.state in _ROLLING,
        "verdicts": _unsaid(verdicts.tables(told.get("verdicts") or ()), stage.reason),
    }


def _services(told: Mapping[str, Any]) -> list[Facts]:
    """One row for each service of each release. "running" are the replicas that exist, "wanted" those that there shall
    be when the release has all traffic."""
    wanted, running = told.get("wanted") or {}, told.get("running") or {}
    rows = []
    for release, services in (told.get("ready") or {}).items():
        for key, ready in services.items():
            place, _, service = key.rpartition("/")
            exists = running.get(release, {}).get(key, ready)
            rows.append({
                "place": place, "service": service, "release": release, "is_new": release == told.get("canary"),
                "ready": ready, "running": exists, "coming": max(0, exists - ready),
                "wanted": max(exists, wanted.get(release, {}).get(key, exists)),
            })  # fmt: skip
    return sorted(rows, key=lambda row: (row["place"], row["service"], row["is_new"]))


def _by_place(rows: Sequence[Facts]) -> list[tuple[str, list[Facts]]]:
    found: dict[str, list[Facts]] = {}
    for row in rows:
        found.setdefault(row["place"], []).append(row)
    return list(found.items())


# --- verify -------------------------------------------------------------------------------------------------------


def _verify(stage: Stage, told: Mapping[str, Any]) -> Facts | None:
    ended = _outcome(stage)
    found = ended.get("numbers") or told
    if not found.get("total"):
        return None
    judged = {"state": ended.get("verdict", ""), "reason": stage.reason, "customers": found.get("customers")}
    return {
        "piece": "portal/_verify.html",
        "total": found["total"],
        "verdicts": _unsaid(verdicts.tables([judged]), stage.reason),
    }


def _unsaid(shown: list[Facts], reason: str) -> list[Facts]:
    """What the stage's own reason says stands once."""
    return [one | {"reason": "" if one["reason"] in reason else one["reason"]} for one in shown]


# --- ansible ------------------------------------------------------------------------------------------------------


def _ansible(stage: Stage, told: Mapping[str, Any]) -> Facts | None:
    hosts = told.get("hosts") or {}
    if not hosts:
        return None
    warned: dict[str, list[str]] = {}
    for host, text in sorted((_outcome(stage).get("warnings") or {}).items()):
        warned.setdefault(str(text), []).append(host)
    # What went wrong comes first: of many hosts only the first are shown.
    rows = sorted(
        hosts.items(), key=lambda row: (-(row[1]["failed"] + row[1]["unreachable"]), -row[1]["changed"], row[0])
    )
    return {
        "piece": "portal/_hosts.html",
        "hosts": rows[:MOST_HOSTS],
        "more": max(0, len(rows) - MOST_HOSTS),
        "warned": [(text, ", ".join(names)) for text, names in warned.items()],
        # The warnings stand below, once each.
        **({"reason": stage.reason.partition(". Warning: ")[0]} if warned else {}),
    }


def _outcome(stage: Stage) -> Mapping[str, Any]:
    """What the last attempt ended with."""
    last = stage.attempts.filter(open=False, phase="work").order_by("-number").values_list("data", flat=True).first()
    return last or {}


_PIECES: Mapping[str, Callable[[Stage, Mapping[str, Any]], Facts | None]] = {
    "build": _build,
    "publish": _publish,
    "rollout": _rollout,
    "verify": _verify,
    "ansible": _ansible,
}
