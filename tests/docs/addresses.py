"""Every address of the installation, with what is asked of whoever calls it.

What the API's addresses ask for is what tests/api proves; what the pages ask for is written here, and proved by
test_authorization beside this.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver

from pipelines.performance import collect
from portal.live import routing
from teams.policy import Action

# The pages that change something, by name: what each asks for, one entry for each thing that it does.
DEEDS: dict[str, dict[str, Action]] = {
    "run-action": {
        "cancel": Action.CANCEL,
        "terminate": Action.TERMINATE,
        "rerun": Action.START,
        "retry-failed": Action.RETRY,
        "adopt": Action.CANCEL,
    },
    "stage-action": {
        "approve": Action.APPROVE,
        "reject": Action.REJECT,
        "retry": Action.RETRY,
        "skip": Action.SKIP,
        "steer": Action.STEER,
        "override-freeze": Action.OVERRIDE_FREEZE,
    },
    "roll-back": {"": Action.ROLL_BACK},
    "start-run": {"": Action.START},
    "new-secret": {"": Action.MANAGE_PIPELINE},
    "test-engine": {"": Action.TEST_ENGINES},
    "clean-registry": {"": Action.CLEAN_REGISTRY},
    "import-argo": {"": Action.IMPORT_WORKFLOWS},
}
OWN = "any member, about their own"
OWN_PAGES = {"tokens", "revoke-token"}
DOOR = {
    "sign-in": {"GET, POST": "nothing: it is the door"},
    "sign-out": {"POST": "nothing: it ends the session"},
}
ROOMS = {
    "hooks/": ("POST", "the provider's signature with the pipeline's secret"),
    "shop/kitchen/": ("GET, POST", "the kitchen's network, or staff who are signed in"),
    "shop/": ("GET, POST", "nothing: customers need no account"),
    "admin/": ("GET, POST", "an account that is staff, by Django's admin"),
}

# Answered before Django sees anything: what is believed of a report is what its token says.
BEFORE_DJANGO = {
    collect.BEACON: "a page's token, without which it is dropped",
    collect.REPORT: "a replica's token, without which it is dropped",
}


@dataclass(frozen=True)
class Address:
    """`methods` maps each method, or several, to a sentence that says who may. `name` is the route's, "" if none."""

    path: str
    name: str
    methods: dict[str, str]


def routes(
    patterns: list[URLPattern | URLResolver] | None = None, prefix: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        else:
            yield path, pattern


def addresses() -> list[Address]:
    """All of them; those of a room that asks one thing everywhere stand together."""
    found: list[Address] = []
    for path, pattern in routes():
        room = next((prefix for prefix in ROOMS if path.startswith(prefix)), None)
        if path.startswith("api/"):
            found.append(Address(_plain(path), pattern.name or "", _of_the_api(pattern)))
        elif room is None:
            found.append(Address(_plain(path), pattern.name or "", _of_a_page(pattern.name or "")))
    found += [Address(f"/{prefix}…", "", dict([said])) for prefix, said in ROOMS.items()]
    found += [Address(path, "", {"POST": said}) for path, said in BEFORE_DJANGO.items()]
    return [*found, *_sockets()]


def _of_a_page(name: str) -> dict[str, str]:
    if name in DOOR:
        return DOOR[name]
    if name in OWN_PAGES:
        return {"POST" if name == "revoke-token" else "GET, POST": OWN}
    if name in DEEDS:
        return {"POST": ", ".join(_one(word, action) for word, action in DEEDS[name].items())}
    return {"GET": f"`{Action.VIEW}`"}


def _one(word: str, action: Action) -> str:
    return f"`{action}`" if word in ("", action) else f"`{action}` ({word})"


def _of_the_api(pattern: URLPattern) -> dict[str, str]:
    from tests.api import test_authorization as api

    name, found = pattern.name or "", {}
    if name in api.PODS:
        said = "a pod of the stage, which its cluster vouches for" if name == "pod-claim" else "the attempt's own token"
        return {method.upper(): said for method in api.methods(name)}
    for method in api.methods(name):
        if method == "get":
            found["GET"] = "nothing: it is public" if name in api.PUBLIC else f"`{Action.VIEW}`"
        elif (name, method) in api.HARMLESS:
            found[method.upper()] = OWN if name in ("token", "tokens") else f"`{Action.VIEW}`: it changes nothing"
        elif (name, method) in api.ELSEWHERE:
            found[method.upper()] = f"`{Action.RETRY}`, of each failed stage"
        else:
            found[method.upper()] = f"`{api.DEEDS[name].action}`"
    return found


def _sockets() -> Iterator[Address]:
    """Their router stands behind checks that hide it, so its source is read."""
    for route in re.findall(r'path\("(ws/[^"]+)"', inspect.getsource(routing)):
        yield Address(_plain(route), "", {"WebSocket": f"`{Action.VIEW}`, asked again while it is open"})


def _plain(path: str) -> str:
    """`/runs/PIPELINE/NUMBER` for `runs/<slug:pipeline>/<int:number>`."""
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: found[1].upper(), path)
