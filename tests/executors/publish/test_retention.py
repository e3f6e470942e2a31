"""What may be deleted in a registry: decided from plain data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pipelines.executors.oci.retention import Held, Need, decide

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OLD, NEW, SINCE = NOW - timedelta(days=30), NOW - timedelta(days=1), NOW - timedelta(days=14)


def image(number: int, **changes: object) -> Held:
    digest = f"sha256:{number:064x}"
    blobs = {"base": 100, f"own-{number}": number}
    return replace(Held("shop/backend", digest, (f"{number:012x}-{number:012x}",), blobs, OLD), **changes)


def test_old_images_that_nobody_needs_may_go() -> None:
    plan = decide("r", [image(2), image(1)], [], since=SINCE)
    assert plan.delete == (image(1), image(2))
    assert (plan.keep, plan.missing, plan.frees) == ((), (), 103)


def test_each_reason_to_stay_is_said() -> None:
    held = [
        image(1), image(2, published=NEW), image(3, published=None), image(4, tags=("v1", image(4).tags[0])), image(5),
    ]  # fmt: skip
    needs = [Need(image(1).name, "release b of production"), Need(image(1).name, "release a of staging")]
    plan = decide("r", held, needs, since=SINCE)
    assert plan.delete == (image(5),)
    assert [kept.reasons for kept in plan.keep] == [
        ("release a of staging", "release b of production"),
        ("published 2026-11-19",),
        ("this portal did not publish it",),
        ("somebody named it v1",),
    ]
    assert plan.frees == 5, "the base is needed by those that stay"


def test_what_is_needed_and_not_there_is_said() -> None:
    other = replace(image(1), repository="shop/frontend")
    need = Need(other.name, "release a of staging")
    plan = decide("r", [image(1)], [need, need], since=SINCE)
    assert (plan.missing, plan.delete) == ((need,), (image(1),))


def test_the_digest_is_of_what_would_be_deleted() -> None:
    one = decide("r", [image(1), image(2, published=NEW)], [], since=SINCE)
    assert one.digest == decide("r", [image(1)], [], since=SINCE).digest
    assert one.digest != decide("r", [image(1), image(2)], [], since=SINCE).digest
    assert one.digest != decide("other", [image(1)], [], since=SINCE).digest
    assert one.digest != decide("r", [image(1, tags=())], [], since=SINCE).digest
