"""What the environment's customers say of a release while it is probed: their measurements, judged by its budgets."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.executors.base import Measured
from pipelines.performance.budgets import Budget
from pipelines.performance.sentences import progress, summary
from pipelines.performance.verdict import LOOKS, Assessment, Finding, assess

LOOK_EVERY = 2.0
# Between two looks, how often it is said how much has come.
TELL_EVERY = 10.0
# What is measured is kept by the minute: the one in which it began counts whole.
MINUTE = 60


@dataclass(slots=True)
class Customers:
    """Reads what is measured of `release`, and of the release `beside` it that serves the others ("" for none).

    `folder` keeps since when, and what the last looks found, for the worker that goes on with it.
    """

    measured: Measured
    release: str
    beside: str
    budgets: Sequence[Budget]
    folder: Path
    assessment: Assessment = field(init=False)
    since: float = field(init=False)
    _looked: float = 0.0
    _told: float = 0.0

    def __post_init__(self) -> None:
        try:
            kept = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            kept = {"since": time.time() // MINUTE * MINUTE, "findings": []}
        self.since = kept["since"]
        findings = tuple(Finding(**finding) for finding in kept["findings"])
        self.assessment = Assessment("wait", findings)
        self._write()

    @property
    def _file(self) -> Path:
        return self.folder / "customers.json"

    @property
    def decided(self) -> bool:
        """Whether no further measurement is waited for."""
        return self.assessment.state != "wait"

    @property
    def too_few(self) -> bool:
        """Whether it is undecided only because fewer came than it takes to decide: more would be looked at, and nothing
        of what was speaks against the release."""
        undecided = [found for found in self.assessment.findings if found.state == "open"]
        more = all(found.look < len(LOOKS) and not found.speaks_against for found in undecided)
        return self.assessment.state in ("wait", "unclear") and more

    def look(self) -> bool:
        """Read and judge, if it is time to; whether there is something new to say."""
        if time.monotonic() - self._looked < LOOK_EVERY and self._looked:
            return False
        self._looked = time.monotonic()
        sources = [budget.metric.source for budget in self.budgets if budget.metric.source]
        until = time.time()
        ours = self.measured(self.release, sources, self.since, until)
        theirs = self.measured(self.beside, sources, self.since, until) if self.beside else None
        before, self.assessment = self.assessment, assess(self.budgets, ours, theirs, self.assessment.findings)
        if self.assessment == before:
            return False
        self._write()
        looks = [finding.look for finding in before.findings]
        if looks == [finding.look for finding in self.assessment.findings] and self._looked - self._told < TELL_EVERY:
            return False
        self._told = self._looked
        return True

    def sentence(self) -> str:
        return summary(self.assessment, self.beside)

    def progress(self) -> str:
        return progress(self.assessment.findings)

    def numbers(self) -> dict[str, Any]:
        """As JSON values, for the attempt and its page."""
        return {"release": self.release, "beside": self.beside, "since": self.since, **self.assessment.as_dict()}

    def _write(self) -> None:
        fresh = self.folder / "customers.new"
        findings = [asdict(finding) for finding in self.assessment.findings]
        fresh.write_text(json.dumps({"since": self.since, "findings": findings}))
        fresh.replace(self._file)
