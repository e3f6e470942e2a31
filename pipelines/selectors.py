"""Reading queries for pages and API. Each costs a fixed number of statements, however much is stored.

What waits for people is read by `pipelines.inbox`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from teams.models import AuditEntry, User

from .models import (
    Approval,
    Attempt,
    DefinitionVersion,
    Delivery,
    Environment,
    Event,
    Pipeline,
    Release,
    Run,
    Stage,
)
from .runs.questions import asked_digest
from .states import AGAIN, Reason, State
from .votes import approvals_by_team, votes_on

PAGE = 30
LOG_LINES = 2_000
LOG_SIZE = 400_000  # characters: a page with one line of megabytes takes a browser minutes
TOLD = 10  # stages of one state and reason that are read as a whole: a sentence names two and counts the rest
UNTOLD = (State.PENDING, State.SKIPPED, State.OMITTED, State.CANCELED)  # no sentence is about these


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first. `older` is the key to give as `before` for the next page, None on the last."""

    rows: list[Any]
    older: int | None


def page(rows: QuerySet[Any], before: int | None, size: int) -> Page:
    """One page of `rows`, which must be ordered by their keys, newest first."""
    found = list((rows.filter(pk__lt=before) if before else rows)[: size + 1])
    return Page(found[:size], found[size - 1].pk if len(found) > size else None)


# --- runs -----------------------------------------------------------------------------------------


def run_list(
    *,
    pipeline: str = "",
    state: str = "",
    by: User | None = None,
    before: int | None = None,
    size: int = PAGE,
) -> Page:
    """Runs, newest first, of one pipeline, in one state, requested by one person."""
    rows = Run.objects.select_related("pipeline", "requested_by").order_by("-id")
    if pipeline:
        rows = rows.filter(pipeline__slug=pipeline)
    if state:
        rows = rows.filter(state=state)
    if by is not None:
        rows = rows.filter(requested_by=by)
    return page(rows, before, size)


def stage_counts(runs: Iterable[Run]) -> dict[int, dict[str, int]]:
    """How many stages each run has in each state."""
    counts: dict[int, dict[str, int]] = {}
    rows = Stage.objects.filter(run__in=[run.pk for run in runs]).order_by()
    for row in rows.values("run", "state").annotate(stages=Count("pk")):
        counts.setdefault(row["run"], {})[row["state"]] = row["stages"]
    return counts


def get_run(pipeline: str, number: int) -> Run:
    """Raises Run.DoesNotExist."""
    return Run.objects.select_related("pipeline", "requested_by", "superseded_by", "rerun_of", "definition").get(
        pipeline__slug=pipeline, number=number
    )


class Glance(NamedTuple):
    """A stage as far as counts, lists and pictures need it: ten thousand of them are read in some 50 ms."""

    pk: int
    position: int
    name: str
    owner: str
    state: str
    code: str
    on_exit: bool


def glances_of(run: Run) -> list[Glance]:
    """All stages of a run, in their order."""
    fields = ("pk", "position", "name", "owner", "state", "reason_code", "on_exit")
    return [Glance._make(row) for row in run.stages.order_by("position").values_list(*fields)]


def told_of(stages: Iterable[Glance]) -> list[int]:
    """The keys of the stages that a sentence about the run may name: the first ones of each state and reason."""
    counted: dict[tuple[str, str], int] = {}
    found = []
    for stage in stages:
        kind = (stage.state, stage.code)
        counted[kind] = counted.get(kind, 0) + 1
        if counted[kind] <= TOLD and stage.state not in UNTOLD:
            found.append(stage.pk)
    return found


def retriable_of(stages: Iterable[Glance]) -> list[int]:
    """The keys of what "retry from failed" takes up, one stage of each owner: who may do that depends on the owner
    alone."""
    bad = [one for one in stages if one.state in AGAIN]
    return list({one.owner: one.pk for one in [one for one in bad if not one.on_exit] or bad}.values())


def stages_of(run: Run, keys: Collection[int] | None = None) -> list[Stage]:
    """The run's stages in their order, all or those with `keys`, without what only a stage's own page shows."""
    rows = run.stages.defer("plan", "artifacts", "retry_hint").order_by("position")
    stages = list(rows if keys is None else rows.filter(pk__in=keys))
    for stage in stages:
        stage.run = run
    return stages


def stages_named(run: Run, part: str) -> set[int]:
    """The keys of the run's stages with this in their names or titles."""
    rows = run.stages.filter(Q(name__icontains=part) | Q(definition__title__icontains=part))
    return set(rows.values_list("pk", flat=True))


def get_stage(run: Run, name: str) -> Stage:
    """Raises Stage.DoesNotExist."""
    if "\0" in name:  # which PostgreSQL refuses in any text, even to look for it
        raise Stage.DoesNotExist
    stage = Stage.objects.get(run=run, name=name)
    stage.run = run
    return stage


def attempts_of(stage: Stage) -> list[Attempt]:
    return list(stage.attempts.order_by("-id"))


def decisions_of(stage: Stage) -> list[Event]:
    """What people decided about a stage, the latest first."""
    return list(stage.events.filter(kind="decision").order_by("-seq"))


def voided_votes(stage: Stage) -> dict[tuple[str, str], str]:
    """Why votes do not count any more, by who cast them and the digest that they named."""
    return {(row.user.username, row.plan_digest): row.voided for row in approvals_of(stage) if row.voided}


