"""What a builder says while it builds, read line by line: the steps, which came from the cache, what went wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STEP = re.compile(r"#(?P<id>\d+) \[(?:(?P<stage>[^\]]+) )?(?P<number>\d+)/(?P<of>\d+)\] (?P<what>.*)")
_METADATA = re.compile(r"#(?P<id>\d+) (?:\[internal\] load metadata for|resolve image config for) (?P<image>\S+)")
_CACHED = re.compile(r"#(?P<id>\d+) CACHED")
_DONE = re.compile(r"#(?P<id>\d+) DONE (?P<seconds>[\d.]+)?")
_ERROR = re.compile(r"#(?P<id>\d+) ERROR: (?P<said>.*)")
_CLASSIC = re.compile(r"Step (?P<number>\d+)/(?P<of>\d+) : (?P<what>.*)")
_USING_CACHE = re.compile(r" ---> Using cache")
_LAST_WORDS = re.compile(r"(?:ERROR|error|failed to|unable to|Cannot connect|error during connect|unexpected EOF).*")
# What a command line says when the engine went away under it: that it cannot be reached, or that the connection broke.
_AWAY = re.compile(r"(?:ERROR: )?(?:error during connect|Cannot connect to the Docker daemon)", re.IGNORECASE)
_BROKE = re.compile(
    r"code = Unavailable|error reading from server|transport is closing|failed to dial gRPC|unexpected EOF|"
    r"connection reset by peer|broken pipe"
)
# The same words about something else: a registry that was asked, a command that was run.
_OF_OTHERS = re.compile(
    r"https?://|failed to (?:do request|resolve|fetch|copy|authorize|extract|register)|"
    r"did not complete successfully|executor failed running"
)

# What a page is told of them: a progress report stays small however long a Dockerfile is.
MOST_STEPS, MOST_WORDS = 40, 160


@dataclass(slots=True)
class Step:
    what: str
    stage: str = ""
    of: int = 0
    done: bool = False
    cached: bool = False
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether it could have been work: taking over a base image is none."""
        return not self.what.upper().startswith("FROM ")


@dataclass(slots=True)
class Steps:
    """`images` maps what is asked of a registry by name; `failed` is what the step that failed was called, `said` the
    last complaint."""

    steps: dict[str, Step] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    failed: str = ""
    missing: str = ""
    said: str = ""
    lost: bool = False
    current: str = ""

    def feed(self, text: str) -> bool:
        """Read whole lines; True when the number of steps that are known or done has changed. Reading a line twice does
        no harm."""
        before = self.counted()
        for line in text.splitlines():
            self._line(line.rstrip())
        return self.counted() != before

    def counted(self) -> tuple[int, int, int]:
        """(done, cached, all that are known so far), of the steps that count."""
        counting = [step for step in self.steps.values() if step.counts]
        # A stage says with each step how many it has; its FROM is one of them.
        stages = {step.stage: step.of for step in self.steps.values()}
        begun = {step.stage for step in self.steps.values() if not step.counts}
        total = max(len(counting), sum(stages.values()) - len(begun))
        return sum(step.done for step in counting), sum(step.cached for step in counting), total

    def told(self) -> list[dict[str, Any]]:
        """The last steps that count, as a page shows them: "what", "stage", "state" (running, done, cached), and how
        long each took in seconds."""
        return [
            {
                "what": step.what[:MOST_WORDS],
                "stage": step.stage,
                "state": "cached" if step.cached else "done" if step.done else "running",
                "seconds": step.seconds,
            }
            for step in self.steps.values()
            if step.counts
        ][-MOST_STEPS:]

    def finish(self) -> None:
        """The build succeeded, so all that began is done."""
        for step in self.steps.values():
            step.done = True

    def _line(self, line: str) -> None:
        if match := _STEP.fullmatch(line):
            known = self.steps.setdefault(match["id"], Step(match["what"], match["stage"] or "", int(match["of"])))
            self.current = known.what
        elif match := _METADATA.fullmatch(line):
            self.images[match["id"]] = match["image"]
        elif match := _CACHED.fullmatch(line):
            self._ended(match["id"], cached=True)
        elif match := _DONE.match(line):
            self._ended(match["id"], seconds=float(match["seconds"] or 0))
        elif match := _CLASSIC.fullmatch(line):
            self._ended(self._previous())
            self.steps.setdefault(match["number"], Step(match["what"], "", int(match["of"])))
            self.current = match["what"]
        elif _USING_CACHE.fullmatch(line):
            self._ended(self._previous(), cached=True)
        elif match := _ERROR.fullmatch(line):
            self._error(match["id"], match["said"])
        elif _LAST_WORDS.match(line):
            self._complaint(line)

    def _previous(self) -> str:
        """The classic builder numbers its steps in order."""
        return max(self.steps, key=int, default="")

    def _ended(self, number: str, *, cached: bool = False, seconds: float = 0.0) -> None:
        if step := self.steps.get(number):
            step.done = True
            step.cached = step.cached or cached
            step.seconds = max(step.seconds, seconds)

    def _error(self, number: str, said: str) -> None:
        self.said = said
        self.lost = self.lost or _is_lost(said)
        step = self.steps.get(number)
        self.failed = step.what if step else self.failed
        self.missing = self.images.get(number, "") or (_base(step) if step else "") or self.missing

    def _complaint(self, line: str) -> None:
        self.lost = self.lost or _is_lost(line)
        # BuildKit repeats at the end, in other words, what it said of the step.
        if not self.said or line.startswith("ERROR: "):
            self.said = line.removeprefix("ERROR: ")
        step = self.steps.get(self._previous())
        if step and step.of and not step.stage and not step.done and not self.failed:
            self.failed, self.missing = step.what, self.missing or _base(step)


def _is_lost(said: str) -> bool:
    return bool(_AWAY.match(said) or (_BROKE.search(said) and not _OF_OTHERS.search(said)))


def _base(step: Step) -> str:
    """The image of a step that takes one over."""
    words = step.what.split()
    return words[1].partition("@sha256")[0] if len(words) > 1 and words[0].upper() == "FROM" else ""


def load(path: Path) -> Steps:
    """What an earlier worker had read of the same build."""
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return Steps()
    return Steps(**{**data, "steps": {number: Step(**step) for number, step in data["steps"].items()}})


def save(steps: Steps, path: Path) -> None:
    data = {name: getattr(steps, name) for name in ("images", "failed", "missing", "said", "lost", "current")}
    data["steps"] = {
        number: {"what": s.what, "stage": s.stage, "of": s.of, "done": s.done, "cached": s.cached, "seconds": s.seconds}
        for number, s in steps.steps.items()
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(data))
    temporary.replace(path)
