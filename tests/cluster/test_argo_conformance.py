"""Argo's own examples end as they do without the portal. `make argo-conformance` runs all of those that can be run, and
writes down how; else it is a few of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from pipelines.engines.argo.importing import import_files
from pipelines.engines.argo.reading import Source
from tests.cluster import argo_examples
from tests.cluster import argo_flows as flows
from tests.cluster.conftest import pull_secret
from tests.cluster.facts import Facts
from tests.engines.argo import conformance, examples

pytestmark = [pytest.mark.cluster, pytest.mark.torture, pytest.mark.django_db(transaction=True)]
ALL = os.environ.get("BURGER_TORTURE") == "1"
A_FEW = ("continue-on-fail", "dag-diamond-steps", "exit-handlers", "loops", "suspend-template")
ONLY = os.environ.get("BURGER_EXAMPLES", "").split()  # their names; the others stay as they were written down
AT_ONCE, PATIENCE = 8, 900.0  # seconds for each


@pytest.fixture
def given() -> dict[str, Source]:
    try:
        return {one.name: one for one in examples.sources()}
    except examples.NotHere as why:
        pytest.skip(str(why))


@pytest.fixture
def image(cluster: Facts, tmp_path: Path) -> str:
    """What the few need is in the base image."""
    return argo_examples.image_of(cluster, tmp_path) if ALL else cluster.base_image["python"]


@pytest.fixture
def bench(
    cluster: Facts, kubernetes_client: client.ApiClient, make_namespace: Callable[[], str], home: Path, image: str,
    given: dict[str, Source], pipeline: Any, cast: SimpleNamespace,
) -> Iterator[argo_examples.Bench]:  # fmt: skip
    places = (make_namespace(), make_namespace())
    away = argo_examples.lend_to_all(kubernetes_client, given, image) if ALL else None
    for namespace in places:
        argo_examples.furnish(kubernetes_client, namespace, given, image, pull_secret(cluster))
    flows.connections(home, cluster, places[0])
    yield argo_examples.Bench(kubernetes_client, places, home, pipeline, cast.ann, cast.dora, image)
    if away is not None:
        away()


def test_examples_end_as_they_do_without_the_portal(bench: argo_examples.Bench, given: dict[str, Source]):
    wanted = runnable(given) if ALL else [given[f"{name}.yaml"] for name in A_FEW]
    kept = os.environ.get("BURGER_CONFORMANCE")
    found: dict[str, Any] = dict(conformance.known()) if ONLY else {}
    wrong = []
    for pair in bench.compare(wanted, AT_ONCE, PATIENCE):
        found[pair.name] = pair.result() if pair.has_ended else {}
        if not found[pair.name].get("same"):
            wrong.append(pair.differences())
        if kept:
            Path(kept).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert not wrong, "\n".join(wrong)
    known = conformance.known()
    assert ALL or found == {name: known.get(name, one) for name, one in found.items()}


def runnable(given: dict[str, Source]) -> list[Source]:
    kinds: dict[str, set[str]] = {}
    for graph in import_files(list(given.values())).graphs:
        kinds.setdefault(graph.file, set()).add(graph.kind)
    chosen = [given[name] for name, some in kinds.items() if not examples.why_not_run(name, some)]
    return [one for one in chosen if not ONLY or one.name in ONLY]
