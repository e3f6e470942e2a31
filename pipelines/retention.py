"""What may be deleted, and what still needs the rest. Pure: facts in, a plan out.

A run expires some days after its end, unless it is among the newest of its pipeline. Its row, its decisions and its
approvals stay for good; its log, what it made and its folders go. What runs in an environment or can be gone back to
there never goes, nor what a run that has not expired has made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

GRACE = timedelta(days=1)  # what changed within this time is left alone, whatever is known of it
NEWEST = 10  # runs of each pipeline that are kept whatever their age


@dataclass(frozen=True, slots=True)
class RunFact:
    """A run whose log is still there. `holds` are the digests of what it made; `size` the bytes of its log, where that
    is known."""

    key: int
    name: str
    pipeline: str
    number: int
    commit: str
    ended_at: datetime | None
    holds: frozenset[str] = frozenset()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of an attempt. `run` is the key of its run, None when no attempt has this name. `ended_at` is None
    while the run goes on. `busy`: something still runs in it."""

    name: str
    changed: datetime
    size: int
    run: str = ""
    ended_at: datetime | None = None
    open: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """Something in the content store, or a tree that was unpacked from it, by its digest."""

    digest: str
    changed: datetime
    size: int


@dataclass(frozen=True, slots=True)
class MirrorFact:
    """The mirror of a repository. `pipeline` is the slug of one that uses it, "" when none does any more. `commits` and
    `branches` are its own marks by their names, with the times at which they were made."""

    name: str
    changed: datetime
    size: int
    pipeline: str = ""
    commits: Mapping[str, datetime] = field(default_factory=dict)
    branches: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """`keep` is how long a run is kept after its end; None: for ever, and all else with it. `live` says of each digest
    that environments name which of them does; `fetching` are commits that are about to become runs."""

    now: datetime
    keep: timedelta | None
    runs: Sequence[RunFact] = ()
    folders: Sequence[Folder] = ()
    contents: Sequence[Content] = ()
    trees: Sequence[Content] = ()
    mirrors: Sequence[MirrorFact] = ()
    live: Mapping[str, str] = field(default_factory=dict)
    fetching: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Item:
    """One thing and why it goes or stays. `kind` is "run", "folder", "content", "tree", "mirror", "commit" or "branch";
    the last two are named MIRROR/NAME."""

    kind: str
    name: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    remove: tuple[Item, ...]
    keep: tuple[Item, ...]

    def of(self, kind: str) -> list[Item]:
        """What is to be removed of one kind."""
        return [item for item in self.remove if item.kind == kind]


Judged = tuple[Item, bool]


def plan(facts: Facts) -> Plan:
    """Decide about everything in `facts`."""
    judged = list(_judge(facts))
    return Plan(tuple(item for item, goes in judged if goes), tuple(item for item, goes in judged if not goes))


def _judge(facts: Facts) -> Iterator[Judged]:
    expired = expired_runs(facts)
    kept = [run for run in facts.runs if run.key not in expired]
    for run in facts.runs:
        reason = expired.get(run.key) or _why_kept(run, facts)
        yield Item("run", run.name, run.size, reason), run.key in expired
    for folder in facts.folders:
        yield _item("folder", folder.name, folder.size, _needs_folder(folder, facts), _why_folder(folder))
    for kind, things, holders in (
        ("content", facts.contents, kept),
        ("tree", facts.trees, [run for run in kept if run.ended_at is None]),
    ):
        makers = {digest: run.name for run in reversed(holders) for digest in run.holds}
        for thing in things:
            need = _needs_content(thing, makers, facts)
            yield _item(kind, thing.digest, thing.size, need, "nothing that is kept needs it")
    for mirror in facts.mirrors:
        yield from _mirror(mirror, kept, facts)


def _item(kind: str, name: str, size: int, need: str, why: str) -> Judged:
    return Item(kind, name, size, need or why), not need


def expired_runs(facts: Facts) -> dict[int, str]:
    """The runs whose log and work may go, by key, with the reason."""
    if facts.keep is None:
        return {}
    newest = _newest(facts.runs)
    return {
        run.key: f"it ended {_days(facts.now - run.ended_at)} ago"
        for run in facts.runs
        if run.ended_at is not None and run.key not in newest and facts.now - run.ended_at > facts.keep
    }


def _newest(runs: Iterable[RunFact]) -> set[int]:
    by_pipeline: dict[str, list[RunFact]] = {}
    for run in runs:
        by_pipeline.setdefault(run.pipeline, []).append(run)
    return {
        run.key
        for each in by_pipeline.values()
        for run in sorted(each, key=lambda run: run.number, reverse=True)[:NEWEST]
    }


def _why_kept(run: RunFact, facts: Facts) -> str:
    if run.ended_at is None:
        return "it has not ended"
    if facts.keep is None:
        return "runs are kept for ever"
    if facts.now - run.ended_at <= facts.keep:
        return f"it ended {_days(facts.now - run.ended_at)} ago"
    return f"it is one of the newest {NEWEST} of {run.pipeline}"


def _days(time: timedelta) -> str:
    return f"{time.days} day{'' if time.days == 1 else 's'}"


def _young(changed: datetime, facts: Facts) -> str:
    if facts.keep is None:
        return "everything is kept for ever"
    return "it changed within the last day" if facts.now - changed < GRACE else ""


def _needs_folder(folder: Folder, facts: Facts) -> str:
    """Why an attempt's folder has to stay, "" when it may go."""
    if folder.open:
        return "its attempt has not ended"
    if folder.busy:
        return "something still runs in it"
    if folder.run and folder.ended_at is None:
        return f"run {folder.run} has not ended"
    return _young(max(folder.changed, folder.ended_at or folder.changed), facts)


def _why_folder(folder: Folder) -> str:
    return f"run {folder.run} has ended" if folder.run else "no attempt has this name"


def _needs_content(thing: Content, makers: Mapping[str, str], facts: Facts) -> str:
    if where := facts.live.get(thing.digest):
        return f"{where} runs it or can go back to it"
    if maker := makers.get(thing.digest):
        return f"run {maker} made it"
    return _young(thing.changed, facts)


def _mirror(mirror: MirrorFact, kept: Sequence[RunFact], facts: Facts) -> Iterator[Judged]:
    need = f"pipeline {mirror.pipeline} fetches from it" if mirror.pipeline else _young(mirror.changed, facts)
    yield _item("mirror", mirror.name, mirror.size, need, "no pipeline fetches from it")
    if not mirror.pipeline:
        return
    makers = {run.commit: run.name for run in reversed(kept)}
    for commit, made in mirror.commits.items():
        need = f"run {makers[commit]} is of it" if commit in makers else ""
        need = need or ("it is being fetched" if commit in facts.fetching else _young(made, facts))
        yield _item("commit", f"{mirror.name}/{commit}", 0, need, "no run that is kept is of it")
    for branch, moved in mirror.branches.items():
        old = facts.keep is not None and facts.now - moved > max(facts.keep, GRACE)
        yield Item("branch", f"{mirror.name}/{branch}", 0, "it has not moved since" if old else "it moved lately"), old
