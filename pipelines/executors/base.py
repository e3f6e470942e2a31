"""What an executor is: the one protocol that every kind of work follows.

An executor takes plain data and yields plain data. It never touches a model, so the same code runs in a local
worker and in a pod. Everything that it keeps lives under `Workplace.home`, in a folder named after the attempt's
key, which is how a second worker finds out what a first one, now dead, had already done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pipelines.performance.verdict import Reading

# --- what goes in -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Artifact:
    """A thing that a stage made and that later stages name by its digest.

    `digest` is "sha256:" and 64 hex digits. `size` is in bytes. `meta` holds what its kind needs, as JSON values.
    """

    name: str
    kind: Literal["workspace", "slug", "image", "release", "report"]
    digest: str
    size: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of one run, resolved: templates expanded, parameters filled in, artifacts of its needs attached.

    `artifacts` maps an artifact's name to it; a stage that makes one artifact names it after itself.
    `with_` is the stage's `with` mapping of the pipeline file. `timeout` is in seconds; None means the default.
    `resumes` counts how often a person has let a paused stage go on. `approved_digest` is the digest of the plan
    that the gate's teams approved, None for a stage without a gate. `released` is what the stage of this name made for
    the release that was rolled out last, None where there is none.
    """

    run: int
    pipeline: str
    stage: str
    kind: str
    owner: str
    commit: str
    ref: str = ""
    repository: str = ""
    environment: str | None = None
    environment_owner: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    with_: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    timeout: float | None = None
    resumes: int = 0
    approved_digest: str | None = None
    released: Artifact | None = None


class Measured(Protocol):
    """What customers' browsers and the site's servers measured of one release of one environment."""

    def __call__(self, release: str, sources: Sequence[str], since: float, until: float) -> Reading:
        """Of all that began in [since, until), seconds since 1970. `sources` are the names that agents give."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where executors keep things, and the few facts about the machine they need.

    `home` is the state folder of the installation (`var/`): `work/KEY/` belongs to one attempt, `store/` is the
    content store, `environments/NAME/` one environment, `secrets/TEAM/NAME` one secret. `port_base` is the first
    of the ports that this installation may use. `measured` gives what is known of an environment by its name; None
    where measurements cannot be read from.
    """

    home: Path
    port_base: int = 8400
    environment_ports: Mapping[str, int] = field(default_factory=dict)
    measured: Callable[[str], Measured] | None = None

    def folder(self, key: str) -> Path:
        """The attempt's own folder, made on first use."""
        path = self.home / "work" / key
        path.mkdir(parents=True, exist_ok=True)
        return path


class Control(Protocol):
    """How the one who runs an executor talks to it while it works."""

    def stopping(self) -> bool:
        """True once the work shall end: canceled, out of time, or its lease lost. Cheap; ask it often."""

    def commands(self) -> Sequence[str]:
        """All that people told this stage so far, in order: "promote", "promote-full", "abort"."""


@dataclass(frozen=True, slots=True)
class Unattended:
    """A Control that never interferes."""

    said: tuple[str, ...] = ()
    stop: Callable[[], bool] = lambda: False

    def stopping(self) -> bool:
        return self.stop()

    def commands(self) -> Sequence[str]:
        return self.said


# --- what comes out ---------------------------------------------------------------------------------------------


class Receipt:
    """For a piece of output: whoever takes it to store it later says so with `keep`, and calls `stored` once it is.
    Dying in between then costs nothing: the next one is given that piece again. Without `keep`, asking for more means
    that it was stored."""

    def __init__(self, stored: Callable[[], None]) -> None:
        self._stored = stored
        self.kept = self.settled = False

    def keep(self) -> None:
        self.kept = True

    def stored(self) -> None:
        self._stored()
        self.settled = True


