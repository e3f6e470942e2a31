"""`make demo-cluster`: the main job on a real engine, registry and cluster, with customers who ask all the time.

    first release                    to staging and to production, which is two namespaces
    a release with a wrong name      its canary fails its own verdict and is taken back
    a better release                 canaried, verified, promoted
    roll back                        the first release again, its configuration too

Ends with 0 if each ended as it should and no customer's request was lost.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.facts import facts as read_facts
from tests.cluster.layout import CHECKOUT, SHOPS, ClusterError, claimed, home_of
from tests.cluster.shop import connect

CUSTOMERS = 2
PAUSE = 0.2  # seconds between two requests of a customer
WRONG_NAME = "The name of another shop"


class Customers:
    """They ask for the menu all the time, each on a kept-alive connection, as browsers do."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.releases: Counter[str] = Counter()
        self.lost: list[str] = []
        self._end = threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(at,)) for at in self.addresses for _ in range(CUSTOMERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _ask(self, address: str) -> None:
        connection = http.client.HTTPConnection(address, timeout=20)
        while not self._end.wait(PAUSE):
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                said = answer.headers["X-Release"]
                if answer.status == 200:
                    self.releases[said or "?"] += 1
                else:
                    who = said or "the gateway, which has nobody to ask"
                    self.lost.append(f"{time.strftime('%H:%M:%S')} {address} answered {answer.status} by {who}")
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(f"{time.strftime('%H:%M:%S')} {address}: {error!r}")
                connection.close()
        connection.close()


class Story:
    """Each step says what is about to happen, and ends with whether it did."""

    def __init__(self, registry: str, customers: Customers) -> None:
        from portal.cli.client import Client
        from portal.demo import journey, organisation

        self._journey, self._pipeline = journey, organisation.PIPELINE
        self._file = organisation.ON_CLUSTERS
        self.organisation = journey.prepare()
        self.client = Client(self.organisation.url, self.organisation.tokens["olga"])
        self.registry, self.customers = registry, customers

    def tell(self) -> bool:
        with self._journey.serving():
            began = time.monotonic()
            told = self._first() and self._under_load(self._wrong, self._better, self._back)
            self._journey.console.print(f"\nIt took {time.monotonic() - began:.0f} s.")
            return told

    def _under_load(self, *steps: Callable[[], bool]) -> bool:
        with self.customers.asking():
            told = all(step() for step in steps)
        said = ", ".join(f"{number} by {release}" for release, number in sorted(self.customers.releases.items()))
        self._say(f"Customers asked {self.customers.releases.total()} times and were answered: {said}.")
        if self.customers.lost:
            self._say(f"{len(self.customers.lost)} requests were lost:")
            for what, number in Counter(self.customers.lost).most_common(20):
                self._journey.console.print(f"  {what} ({number} times)")
        return told and not self.customers.lost

    def _first(self) -> bool:
        self._say("A first release travels to staging and to both places of production.")
        _, state = self._travel("Let the shop travel to production", "Burger Stack")
        if not self._expect(state, "succeeded"):
            return False
        self.first = self._release()
        return True

    def _wrong(self) -> bool:
        self._say("A release whose shop has a wrong name: the canary's own verdict takes it back.")
        number, state = self._travel("Rename the shop by mistake", WRONG_NAME)
        canary = self.client.get(f"runs/{self._pipeline}/{number}/stages/canary-production")
        self._say(f"canary-production: {canary['reason']}")
        return self._expect(state, "failed") and self._expect(canary["state"], "failed") and self._serves(self.first)

    def _better(self) -> bool:
        self._say("A better release: canaried with the customers' requests, verified, promoted.")
        _, state = self._travel("Greet customers", "Burger Stack and friends")
        return self._expect(state, "succeeded") and self._release() != self.first

    def _back(self) -> bool:
        self._say(f"Roll back to {self.first}, at once and with its configuration.")
        path = f"environments/{self._pipeline}/production/rollback"
        run = self.client.post(path, {"release": self.first, "reason": "make demo-cluster shows it"})
        state = self._journey.accompany(self.organisation, self.client, run["number"])
        return self._expect(state, "succeeded") and self._serves(self.first)

    def _travel(self, subject: str, name: str) -> tuple[int, str]:
        return self._journey.travel(self.organisation, subject, lambda checkout: self._edit(checkout, name))

    def _edit(self, checkout: Path, name: str) -> None:
        pipeline = checkout / self._file
        pipeline.write_text(pipeline.read_text().replace("registry.example:5000", self.registry))
        overlay = checkout / "docker" / "k8s" / "overlays" / "production" / "name.yaml"
        overlay.write_text(json.dumps(_named(name)))  # JSON is YAML

    def _release(self) -> str:
        return str(self.client.get(f"environments/{self._pipeline}/production")["releases"][0]["name"])

    def _serves(self, release: str) -> bool:
        """Both places answer with this release, and nothing else is left of another one."""
        seen = set()
        for address in self.customers.addresses:
            for _ in range(20):
                connection = http.client.HTTPConnection(address, timeout=20)
                connection.request("GET", "/")
                seen.add(connection.getresponse().headers["X-Release"])
                connection.close()
        if seen != {release}:
            self._say(f"Expected {release} everywhere, found {', '.join(map(str, seen))}.")
        return seen == {release}

    def _expect(self, found: str, wanted: str) -> bool:
        if found != wanted:
            self._say(f"It {found}, where it should have {wanted}.")
        return found == wanted

    def _say(self, text: str) -> None:
        self._journey.console.print(f"\n[bold]{text}[/bold]")


def _named(name: str) -> dict[str, Any]:
    """An overlay that gives the shop a name of its own, whatever the playbooks say."""
    container = {"name": "backend", "env": [{"name": "SHOP_NAME", "value": name}]}
    pods = {"spec": {"containers": [container]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "backend"}, "spec": {"template": pods}}


def main() -> int:
    facts, layout = read_facts(), claimed(home_of())
    if facts is None or layout is None:
        print("The cluster is not up: make cluster", file=sys.stderr)
        return 1
    home = Path(os.environ.setdefault("BURGER_HOME", str(CHECKOUT / "var" / "demo-cluster"))).resolve()
    os.environ |= {"BURGER_ENVIRONMENTS": "", "DJANGO_SETTINGS_MODULE": "portal.settings"}
    os.environ.setdefault("BURGER_PORT_BASE", "8500")  # `make demo` may serve beside it
    shops = layout.shops
    try:
        connect(facts, home, shops)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    import django

    django.setup()
    from portal.supervisor import StartError

    customers = Customers([urlsplit(f"http://{shops[name]}").netloc for name in SHOPS[1:]])
    try:
        return 0 if Story(facts.registry.address, customers).tell() else 1
    except StartError as error:
        print(f"\n{error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
