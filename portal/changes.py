"""The changes of a plan as people read them: in words first, and what is the same in several places once.

Pure: a plan's `changes` in (mappings with title, before, after, diff), plain data out. What a plan says of an object of
a cluster is recognized by its title, "VERB KIND/NAME in CLUSTER/NAMESPACE"; everything else stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

Change = Mapping[str, Any]

_OBJECT = re.compile(r"(?P<verb>create|change|delete) (?P<kind>[A-Z]\w+)/(?P<name>\S+) in (?P<place>\S+/\S+)")
# What makes the name of one content, or of one template.
_MARK = re.compile(r"-[0-9a-f]{10}$")
_KEY = re.compile(r"(?P<indent>\s*)(?:- )?(?P<key>[^\s:]+): ?(?P<value>.*)")
_RELEASE_ONLY = re.compile(r"burger-stack/|app\.kubernetes\.io/managed-by")
_NAMED_BY_CONTENT = re.compile(r"^(\s*(?:- )?(?:name|secretName|claimName): )(\S+?)-[0-9a-f]{10}$")
_CONFIGURATION = ("ConfigMap", "Secret")
_OTHER_NAME = "configuration"
FACTS = 6  # of one object that are told in words


@dataclass(frozen=True, slots=True)
class Fact:
    """`what` changes from `before` to `after`, "" where there is nothing."""

    what: str
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class ObjectChange:
    """One object, wherever the same happens to it. `verb` is create, change or delete; `title` its name as in the
    manifests. `diffs` has one entry where the difference is the same in all of `places`, else one for each; each is (in
    which places, unified diff). `overrides` is what other people set and applying takes back."""

    verb: str
    kind: str
    name: str
    title: str
    places: list[str] = field(default_factory=list)
    diffs: list[tuple[list[str], str]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        """What happens to it. New configuration may be the next version of what there is."""
        if self.verb == "create" and any("\n-" in diff.partition("@@")[2] for _, diff in self.diffs):
            return "new version"
        return {"create": "new", "delete": "deleted"}.get(self.verb, "changed")

    @property
    def more(self) -> int:
        return max(0, len(self.facts) - FACTS)

    @property
    def told(self) -> list[Fact]:
        return self.facts[:FACTS]


@dataclass(slots=True)
class Words:
    """What a plan changes: `plain` are the changes that are none of an object of a cluster, as they came. `groups` are
    (heading, objects), what people ask about first. `objects` counts single ones in all their places."""

    plain: list[Change] = field(default_factory=list)
    groups: list[tuple[str, list[ObjectChange]]] = field(default_factory=list)
    objects: int = 0
    places: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def where(self, one: ObjectChange) -> str:
        """Where something happens to an object, "" for everywhere."""
        return "" if len(one.places) == len(self.places) else ", ".join(one.places)

    @property
    def counts(self) -> str:
        """ "14 objects in main/north, main/south: 4 created, 8 changed, 2 deleted"."""
        every = [one for _, objects in self.groups for one in objects]
        verbs = [
            f"{number} {word}"
            for verb, word in (("create", "created"), ("change", "changed"), ("delete", "deleted"))
            if (number := sum(len(one.places) for one in every if one.verb == verb))
        ]
        where = ", ".join(self.places) if len(self.places) < 4 else f"{len(self.places)} places"
        return f"{self.objects} object{'s' * (self.objects != 1)} in {where}: {', '.join(verbs)}"


def read(changes: Iterable[Change]) -> Words:
    """Sort the changes of a plan."""
    words = Words()
    found: dict[tuple[str, str, str], ObjectChange] = {}
    texts: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for change in changes:
        match = _OBJECT.fullmatch(str(change["title"]))
        if match is None:
            words.plain.append(change)
            continue
        words.objects += 1
        kind, name = match["kind"], match["name"]
        key = (match["verb"], kind, name)
        one = found.setdefault(key, ObjectChange(match["verb"], kind, name, f"{kind} {_MARK.sub('', name)}"))
        one.places.append(match["place"])
        texts.setdefault(key, []).append((match["place"], str(change["diff"])))
        if change["before"]:
            one.overrides.append(f"{match['place']}: {change['before']}")
    for key, one in found.items():
        one.diffs = _distinct(texts[key])
        one.facts = list(dict.fromkeys(fact for _, diff in one.diffs for fact in _facts(one, diff)))
        words.overrides += [f"{one.kind}/{one.name} in {text}" for text in one.overrides]
    words.places = sorted({place for one in found.values() for place in one.places})
    ordered = sorted(found.values(), key=lambda one: _ORDER.index(_group(one)))
    words.groups = [(name, list(several)) for name, several in groupby(ordered, _group)]
    return words


_ORDER = ("Programs", "Configuration", "Work before the first pod", "Traffic", "Everything else", "Taken away")
_GROUPS = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "CronJob", "HorizontalPodAutoscaler"), "Programs"),
    **dict.fromkeys(_CONFIGURATION, "Configuration"),
    **dict.fromkeys(("Service", "HTTPRoute", "Ingress", "NetworkPolicy"), "Traffic"),
    "Job": "Work before the first pod",
}


def _group(one: ObjectChange) -> str:
    return "Taken away" if one.verb == "delete" else _GROUPS.get(one.kind, "Everything else")


def _distinct(texts: Sequence[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """(places, diff), each diff once; where only the namespace's name differs, it is the same."""
    found: dict[str, tuple[list[str], str]] = {}
    for place, diff in texts:
        namespace = re.escape(place.partition("/")[2])
        neutral = re.sub(rf"(namespace: ){namespace}$", r"\1…", diff, flags=re.MULTILINE)
        found.setdefault(neutral, ([], diff))[0].append(place)
    return list(found.values())