def have_approved(stages: Iterable[Stage]) -> dict[int, dict[str, int]]:
    """How many approvals count, by stage and team, of what is asked now or was last."""
    stages = list(stages)
    return approvals_by_team({stage.pk: asked_digest(stage) for stage in stages}, _opened(stages))


def _opened(stages: Iterable[Stage]) -> set[int]:
    """Those that do not ask now: who leaves a team closes no gate that was opened."""
    return {stage.pk for stage in stages if (stage.state, stage.reason_code) != (State.WAITING, Reason.APPROVAL)}


def approvals_of(stage: Stage) -> list[Approval]:
    """All votes about a stage. `voided` says also of those that nobody has struck out yet why they do not count."""
    why_not = {vote.approval: vote.why_not for vote in votes_on({stage.pk: asked_digest(stage)}, _opened([stage]))}
    rows = list(stage.approvals.select_related("user"))
    for row in rows:
        row.voided = row.voided or why_not.get(row.pk, "")
    return rows


@dataclass(frozen=True, slots=True)
class Chunk:
    """Log text as one event brought it."""

    seq: int
    attempt: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """The end of a stage's log. `older` is what to give as `before` to read further back, None at its start."""

    chunks: list[Chunk]
    older: int | None


def log_of(stage: Stage, *, before: int | None = None, lines: int = LOG_LINES) -> Log:
    """The last lines of a stage's log that came before event `before`: `lines` of them, or what is LOG_SIZE long."""
    rows = stage.events.filter(kind="log").order_by("-seq").values_list("seq", "attempt", "data")
    if before:
        rows = rows.filter(seq__lt=before)
    chunks: list[Chunk] = []
    left, room = lines, LOG_SIZE
    for seq, attempt, data in rows.iterator(chunk_size=100):
        if left <= 0 or room <= 0:
            return Log(_whole_lines(chunks[::-1]), chunks[-1].seq)
        chunks.append(Chunk(seq, attempt, data["text"]))
        left -= data["text"].count("\n") or 1
        room -= len(data["text"])
    return Log(_whole_lines(chunks[::-1]), None)


def _whole_lines(chunks: list[Chunk]) -> list[Chunk]:
    """The same text, a line that came in two pieces put into the later one."""
    found: list[Chunk] = []
    rest = ""
    for number, chunk in enumerate(chunks, start=1):
        text = rest + chunk.text
        rest = ""
        if number < len(chunks) and chunks[number].attempt == chunk.attempt:
            text, newline, rest = text.rpartition("\n")
            text += newline
        if text:
            found.append(Chunk(chunk.seq, chunk.attempt, text))
    return found


def whole_log(stage: Stage) -> Iterable[str]:
    """The text of a stage's log, piece by piece."""
    rows = stage.events.filter(kind="log").order_by("seq").values_list("data", flat=True)
    return (data["text"] for data in rows.iterator(chunk_size=100))


# --- environments, pipelines, records -------------------------------------------------------------


def environments() -> list[Environment]:
    return list(Environment.objects.select_related("pipeline", "holder").order_by("pipeline__slug", "pk"))


def get_environment(pipeline: str, name: str) -> Environment:
    """Raises Environment.DoesNotExist."""
    return Environment.objects.select_related("pipeline", "holder").get(pipeline__slug=pipeline, name=name)


def releases_of(environment: Environment, *, before: int | None = None, size: int = PAGE) -> Page:
    return page(environment.releases.select_related("run").order_by("-id"), before, size)


def pending_rollouts(environment: Environment) -> list[Stage]:
    """The rollouts to this environment that are under way, with what they said last."""
    rows = Stage.objects.filter(
        run__pipeline=environment.pipeline_id, environment=environment.name, kind="rollout",
        state__in=(State.RUNNING, State.UNKNOWN, State.WAITING), started_at__isnull=False,
    )  # fmt: skip
    return list(rows.select_related("run__pipeline", "run__requested_by"))


def pipelines() -> list[Pipeline]:
    return list(Pipeline.objects.select_related("accepted"))


def get_pipeline(slug: str) -> Pipeline:
    """Raises Pipeline.DoesNotExist."""
    return Pipeline.objects.select_related("accepted").get(slug=slug)


def definitions_of(pipeline: Pipeline, *, before: int | None = None, size: int = PAGE) -> Page:
    return page(pipeline.definitions.annotate(used=Count("runs")).order_by("-id"), before, size)


def get_definition(pipeline: Pipeline, digest: str) -> DefinitionVersion:
    """Raises DefinitionVersion.DoesNotExist."""
    return DefinitionVersion.objects.get(pipeline=pipeline, digest=digest)


def deliveries_of(pipeline: Pipeline, *, before: int | None = None, size: int = PAGE) -> Page:
    rows: QuerySet[Delivery] = pipeline.deliveries.select_related("run").order_by("-id")
    return page(rows, before, size)


def audit_entries(*, target: str = "", actor: str = "", before: int | None = None, size: int = PAGE) -> Page:
    """The audit trail. `target` is the beginning of one: "run:demo/" finds all runs of demo."""
    rows = AuditEntry.objects.order_by("-id")
    if target:
        rows = rows.filter(target__startswith=target)
    if actor:
        rows = rows.filter(actor=actor)
    return page(rows, before, size)


def current_releases() -> dict[int, Release]:
    """The release that each environment got last."""
    last = Release.objects.filter(environment=OuterRef("pk")).order_by("-id").values("pk")[:1]
    keys = Environment.objects.annotate(last=Subquery(last)).values_list("last", flat=True)
    found = Release.objects.filter(pk__in=[key for key in keys if key]).select_related("run")
    return {release.environment_id: release for release in found}