@dataclass(frozen=True, slots=True)
class Log:
    """Output of the work, masked already; `text` may hold several lines and ends at a line's end if it can. Where it
    can be had again, there is a receipt. An empty one asks to store now all that came before it."""

    text: str
    receipt: Receipt | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is, and structured facts about it for the page (a rollout's weights, a play's counts)."""

    text: str
    done: int | None = None
    total: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Produced:
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Outcome:
    """The last event of `start`, exactly one.

    - `succeeded`, `failed` (the work said no), `error` (the machinery broke), `canceled`: ends the attempt.
    - `paused`: a person of the owning team decides whether it goes on; `start` is then called again with the same
      key and `resumes` one higher. No worker is held meanwhile.
    - `engine`: what does the work is not there (an engine, a cluster); try again with the same key after a while, which
      is `data["retry_after"]` seconds at least, where it says so.
    - `changed`: what would happen is no longer what was approved; nothing was done.

    `retry_hint` is handed to the next attempt as `with_["_retry"]` (unreachable hosts, say).
    """

    state: Literal["succeeded", "failed", "error", "canceled", "paused", "engine", "changed"]
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    retry_hint: Mapping[str, Any] = field(default_factory=dict)


Yielded = Log | Progress | Produced | Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a plan would change. `diff` is unified diff text, `before` and `after` short values."""

    title: str
    before: str = ""
    after: str = ""
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Exactly what a stage would do, as a person approves it.

    `summary` completes the sentence on the button: "Approve and ..." ("roll out 2 services to production").
    Two plans that would do the same have the same digest: nothing in here may depend on the clock, on the order
    of a mapping or on the machine.
    """

    summary: str
    commit: str
    kind: str
    stage: str
    environment: str | None = None
    artifacts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self), sort_keys=True, default=str))

    @property
    def digest(self) -> str:
        """ "sha256:" and the hash of the plan in canonical JSON."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of work that nobody watched for a while.

    - `never_started`: nothing happened yet; it may be started.
    - `running`: it goes on; `start` with the same key joins it and does not begin it again.
    - `away`: what does the work is not there; `start` with the same key, after a while, joins or begins it.
    - `done`: it has ended; `start` with the same key yields what is left to say, and its Outcome.
    - `unknown`: cannot be known; a person has to look. `reason` says what to look at.
    """

    state: Literal["never_started", "running", "away", "done", "unknown"]
    reason: str = ""


class Executor(Protocol):
    """One kind of work. Made afresh for each call, with the workplace; keeps no state in memory between calls."""

    def __init__(self, workplace: Workplace) -> None: ...

    def plan(self, spec: StageSpec) -> Plan:
        """Say what would change, and change nothing. Raises PlanError with a sentence for a person, and EngineAwayError
        where what is asked is not there; it is asked again after a while.

        What it runs of the repository to find out, if anything, is in docs/decisions/0009-what-a-plan-may-do.md.
        """

    def start(self, spec: StageSpec, key: str, control: Control) -> Iterator[Yielded]:
        """Do the work, or join or finish what an earlier call with the same key began.

        Never raises for what the work or its surroundings do: that is an Outcome. `key` matches [a-z0-9-]+.
        """

    def probe(self, spec: StageSpec, key: str) -> Probe:
        """Say what became of the work. Reads only, and quickly."""

    def cancel(self, spec: StageSpec, key: str) -> None:
        """Stop the work and return once it has stopped. Does nothing where there is nothing to stop.

        Raises EngineAwayError where what does the work is not there; it is asked again after a while.
        """


class EngineAwayError(Exception):
    """What does the work (an engine, a cluster) is not there, so the work cannot be planned or stopped now. The message
    is a sentence for a person; `retry_after` is for how many seconds it asks to be left alone, None if it does not."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def outcome(self, more: str = "") -> Outcome:
        """To try again; `more` is added to the sentence."""
        return Outcome("engine", f"{self}{more}", {"retry_after": self.retry_after} if self.retry_after else {})


class PlanError(Exception):
    """The plan cannot be made; the message says what was found, what was expected and what to do."""


def refuse_changed(executor: Executor, spec: StageSpec) -> Outcome | None:
    """The Outcome to end with when what would happen is not what was approved; None when it may begin.

    Ask it before the work begins, not when joining work: its plan has changed by then, because some of it is done.
    """
    if spec.approved_digest is None:
        return None
    try:
        found = executor.plan(spec).digest
    except PlanError as error:
        return Outcome("changed", f"What was approved cannot be planned any more: {error}")
    if found == spec.approved_digest:
        return None
    return Outcome(
        "changed",
        f"The plan is {found} now, but {spec.approved_digest} was approved; nothing was done. Look at the new plan.",
    )
