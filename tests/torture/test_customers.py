"""The whole way of a release that its customers judge: pushed, built, rolled out to a part of them by a real portal,
met in real browsers that report to it, and taken back or let go on by what they measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.customers import PAINTED, Customers

from . import FULL
from .installation import ROOT, RUN_ENDED, Installation, eventually, installed

pytest.importorskip("playwright.async_api")
pytestmark = pytest.mark.browser

FIRST_LOOK = 100
SLOWER = 0.8  # seconds
PAGE = "/cart/"
PIPELINE = f"""\
name: demo
environments:
  shop: {{owner: ops}}
stages:
  - {{name: source, kind: source, owner: dev}}
  - name: build
    kind: slug
    owner: dev
    needs: [source]
    with: {{include: ["*.py"]}}
  - name: migrate
    kind: command
    owner: ops
    needs: [build]
    environment: shop
    with:
      in: build
      command: [python, -m, ordering.site.manage, migrate, --no-input]
      env: &shop
        SECRET_KEY: only-for-these-tests-only-for-these-tests
        PYTHONPATH: ".:{ROOT}"
        DJANGO_SETTINGS_MODULE: late
  - name: rollout
    kind: rollout
    owner: ops
    needs: [migrate]
    environment: shop
    with:
      services:
        shop:
          artifact: build
          command: [python, -m, ordering.site.serve, --port, "{{port}}"]
          route: /
          health: /healthz
          env: *shop
      strategy:
        canary:
          steps:
            - setWeight: 50
            - verify:
                paths: [/healthz]
                soak: 1s
                interval: 1s
                minimum_samples: 1
                p95_ms: 5000
                within: 10m
                budgets:
                  ttfb: {{limit: 20s, tolerance: 2}}
                  lcp: {{limit: 20s, tolerance: 4}}
                  errors: 10%
"""
LATE = """\
\"\"\"The shop, whose pages take so many seconds longer.\"\"\"
import time
from ordering.site.settings import *

VERSION = {version!r}
MIDDLEWARE = [MIDDLEWARE[0], "late.late", *MIDDLEWARE[1:]]


def late(get_response):
    def answer(request):
        if request.path == {page!r}:
            time.sleep({seconds})
        return get_response(request)

    return answer
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("customers"), BURGER_ENVIRONMENTS="shop", BURGER_PROBE_EVERY="0") as site:
        site.backstage.accept_first(slug="demo", text=PIPELINE)
        yield site


def pushed(site: Installation, version: str, seconds: float = 0.0) -> int:
    """Push a release that is so much slower; returns its run's key."""
    commit = site.commit(
        {"pipeline.yaml": PIPELINE, "late.py": LATE.format(version=version, seconds=seconds, page=PAGE)}
    )
    site.backstage.receive(key=version, commit=commit)
    return int(eventually(lambda: site.value('SELECT id FROM pipelines_run WHERE "commit" = ?', commit), 60, site.logs))


def page_of(site: Installation, run: int, stage: str) -> str:
    """The page of a stage, as somebody who may see it does."""
    number = site.value("SELECT number FROM pipelines_run WHERE id = ?", run)
    (name, _, _) = site.env["BURGER_PORT_BASE"].partition(":")
    cookies = {f"burger_session_{name}": site.backstage.session(user="ops-0")}
    answer = httpx.get(f"{site.url}/runs/demo/{number}", params={"stage": stage}, cookies=cookies, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


async def look(page: Any, url: str) -> None:
    await page.goto(url, wait_until="commit")
    await page.evaluate(PAINTED)


def decided(site: Installation, run: int, customers: Customers) -> str:
    """Wait for the end of a run that customers judge; returns its state."""

    def ended() -> bool:
        assert not customers.problem, customers.problem
        return site.state(run) in RUN_ENDED

    eventually(ended, 540, lambda: f"{site.story(run)} {customers.seen} customers\n{site.logs()}")
    return site.state(run)


def told(site: Installation, run: int) -> dict[str, Any]:
    """What the rollout says of itself by now."""
    kept = site.value("SELECT progress FROM pipelines_stage WHERE run_id = ? AND name = 'rollout'", run)
    found: dict[str, Any] = json.loads(kept or "{}")
    return found


def serving(url: str) -> set[str]:
    """The releases that twenty people get."""
    return {httpx.get(url, timeout=30).headers["X-Release"] for _ in range(20)}


def judged(site: Installation, run: int) -> dict[str, Any]:
    """The findings of the run's verdict, by metric."""
    (verdict,) = told(site, run)["data"]["verdicts"]
    return {finding["metric"]: finding for finding in verdict["customers"]["findings"]}


def test_customers_browsers_decide_what_becomes_of_a_release(site: Installation) -> None:
    first = pushed(site, "first")
    assert site.finished(first) == "succeeded", site.story(first)
    url = f"http://127.0.0.1:{site.port + 1}{PAGE}"
    (stable,) = serving(url)

    # Nobody comes, so nobody can know: it stands still and says what it waits for.
    slow = pushed(site, "slow", SLOWER)
    eventually(lambda: "TTFB 0 of 100" in told(site, slow).get("text", ""), 120, lambda: str(told(site, slow)))
    assert site.state(slow) == "running"
    with Customers(lambda page, _number: look(page, url)) as customers:
        assert decided(site, slow, customers) == "failed", site.story(slow)
        _is_taken_back(site, slow, stable)
        assert serving(url) == {stable}
        # As many again for a release that is as fast: a good minute more.
        if FULL:
            equal = pushed(site, "equal")
            assert decided(site, equal, customers) == "succeeded", site.story(equal)
            assert {finding["state"] for finding in judged(site, equal).values()} == {"inside"}
            assert "good enough" in page_of(site, equal, "rollout")
            assert serving(url).isdisjoint({stable})


def _is_taken_back(site: Installation, run: int, stable: str) -> None:
    """By what browsers measured of it, and its page says so in numbers."""
    found = judged(site, run)["ttfb"]
    assert found["state"] == "beyond"
    assert found["value"] > SLOWER * 1000 > found["baseline"]
    assert found["at_least"] > found["tolerance"]
    assert min(found["count"], found["baseline_count"]) >= FIRST_LOOK
    page = page_of(site, run, "rollout")
    numbers = (
        f"{found['value']:,.0f} ms",
        f"{found['ratio']:.3g}",
        f"{found['count']:,} / {found['baseline_count']:,}",
    )
    for said in ("What customers measured", stable, "beyond", "verify failed: TTFB", *numbers):
        assert said in page, said
