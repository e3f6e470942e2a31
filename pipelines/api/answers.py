"""What programs are answered: a function for each kind of thing, from rows to JSON values, as in `shapes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.utils import timezone

from pipelines import places
from pipelines.definition.credentials import concealed
from pipelines.definition.kinds import REFERENCES
from pipelines.inbox import Question
from pipelines.models import Approval, Attempt, Delivery, Environment, Event, Pipeline, Release, Run, Stage
from pipelines.runs.questions import asked_digest, asked_teams, is_paused
from pipelines.runs.values import asked_values
from pipelines.sentences import Now, what_happens_now
from teams.models import AuditEntry, User
from teams.policy import Actor

from .may import is_asking

Json = dict[str, Any]


def run_name(run: Run) -> str:
    return f"{run.pipeline.slug}/{run.number}"


def run_page(run: Run) -> str:
    """The address of the run's page, for people."""
    return f"{settings.PUBLIC_URL}/runs/{run_name(run)}"


def time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def run(row: Run) -> Json:
    return {
        "run": run_name(row),
        "pipeline": row.pipeline.slug,
        "number": row.number,
        "state": row.state,
        "reason": row.reason,
        "stopping": row.stopping,
        "commit": row.commit,
        "ref": row.ref,
        "subject": row.subject,
        "author": row.author,
        "trigger": row.trigger,
        "requested_by": row.requested_by.username if row.requested_by else None,
        "created_at": time(row.created_at),
        "ended_at": time(row.ended_at),
        "url": run_page(row),
    }


def run_detail(row: Run, stages: Sequence[Now], may: Json) -> Json:
    """Without its stages, but with the sentence about them."""
    end = row.ended_at or timezone.now()
    return run(row) | {
        "now": what_happens_now(
            state=row.state,
            reason=row.reason,
            stopping=row.stopping,
            elapsed=(end - row.created_at).total_seconds(),
            stages=stages,
        ),
        "engine": row.engine,
        "parameters": concealed(row.parameters),
        "definition": row.definition.digest if row.definition else None,
        "superseded_by": row.superseded_by.number if row.superseded_by else None,
        "rerun_of": row.rerun_of.number if row.rerun_of else None,
        "trimmed_at": time(row.trimmed_at),
        "last_seq": row.last_seq,
        "may": may,
    }


def now(stage: Stage, answer: Json) -> Now:
    """A stage of which `answer` is told, as the sentence about its run needs it."""
    gate: Json = answer["gate"] or {"teams": []}
    approve: Json = answer["may"]["approve"]
    return Now(
        title=answer["title"],
        state=stage.state,
        code=stage.reason_code,
        reason=stage.reason,
        owner=stage.owner,
        seconds=(timezone.now() - stage.since).total_seconds() if stage.since else 0.0,
        asked={team["team"]: team["quorum"] for team in gate["teams"]},
        have={team["team"]: team["approved"] for team in gate["teams"]},
        paused=is_paused(stage),
        verdict="" if approve["allowed"] else approve["reason"],
    )


def stage(row: Stage, *, summary: str | None, have: Mapping[str, int], may: Json, warning: str = "") -> Json:
    """`summary` is the plan's, None without a plan; `have` counts the approvals of what is asked now, by team;
    `warning` is what to know before approving."""
    digest = asked_digest(row)
    return {
        "run": run_name(row.run),
        "name": row.name,
        "title": row.definition.get("title") or row.name,
        "kind": row.kind,
        "owner": row.owner,
        "environment": row.environment or None,
        "on_exit": row.on_exit,
        "needs": list(row.definition["needs"]),
        "state": row.state,
        "code": row.reason_code,
        "reason": row.reason,
        "since": time(row.since),
        "started_at": time(row.started_at),
        "ended_at": time(row.ended_at),
        "attempts_made": row.attempts_made,
        "digest": digest,
        "summary": summary,
        "paused": is_paused(row),
        "warning": warning,
        "progress": {key: row.progress.get(key) for key in ("text", "done", "total")},
        "gate": _gate(row, have),
        "may": may,
        "url": f"{run_page(row.run)}?{urlencode({'stage': row.name})}",
    }


def _gate(row: Stage, have: Mapping[str, int]) -> Json | None:
    gate = row.definition.get("gate")
    if not gate and not is_paused(row):
        return None
    teams = [
        {"team": team, "quorum": quorum, "approved": have.get(team, 0)} for team, quorum in asked_teams(row).items()
    ]
    return {
        "teams": teams,
        "self_approval": bool(gate and gate.get("self_approval")),
        "reason_required": bool(gate and gate.get("reason_required")),
        "values": [one.as_dict() for one in asked_values(row)],
        "expires_at": time(row.due_at) if is_asking(row) else None,
    }


