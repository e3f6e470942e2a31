"""The router's dynamic configuration of one environment, computed from what is ready. Pure.

For each route there is one weighted Traefik service over the releases, sticky by cookie, and below it one load
balancer for each release, of the service that has the route there; it names its release in X-Release. Assets are not
weighted: a release that still has replicas keeps serving its own, so that a page and its assets are always of one
release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.definition.forms import ASSETS
from pipelines.executors.rollout.local.desired import DesiredState

ENTRY = "env-{}"
CONTROL = "keeper"
LOCAL_ONLY = "(ClientIP(`127.0.0.0/8`) || ClientIP(`::1/128`))"
FIRST = 20_000
PORTAL_COOKIES = "burger_(session|csrf)_"
RELEASE_HEADER = "X-Burger-Release"
TRIES = 8

Ports = Mapping[tuple[str, str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Routing:
    """`text` is the file, `token` identifies it; `weights` is the share of each release that it gives."""

    text: str
    token: str
    weights: Mapping[str, int]


def route(
    name: str, state: DesiredState, ready: Ports, allow: Iterable[str], *, away: tuple[str, str] = ("", "")
) -> Routing:
    """`ready` maps (release, service) to the ports of its ready replicas. `away` is (the portal's host, the host of
    environments); browsers that come under the first are sent to the second."""
    build = _Build(name, state, ready)
    http = build.http(sorted(allow), away)
    token = hashlib.sha256(json.dumps(http, sort_keys=True).encode()).hexdigest()[:20]
    http["routers"][f"{name}-token"] = {
        "entryPoints": [CONTROL],
        "rule": f"Path(`{token_path(name, token)}`)",
        "service": "ping@internal",
    }
    return Routing(json.dumps({"http": http}, indent=1, sort_keys=True), token, build.weights())


def token_path(name: str, token: str) -> str:
    """The path that the router answers on its control port exactly while this configuration is in force."""
    return f"/in-force/{name}/{token}"


class _Build:
    def __init__(self, name: str, state: DesiredState, ready: Ports) -> None:
        self.name, self.state, self.ready = name, state, ready
        self.routers: dict[str, Any] = {}
        self.services: dict[str, Any] = {}
        self.middlewares: dict[str, Any] = {}

    def http(self, allow: list[str], away: tuple[str, str]) -> dict[str, Any]:
        self.middlewares[f"{self.name}-allow"] = {"ipAllowList": {"sourceRange": allow}}
        # A replica that died is tried past: with every request that had not reached it, and with those that may be done
        # twice. An order is a POST, which is never sent again once a replica has had it.
        retry = {"attempts": TRIES, "initialInterval": "20ms", "status": ["502"], "retryNonIdempotentMethod": False}
        self.middlewares[f"{self.name}-retry"] = {"retry": retry}
        self._errors()
        if all(away) and away[0] != away[1]:
            self._send_away(*away)
        for prefix in self._prefixes():
            self._weighted(prefix)
        self._loyal()
        for release, definition in self.state.releases.items():
            for service, one in definition.services.items():
                if one.route == ASSETS and self.ready.get((release, service)):
                    self._assets(service, one.short)
        return {"routers": self.routers, "services": self.services, "middlewares": self.middlewares}

    def weights(self) -> dict[str, int]:
        """What is in force; a route whose shares are not the wanted ones stands for all. One at which a release answers
        nothing is shared by the others."""
        wanted = {r: w for r, w in (self.state.weights or {}).items() if w}
        found = {prefix: self._shares(prefix) for prefix in self._prefixes()}
        if not found:
            return wanted
        if self.state.weights is None:
            return _percent(next(iter(found.values())))
        for prefix, shares in found.items():
            having = {r: w for r, w in wanted.items() if self._service(prefix, r)}
            if having and _percent(shares) != _percent(having):
                return _percent(shares)
        return wanted

    def _prefixes(self) -> list[str]:
        """Routes that get traffic, of the releases that have a set."""
        releases = [self.state.releases[r] for r in self.state.sets if r in self.state.releases]
        return sorted({s.route for release in releases for s in release.services.values() if s.route[:1] == "/"})

    def _service(self, prefix: str, release: str) -> str:
        """The service that answers below a route in a release, "" where none does: the one whose own route is the
        longest that it begins with. Releases may have it by different names, and with fewer routes."""
        known = self.state.releases.get(release)
        found = [(s.route, name) for name, s in known.services.items() if s.route[:1] == "/"] if known else []
        return max((one for one in found if prefix.startswith(one[0])), default=("", ""))[1]

    def _members(self, prefix: str) -> dict[str, int]:
        """The number of ready replicas by release."""
        return {
            release: len(ports)
            for release in sorted(self.state.releases)
            if (ports := self.ready.get((release, self._service(prefix, release))))
        }

    def _shares(self, prefix: str) -> dict[str, int]:
        """Weights among the releases that are ready; all to whatever is ready where nothing wanted is."""
        members = self._members(prefix)
        if self.state.weights is None:
            return members
        return {r: w for r, w in self.state.weights.items() if w and r in members}

    def _weighted(self, prefix: str) -> None:
        whole = f"{self.name}-at-{hashlib.sha256(prefix.encode()).hexdigest()[:6]}"
        for release in self._members(prefix):
            self._balancer(self._service(prefix, release), release)
            self._direct(self._service(prefix, release), release)
        children = [
            {"name": f"{self.name}-{self._service(prefix, release)}-{release}", "weight": weight}
            for release, weight in sorted(self._shares(prefix).items())
        ]
        if not children:
            # Nothing is ready: say so with a 503, not with a 404.
            self.services[f"{whole}-none"] = {"loadBalancer": {"servers": []}}
            children = [{"name": f"{whole}-none", "weight": 1}]
        cookie = {"name": self._cookie, "httpOnly": True, "sameSite": "lax", "path": "/"}
        self.services[whole] = {"weighted": {"services": children, "sticky": {"cookie": cookie}}}
        self._router(whole, f"PathPrefix(`{prefix}`)", whole, 10 + len(prefix))

    @property
    def _cookie(self) -> str:
        return f"burger_release_{self.name}"

    def _loyal(self) -> None:
        """Who was given a release at one route keeps it at the others: a page and what it asks for are of one."""
        prefixes = self._prefixes()
        if len(prefixes) < 2:
            return
        for release in sorted(set.intersection(*(set(self._shares(prefix)) for prefix in prefixes))):
            targets = {prefix: f"{self.name}-{self._service(prefix, release)}-{release}" for prefix in prefixes}
            # What the router writes into the cookie: a hash of the name of what it chose.
            values = sorted({hashlib.sha256(name.encode()).hexdigest()[:16] for name in targets.values()})
            given = f"HeaderRegexp(`Cookie`, `(^|; ){self._cookie}=({'|'.join(values)})(;|$)`)"
            for prefix, target in targets.items():
                key = f"{target}-kept-{hashlib.sha256(prefix.encode()).hexdigest()[:6]}"
                self._router(key, f"PathPrefix(`{prefix}`) && {given}", target, 500 + len(prefix))

    def _balancer(self, service: str, release: str) -> None:
        header = f"{self.name}-is-{release}"
        self.middlewares[header] = {"headers": {"customResponseHeaders": {"X-Release": release}}}
        servers = [{"url": f"http://127.0.0.1:{port}"} for port in sorted(self.ready[release, service])]
        self.services[f"{self.name}-{service}-{release}"] = {
            "loadBalancer": {"servers": servers},
            "middlewares": [header],
        }

    def _direct(self, service: str, release: str) -> None:
        """Whoever measures a release, from this machine, reaches it and no other."""
        prefix = self.state.releases[release].services[service].route
        rule = f"Header(`{RELEASE_HEADER}`, `{release}`) && PathPrefix(`{prefix}`) && {LOCAL_ONLY}"
        whole = f"{self.name}-{service}-{release}"
        self._router(f"{whole}-direct", rule, whole, 1000 + len(prefix))

    def _assets(self, service: str, short: str) -> None:
        key = f"{self.name}-assets-{short}"
        ports = {
            port
            for (release, name), found in self.ready.items()
            for port in found
            if name == service and self.state.releases[release].services[name].short == short
        }
        self.services[key] = {
            "loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"} for port in sorted(ports)]}
        }
        self._router(key, f"PathPrefix(`/assets/{short}/`)", key, 5000)

    def _send_away(self, portal: str, own: str) -> None:
        """A browser sends a host's cookies to all its ports, and lets each port set them. So that no release gets
        the portal's session, or gives the portal one, browsers see a release under another host only."""
        key = f"{self.name}-away"
        browser = "HeaderRegexp(`User-Agent`, `Mozilla/`)"
        rule = f"Host(`{portal}`) && ({browser} || HeaderRegexp(`Cookie`, `{PORTAL_COOKIES}`))"
        to = {"regex": "^http://[^/]*?(:[0-9]+)?/(.*)$", "replacement": f"http://{own}${{1}}/${{2}}"}
        self.middlewares[key] = {"redirectRegex": to}
        self.routers[key] = {
            "entryPoints": [ENTRY.format(self.name)],
            # Whoever measures a release is no customer, and has no cookies.
            "rule": f"{rule} && !HeaderRegexp(`{RELEASE_HEADER}`, `.`)",
            "service": "noop@internal",
            "priority": FIRST,
            "middlewares": [f"{self.name}-allow", key],
        }

    def _errors(self) -> None:
        ports = sorted(
            port
            for (release, service), found in self.ready.items()
            for port in found
            if self.state.releases[release].errors == service
        )
        if not ports:
            return
        key = f"{self.name}-errors"
        servers = [{"url": f"http://127.0.0.1:{port}"} for port in ports]
        self.services[key] = {"loadBalancer": {"servers": servers}}
        page = {"status": ["502-504"], "service": key, "query": "/errors/{status}.html"}
        self.middlewares[key] = {"errors": page}

    def _router(self, key: str, rule: str, service: str, priority: int) -> None:
        errors = [f"{self.name}-errors"] if f"{self.name}-errors" in self.middlewares else []
        self.routers[key] = {
            "entryPoints": [ENTRY.format(self.name)],
            "rule": rule,
            "service": service,
            "priority": priority,
            "middlewares": [f"{self.name}-allow", *errors, f"{self.name}-retry"],
        }


def _percent(shares: Mapping[str, int]) -> dict[str, int]:
    whole = sum(shares.values())
    if whole in (0, 100):
        return dict(shares)
    return {release: round(100 * share / whole) for release, share in shares.items()}