# --- one diff in words --------------------------------------------------------------------------------------------


def _facts(one: ObjectChange, diff: str) -> Iterator[Fact]:
    if one.verb == "delete":
        return
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---", "@@"))]
    if one.verb == "create" and not any(line.startswith("-") for line in lines):
        yield from _of_new(one.kind, [line[1:] for line in lines if line.startswith("+")])
        return
    for gone, came in _blocks(lines):
        for fact in _paired(gone, came):
            if one.kind not in _CONFIGURATION:
                yield fact
            elif fact.what != _OTHER_NAME:
                yield fact if one.kind != "Secret" else Fact(fact.what)


def _of_new(kind: str, lines: Sequence[str]) -> Iterator[Fact]:
    """Of a new object what people ask about: its images, how many replicas, its values."""
    if kind in _CONFIGURATION:
        yield from _values(kind, lines)
        return
    for line in lines:
        if (match := _KEY.fullmatch(line)) and match["key"] in ("image", "replicas"):
            yield Fact(match["key"], after=match["value"])


def _values(kind: str, lines: Sequence[str]) -> Iterator[Fact]:
    inside = False
    for line in lines:
        if not line.startswith(" "):
            inside = line in ("data:", "stringData:")
        elif inside and line.startswith("  ") and line[2:3] not in (" ", "") and (match := _KEY.fullmatch(line)):
            # A value of a Secret is only there as what tells it from another.
            yield Fact(match["key"], after="hidden" if kind == "Secret" else match["value"])


def _blocks(lines: Iterable[str]) -> Iterator[tuple[list[str], list[str]]]:
    """(lines that go, lines that come), for each stretch of changed lines."""
    for changed, block in groupby(lines, lambda line: line[:1] in ("+", "-")):
        if changed:
            several = list(block)
            yield (
                [line[1:] for line in several if line.startswith("-")],
                [line[1:] for line in several if line.startswith("+")],
            )


def _paired(gone: Sequence[str], came: Sequence[str]) -> Iterator[Fact]:
    """Lines of the same key and indent belong together."""
    left = list(came)
    for line in gone:
        twin = next((other for other in left if _key(other) == _key(line)), "")
        if twin:
            left.remove(twin)
        yield from _fact(line, twin)
    for line in left:
        yield from _fact("", line)


def _key(line: str) -> tuple[str, str]:
    match = _KEY.fullmatch(line)
    return (match["indent"], match["key"]) if match else ("", line)


def _fact(gone: str, came: str) -> Iterator[Fact]:
    """Nothing for what only carries the release's name or mark."""
    before, after = (_KEY.fullmatch(line) if line else None for line in (gone, came))
    some = after or before
    if some is None:
        yield Fact("a line", gone.strip(), came.strip())
        return
    was, then = before["value"] if before else "", after["value"] if after else ""
    if _RELEASE_ONLY.match(some["key"]):
        return
    if some["key"] == "value" and _is_release(was) and _is_release(then):
        return
    if gone and came and _by_content(gone) == _by_content(came):
        yield Fact(_OTHER_NAME, was, then)
        return
    if some["key"] == "image" and was.partition("@")[0] == then.partition("@")[0]:
        was, then = was.partition("@")[2], then.partition("@")[2]  # the same program, another build of it
    yield Fact(some["key"], was, then)


def _by_content(line: str) -> str | None:
    match = _NAMED_BY_CONTENT.match(line)
    return match[1] + match[2] if match else line


def _is_release(value: str) -> bool:
    """PIPELINE-RUN-COMMIT, as releases are called."""
    return bool(re.fullmatch(r"[a-z0-9-]+-\d+-[0-9a-f]{7}(?:-[0-9a-f]{6})?", value))
