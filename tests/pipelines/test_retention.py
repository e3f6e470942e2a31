"""What may be deleted, as arithmetic: no history is too old or too odd for what is in use to stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.retention import NEWEST, Content, Facts, Folder, MirrorFact, RunFact, expired_runs, plan

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KEEP = timedelta(days=30)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def run(number: int, days: float | None, *holds: str) -> RunFact:
    """A run that ended so many days ago, None: that goes on."""
    ended = None if days is None else ago(days)
    return RunFact(number, f"demo/{number}", "demo", number, f"c{number}", ended, frozenset(holds))


# As many as are kept whatever their age, so that older ones are judged by their age alone.
RECENT = [run(100 + number, 40) for number in range(NEWEST)]


def facts(*runs: RunFact, **more: object) -> Facts:
    return replace(Facts(now=NOW, keep=KEEP, runs=[*runs, *RECENT]), **more)


def judged(found: Facts, kind: str) -> dict[str, tuple[bool, str]]:
    """By name: whether it goes, and why."""
    made = plan(found)
    return {
        item.name: (goes, item.reason)
        for goes, items in ((True, made.remove), (False, made.keep))
        for item in items
        if item.kind == kind
    }


def test_runs_expire_by_age_but_never_the_newest_nor_those_that_go_on():
    found = judged(facts(run(1, 31), run(2, 29), run(3, None), run(4, 400)), "run")
    assert found["demo/1"] == (True, "it ended 31 days ago")
    assert found["demo/2"] == (False, "it ended 29 days ago")
    assert found["demo/3"] == (False, "it has not ended")
    assert found["demo/4"][0]
    assert found["demo/109"] == (False, f"it is one of the newest {NEWEST} of demo")


def test_without_a_limit_everything_stays():
    everything = facts(
        run(1, 4000, "d1"), keep=None, folders=[Folder("f", ago(4000), 1)], contents=[Content("d1", ago(4000), 1)],
        trees=[Content("d1", ago(4000), 1)],
        mirrors=[MirrorFact("m", ago(4000), 1), MirrorFact("n", ago(4000), 1, "demo", {"c": ago(9)}, {"b": ago(900)})],
    )  # fmt: skip
    assert plan(everything).remove == ()


@pytest.mark.parametrize(
    ("folder", "goes", "why"),
    [
        (Folder("f", ago(9), 1, run="demo/1", ended_at=ago(9)), True, "run demo/1 has ended"),
        (Folder("f", ago(9), 1, run="demo/1", ended_at=ago(0.5)), False, "it changed within the last day"),
        (Folder("f", ago(9), 1, run="demo/1"), False, "run demo/1 has not ended"),
        (Folder("f", ago(9), 1, run="demo/1", open=True), False, "its attempt has not ended"),
        (Folder("f", ago(9), 1, run="demo/1", ended_at=ago(9), busy=True), False, "something still runs in it"),
        (Folder("f", ago(9), 1), True, "no attempt has this name"),
        (Folder("f", ago(9), 1, busy=True), False, "something still runs in it"),
        (Folder("f", ago(0.1), 1), False, "it changed within the last day"),
    ],
)
def test_the_folder_of_an_attempt_goes_once_its_run_has_ended(folder, goes, why):
    assert judged(facts(folders=[folder]), "folder") == {"f": (goes, why)}


def test_a_content_stays_as_long_as_anything_needs_it():
    contents = [Content(name, ago(90), 1) for name in ("live", "kept", "going", "expired", "nobody")]
    contents.append(Content("young", ago(0.5), 1))
    found = facts(
        run(1, 40, "expired", "live"), run(2, 5, "kept"), run(3, None, "going"), contents=contents,
        live={"live": "production"},
    )  # fmt: skip
    assert judged(found, "content") == {
        "live": (False, "production runs it or can go back to it"),
        "kept": (False, "run demo/2 made it"),
        "going": (False, "run demo/3 made it"),
        "young": (False, "it changed within the last day"),
        "expired": (True, "nothing that is kept needs it"),
        "nobody": (True, "nothing that is kept needs it"),
    }
    # A tree can be unpacked again, so those of ended runs need not stay.
    assert {name for name, (goes, _) in judged(replace(found, trees=contents), "tree").items() if not goes} == {
        "live",
        "going",
        "young",
    }


def test_a_mirror_forgets_what_no_kept_run_is_of():
    commits = {"c1": ago(40), "c2": ago(40), "c3": ago(0.1), "c4": ago(40)}
    mirror = MirrorFact("m", ago(0.1), 9, "demo", commits, {"old": ago(31), "main": ago(2)})
    found = facts(run(1, 40), run(2, 3), mirrors=[mirror, MirrorFact("n", ago(2), 5)], fetching=frozenset({"c4"}))
    assert judged(found, "commit") == {
        "m/c1": (True, "no run that is kept is of it"),
        "m/c2": (False, "run demo/2 is of it"),
        "m/c3": (False, "it changed within the last day"),
        "m/c4": (False, "it is being fetched"),
    }
    assert judged(found, "branch") == {"m/old": (True, "it has not moved since"), "m/main": (False, "it moved lately")}
    assert judged(found, "mirror") == {
        "m": (False, "pipeline demo fetches from it"),
        "n": (True, "no pipeline fetches from it"),
    }


DAYS = st.none() | st.floats(0, 400)
DIGESTS = st.sampled_from([f"d{number}" for number in range(6)])


@given(
    st.lists(st.tuples(DAYS, st.frozensets(DIGESTS)), max_size=25),
    st.dictionaries(DIGESTS, st.just("production")),
    st.dictionaries(DIGESTS, st.floats(0, 400)),
)
def test_nothing_that_is_needed_ever_goes_and_everything_else_does(made, live, stored):
    runs = [run(number, days, *holds) for number, (days, holds) in enumerate(made, start=1)]
    contents = [Content(digest, ago(days), 1) for digest, days in stored.items()]
    found = Facts(now=NOW, keep=KEEP, runs=runs, contents=contents, live=live)
    expired = set(expired_runs(found))
    assert expired.isdisjoint({one.key for one in runs if one.ended_at is None or one.ended_at > NOW - KEEP})
    assert len(runs) - len(expired) >= min(len(runs), NEWEST)
    needed = {digest for one in runs if one.key not in expired for digest in one.holds} | set(live)
    gone = {item.name for item in plan(found).of("content")}
    assert gone == {one.digest for one in contents if one.digest not in needed and NOW - one.changed >= timedelta(1)}
