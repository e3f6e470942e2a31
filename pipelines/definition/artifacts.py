"""Whether what a stage takes of others is made before it: the names of artifacts in every `with`."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from pipelines.definition.graph import Entry, known_needs
from pipelines.definition.kinds import Kind
from pipelines.definition.report import Mention, Report, shown

_MAX_STEPS = 200_000
# Names among which what was meant is looked for, all collections of them together.
_MAX_NAMES = 20_000


def check_artifacts(entries: Sequence[Entry], kinds: Mapping[str, Kind], report: Report) -> None:
    """Report each mentioned artifact that no stage makes, that a stage makes which does not come before, or that is of
    another sort."""
    # A stage whose matrix is wrong has no combinations, whose artifacts others may mean.
    if not any(entry.mentions for entry in entries) or not all(entry.stages for entry in entries):
        return
    check = _Check(entries, kinds, report)
    for entry in entries:
        for mention in entry.mentions:
            check.one(entry, mention)


def check_workspaces(entries: Sequence[Entry], kinds: Mapping[str, Kind], report: Report) -> None:
    """Report each stage that works in a workspace while no stage before it fetches one."""
    known = {entry.name: kinds.get(entry.stages[0].kind) if entry.stages else None for entry in entries}
    if None in known.values():  # what is wrong with a stage has been said, and it may be the one that fetches
        return
    sources = [entry.name for entry in entries if (kind := known[entry.name]) and kind.makes == "workspace"]
    fetched = _behind(sources, entries)
    hint = f"add {sources[0]} to its needs" if sources else "let it need a stage of kind source"
    for entry in entries:
        kind = known[entry.name]
        if kind is None or not kind.reads or entry.name in fetched:
            continue
        if any(stage.with_.get(kind.reads) in (None, "", "workspace") for stage in entry.stages):
            message = f"{shown(entry.name)} works in a workspace, and no stage before it fetches one"
            report.add(entry.at, "no-workspace", message, hint)


def _behind(sources: Collection[str], entries: Sequence[Entry]) -> set[str]:
    """The names of all that need one of `sources`, through others too."""
    by_name = {entry.name: entry for entry in entries}
    followers: dict[str, list[str]] = {}
    for entry in entries:
        for name in known_needs(entry, by_name):
            followers.setdefault(name, []).append(entry.name)
    found: set[str] = set()
    waiting = deque(sources)
    while waiting:
        for name in followers.get(waiting.popleft(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


class _Check:
    """`makers` maps each artifact that a stage may make to its entry, and `sorts` to its sort, "" for one that is not
    known."""

    def __init__(self, entries: Sequence[Entry], kinds: Mapping[str, Kind], report: Report) -> None:
        self.report = report
        self.by_name = {entry.name: entry for entry in entries}
        self.makers = {stage.name: entry for entry in entries for stage in entry.stages}
        known = {stage.name: kinds.get(stage.kind) for entry in entries for stage in entry.stages}
        self.sorts = {name: kind.makes if kind else "" for name, kind in known.items()}
        self.steps = _MAX_STEPS
        self.names = _MAX_NAMES
        self.before: dict[str, set[str]] = {}
        self.fitting: dict[tuple[str, tuple[str, ...]], Collection[str]] = {}

    def one(self, entry: Entry, mention: Mention) -> None:
        place, name = (mention.line, mention.column), mention.name
        maker = self.makers.get(name)
        if maker is None and name in self.by_name:
            message = f"{shown(name)} has a matrix, and each of its combinations makes an artifact of its own"
            self.report.add(place, "unknown-artifact", message, self.by_name[name].stages[0].name)
        elif maker is None:
            self.report.unknown(place, "unknown-artifact", "artifact", name, self.visible(entry, mention))
        elif not self.comes_before(maker, entry):
            message = f"{shown(entry.name)} takes what {shown(name)} makes, but does not come after it"
            self.report.add(place, "unordered", message, f"add {maker.name} to its needs")
        elif self.sorts[name] not in ("", *mention.sorts):
            article = "an" if self.sorts[name] == "image" else "a"
            message = (
                f"{shown(name)} makes {article} {self.sorts[name]}, and here a {' or '.join(mention.sorts)} is meant"
            )
            fitting = self.visible(entry, mention)
            self.report.add(place, "unknown-artifact", message, "use one of: " + ", ".join(fitting) if fitting else "")

    def comes_before(self, maker: Entry, entry: Entry) -> bool:
        return maker.name in self.needed_by(entry) or self.steps <= 0

    def needed_by(self, entry: Entry) -> set[str]:
        """The stages that it needs, through others too. Once all steps are used up, a huge file is not worth more."""
        if entry.name in self.before:
            return self.before[entry.name]
        found = self.before[entry.name] = set()
        waiting = deque([entry])
        while waiting and self.steps > 0:
            for name in known_needs(waiting.popleft(), self.by_name):
                self.steps -= 1
                if name not in found:
                    found.add(name)
                    waiting.append(self.by_name[name])
        return found

    def visible(self, entry: Entry, mention: Mention) -> Collection[str]:
        """The artifacts that could stand there, and words; of a huge file those of later stages too."""
        key = (entry.name if self.names > 0 else "", mention.sorts)
        if key not in self.fitting:
            before = self.needed_by(entry) if self.names > 0 else self.by_name
            self.names -= len(before)
            names = (stage.name for name in before for stage in self.by_name[name].stages)
            self.fitting[key] = sorted({*mention.words, *(n for n in names if self.sorts[n] in mention.sorts)})
        return self.fitting[key]