def stage_detail(row: Stage, summary: Json, attempts: list[Attempt], approvals: list[Approval]) -> Json:
    return summary | {
        "plan": row.plan,
        "question": row.progress.get("question"),
        "with": concealed(row.definition["with_"], references=REFERENCES),
        "commands": row.commands,
        "artifacts": row.artifacts,
        "log": f"/api/runs/{run_name(row.run)}/stages/{quote(row.name)}/log",
        "attempts": [attempt(one) for one in attempts],
        "approvals": [approval(one) for one in approvals],
    }


def attempt(row: Attempt) -> Json:
    return {
        "number": row.number,
        "phase": row.phase,
        "state": row.state,
        "reason": row.reason,
        "started_at": time(row.started_at),
        "ended_at": time(row.ended_at),
    }


def approval(row: Approval) -> Json:
    return {
        "user": row.user.username,
        "team": row.team,
        "verdict": row.verdict,
        "digest": row.plan_digest,
        "reason": row.reason,
        "values": row.values,
        "at": time(row.at),
        "voided": row.voided,
    }


def question(row: Question, may: Json) -> Json:
    """An entry of the inbox."""
    plan = row.stage.plan or {}
    answer = stage(row.stage, summary=plan.get("summary"), have=row.have, may=may, warning=row.warning)
    return answer | {
        "requested_by": row.stage.run.requested_by.username if row.stage.run.requested_by else None,
        "subject": row.stage.run.subject,
        "missing": row.missing,
        "blocked": [{"title": title, "owner": owner} for title, owner in row.blocked],
        "people": row.people,
    }


def event(row: Event, stages: Mapping[int, str]) -> Json:
    return {
        "seq": row.seq,
        "kind": row.kind,
        "stage": stages.get(row.stage_id) if row.stage_id else None,
        "attempt": row.attempt,
        "data": row.data,
        "at": time(row.at),
    }


def delivery(row: Delivery) -> Json:
    return {
        "id": row.pk,
        "pipeline": row.pipeline.slug,
        "provider": row.provider,
        "delivery": row.delivery,
        "ref": row.ref,
        "commit": row.commit,
        "open": row.open,
        "note": row.note,
        "run": {"run": run_name(row.run), "number": row.run.number, "url": run_page(row.run)} if row.run else None,
        "at": time(row.at),
    }


def pipeline(row: Pipeline) -> Json:
    return {
        "slug": row.slug,
        "name": row.name,
        "owner": row.owner,
        "repository": row.repository,
        "default_branch": row.default_branch,
        "definition_path": row.definition_path,
        "poll_seconds": row.poll_seconds,
        "polled_at": time(row.polled_at),
        "runs": row.last_number,
        "accepted": row.accepted.digest if row.accepted else None,
        "url": f"{settings.PUBLIC_URL}/pipelines/{row.slug}",
    }


def environment(row: Environment, current: Release | None) -> Json:
    return {
        "environment": f"{row.pipeline.slug}/{row.name}",
        "pipeline": row.pipeline.slug,
        "name": row.name,
        "owner": row.owner,
        "concurrency": row.concurrency,
        "freeze": row.freeze,
        "holder": row.holder.number if row.holder else None,
        "current": release(current) if current else None,
        "url": f"{settings.PUBLIC_URL}/environments/{row.pipeline.slug}/{row.name}",
    }


def live(status: Mapping[str, Any]) -> Json:
    """What is there right now, of a status of `engines.environments`."""
    return {
        "problem": status["problem"],
        "release": status["release"],
        "rolling": bool(status["rollout"]),
        "held": status.get("held", ""),
        "weights": status["weights"],
        "drift": status.get("drift", []),
        "places": [
            {
                "place": place.name,
                "away": place.away,
                "services": [
                    {"service": line.service, "release": line.release, "ready": line.ready, "wanted": line.wanted,
                     "digest": line.digest}
                    for line in place.lines
                ],
                "troubles": place.troubles,
            }
            for place in places.of(status)
        ],
    }  # fmt: skip


def release(row: Release) -> Json:
    return {
        "name": row.name,
        "commit": row.commit,
        "run": row.run.number if row.run else None,
        "rolled_out_at": time(row.rolled_out_at),
        "verified_at": time(row.verified_at),
    }


def audit_entry(row: AuditEntry) -> Json:
    return {
        "id": row.pk,
        "at": time(row.at),
        "actor": row.actor,
        "action": row.action,
        "target": row.target,
        "allowed": row.allowed,
        "reason": row.reason,
        "data": row.data,
    }


def person(user: User, actor: Actor) -> Json:
    return {
        "username": user.username,
        "name": user.get_full_name(),
        "email": user.email,
        "is_admin": actor.is_admin,
        "teams": [{"team": team, "role": str(role)} for team, role in sorted(actor.roles.items())],
    }
