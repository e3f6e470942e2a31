"""What runs, in which order, and what happened. Rows are changed by `pipelines.runs` and its neighbours alone."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from teams.models import slug_validator

from .states import RunState, State


def _webhook_secret() -> str:
    return secrets.token_urlsafe(32)


class Pipeline(models.Model):
    """One repository whose pushes start runs. `owner` is the slug of the team that owns the pipeline itself."""

    slug = models.CharField(max_length=39, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=80)
    owner = models.CharField(max_length=39)
    repository = models.CharField(max_length=500)
    default_branch = models.CharField(max_length=200, default="main")
    definition_path = models.CharField(max_length=200, default="pipeline.yaml")
    webhook_secret = models.CharField(max_length=100, default=_webhook_secret)
    poll_seconds = models.PositiveIntegerField(default=0, help_text="0: pushes are announced by a webhook.")
    polled_at = models.DateTimeField(null=True, blank=True)
    heads = models.JSONField(default=dict, blank=True, help_text="The commit last seen of each ref, by polling.")
    last_number = models.PositiveIntegerField(default=0)
    agreed = models.JSONField(
        default=list, blank=True, help_text="Teams, beside the owner, whose stages its first file may define unasked."
    )
    accepted = models.ForeignKey("DefinitionVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name


class DefinitionVersion(models.Model):
    """A pipeline file as it was at some commit, kept by its digest. Accepted ones may decide who owns what."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="definitions")
    digest = models.CharField(max_length=71)
    text = models.TextField()
    commit = models.CharField(max_length=40)
    first_seen = models.DateTimeField(auto_now_add=True)
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["pipeline", "digest"], name="one_version_per_digest")]

    def __str__(self) -> str:
        return f"{self.pipeline} {self.digest[7:19]}"


class Run(models.Model):
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    commit = models.CharField(max_length=40)
    ref = models.CharField(max_length=300)
    subject = models.CharField(max_length=300, blank=True)
    author = models.CharField(max_length=300, blank=True)
    trigger = models.CharField(max_length=20)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    pushers = models.JSONField(default=list, help_text="Keys of the people who pushed this commit, in any run of it.")
    definition = models.ForeignKey(DefinitionVersion, null=True, on_delete=models.PROTECT, related_name="runs")
    parameters = models.JSONField(default=dict)
    engine = models.CharField(max_length=10, default="local")
    state = models.CharField(max_length=10, default=RunState.RUNNING)
    reason = models.TextField(blank=True)
    stopping = models.CharField(max_length=10, blank=True)
    superseded_by = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    rerun_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    last_seq = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    trimmed_at = models.DateTimeField(null=True, blank=True, help_text="When its log and what it made were removed.")

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["pipeline", "number"], name="one_run_per_number")]
        indexes = [
            models.Index(fields=["state", "-id"], name="run_by_state"),
            models.Index(fields=["pipeline", "-id"], name="run_by_pipeline"),
            models.Index(fields=["pipeline", "commit"], name="run_by_commit"),
        ]

    @property
    def branch(self) -> str:
        """Its name; nothing for a tag."""
        return "" if self.ref.startswith("refs/tags/") else self.ref.removeprefix("refs/heads/")

    @property
    def tag(self) -> str:
        """Its name; nothing for a branch."""
        return self.ref.removeprefix("refs/tags/") if self.ref.startswith("refs/tags/") else ""

    def __str__(self) -> str:
        return f"{self.pipeline.slug} #{self.number}"


class Stage(models.Model):
    """One stage of one run. `definition` is its StageDef as a mapping, never changed after the run has started.

    `reason_code` says why it waits (states.Reason), or that it is queued for its plan ("plan"); `reason` says it in
    words. `due_at` is when the sweeper looks at it again. `commands` are what people told a rollout under way.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="stages")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=20)
    owner = models.CharField(max_length=39)
    environment = models.CharField(max_length=63, blank=True)
    on_exit = models.BooleanField(default=False)
    gated = models.BooleanField(default=False)
    definition = models.JSONField()
    state = models.CharField(max_length=10, default=State.PENDING)
    reason_code = models.CharField(max_length=10, blank=True)
    reason = models.TextField(blank=True)
    since = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    attempts_made = models.PositiveIntegerField(default=0)
    extra_attempts = models.PositiveIntegerField(default=0, help_text="Attempts that people asked for.")
    resumes = models.PositiveIntegerField(default=0)
    commands = models.JSONField(default=list)
    plan = models.JSONField(null=True, blank=True)
    plan_digest = models.CharField(max_length=71, blank=True)
    freeze_override = models.TextField(blank=True)
    artifacts = models.JSONField(default=list)
    progress = models.JSONField(default=dict)
    retry_hint = models.JSONField(default=dict)
    stop_requested = models.CharField(max_length=10, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["run", "position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="one_stage_per_position"),
            models.UniqueConstraint(fields=["run", "name"], name="one_stage_per_name"),
        ]
        # Those who look for work read the few rows that are open, however many have ended.
        indexes = [
            models.Index(fields=["state", "reason_code", "id"], name="stage_by_state"),
            models.Index(fields=["due_at"], name="stage_due"),
        ]

    def __str__(self) -> str:
        return f"{self.run} {self.name}"


class Attempt(models.Model):
    """One try at a stage: to make its plan, or to do its work. Written before the work starts.

    `fence` grows each time that a worker takes it; who comes with a smaller one is refused. `claims` counts the
    workers that took it, so that a stage which kills its workers is found out.
    """

    class Phase(models.TextChoices):
        PLAN = "plan"
        WORK = "work"

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    phase = models.CharField(max_length=4, choices=Phase.choices, default=Phase.WORK)
    key = models.CharField(max_length=80, unique=True)
    open = models.BooleanField(default=True)
    fence = models.PositiveIntegerField(default=1)
    claims = models.PositiveIntegerField(default=1)
    worker = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=10, default=State.RUNNING)
    reason = models.TextField(blank=True)
    data = models.JSONField(default=dict)
    reported = models.PositiveIntegerField(default=0, help_text="Reports that came over the network and were taken.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["stage", "number"]
        constraints = [
            models.UniqueConstraint(fields=["stage"], condition=Q(open=True), name="one_open_attempt_per_stage")
        ]
        indexes = [models.Index(fields=["lease_until"], name="attempt_lease")]

    def __str__(self) -> str:
        return self.key


class AdoptedWorkflow(models.Model):
    """The Workflow of Argo that a run shows as it is: submitted by the portal (`ours`) or by somebody with other tools.

    `place` names where it runs in connections.yaml. `manifest` is what is submitted, `diff` what gates changed in it.
    It is `governed` once its gates are the portal's; until then it is only watched. `told` are the nodes whose output
    is in the log.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="adopted")
    place = models.CharField(max_length=63)
    cluster = models.CharField(max_length=63)
    namespace = models.CharField(max_length=63)
    name = models.CharField(max_length=253)
    uid = models.CharField(max_length=40, blank=True)
    manifest = models.JSONField(default=dict)
    diff = models.TextField(blank=True)
    ours = models.BooleanField(default=True)
    governed = models.BooleanField(default=True)
    adoptable = models.BooleanField(default=False)
    open = models.BooleanField(default=True)
    told = models.JSONField(default=list)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["open", "id"], name="adopted_open"),
            models.Index(fields=["uid"], name="adopted_uid"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "uid"], condition=~Q(uid=""), name="one_run_per_workflow")
        ]

    def __str__(self) -> str:
        return self.name


class Workflow(models.Model):
    """What was submitted to Argo for a run: all of its stages at first, later those that had to be done again.

    `tasks` maps each task of it to the stages it stands for. `opened` are the doors that we let pass, by their node,
    each with the digest that was approved. `seen` has the stages that it could not do, which were given up. Its phase
    is `gone` once it has vanished from the cluster.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="workflows")
    serial = models.PositiveIntegerField()
    name = models.CharField(max_length=63)
    uid = models.CharField(max_length=40, blank=True)
    tasks = models.JSONField(default=dict)
    phase = models.CharField(max_length=10, blank=True)
    opened = models.JSONField(default=dict)
    seen = models.JSONField(default=dict)
    open = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["run", "serial"]
        constraints = [models.UniqueConstraint(fields=["run", "serial"], name="one_workflow_per_serial")]
        indexes = [
            models.Index(fields=["open", "id"], name="workflow_open"),
            models.Index(fields=["name"], name="workflow_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Approval(models.Model):
    """What one person said about one plan. It counts for one team, and only while the plan has that digest."""

    class Verdict(models.TextChoices):
        APPROVE = "approve"
        REJECT = "reject"

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="approvals")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approvals")
    team = models.CharField(max_length=39)
    verdict = models.CharField(max_length=7, choices=Verdict.choices)
    plan_digest = models.CharField(max_length=71)
    resumes = models.PositiveIntegerField(default=0)
    reason = models.TextField(blank=True)
    values = models.JSONField(default=dict, help_text="What the gate asked for, by name.")
    at = models.DateTimeField(auto_now_add=True)
    voided = models.TextField(blank=True, help_text="Why it does not count any more.")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["stage", "user", "plan_digest", "resumes"],
                condition=Q(voided=""),
                name="one_approval_per_person_and_plan",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.verdict}s {self.stage} for {self.team}"


class Environment(models.Model):
    """Where releases run. `holder` is the run that may change it now; others wait for its lock."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="environments")
    name = models.CharField(max_length=63)
    owner = models.CharField(max_length=39)
    concurrency = models.CharField(max_length=6, default="queue")
    freeze = models.JSONField(default=list)
    holder = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["pipeline", "name"], name="one_environment_per_name")]

    def __str__(self) -> str:
        return f"{self.pipeline.slug}/{self.name}"


class Release(models.Model):
    """A set of artifacts that was rolled out to an environment. `verified_at` is set when a run promotes it."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="releases")
    name = models.CharField(max_length=120)
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="releases")
    commit = models.CharField(max_length=40)
    data = models.JSONField(default=dict)
    rolled_out_at = models.DateTimeField(auto_now_add=True)
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} in {self.environment}"


class Event(models.Model):
    """Something that happened, numbered within its run. The table is the truth that live pages follow."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=20)
    stage = models.ForeignKey(Stage, null=True, on_delete=models.CASCADE, related_name="events")
    attempt = models.PositiveIntegerField(null=True)
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering = ["run", "seq"]
        constraints = [models.UniqueConstraint(fields=["run", "seq"], name="one_event_per_number")]
        indexes = [models.Index(fields=["stage", "kind", "seq"], name="event_of_stage")]

    def __str__(self) -> str:
        return f"{self.run_id}:{self.seq} {self.kind}"


class Delivery(models.Model):
    """A push as it came in, by webhook, by polling or by a person; the same delivery never starts two runs.

    It is open until a worker has fetched the commit: then it has a run, or `note` says why it started none.
    """

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="deliveries")
    provider = models.CharField(max_length=10)
    delivery = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, blank=True, help_text="Of what was signed, if anything was.")
    ref = models.CharField(max_length=300)
    commit = models.CharField(max_length=40, blank=True)
    subject = models.CharField(max_length=300, blank=True)
    author = models.CharField(max_length=300, blank=True)
    trigger = models.CharField(max_length=20, default="push")
    parameters = models.JSONField(default=dict)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    rerun_of = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="deliveries")
    open = models.BooleanField(default=True)
    tries = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "delivery"], name="one_run_per_delivery"),
            # A captured message is no new push because somebody sends it under another id.
            models.UniqueConstraint(
                fields=["pipeline", "fingerprint"], condition=~Q(fingerprint=""), name="one_run_per_signed_message"
            ),
        ]
        indexes = [models.Index(fields=["open", "id"], name="delivery_open")]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.provider} {self.delivery}"


class Beat(models.Model):
    """When a part of the installation last showed that it works: each worker, the sweeper, the queue itself."""

    name = models.CharField(max_length=120, primary_key=True)
    at = models.DateTimeField()
    data = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


def new_stage(run: Run, position: int, definition: dict[str, Any], **fields: Any) -> Stage:
    """The stage of a run as it stands before anything has happened to it, not saved."""
    return Stage(
        run=run,
        position=position,
        name=definition["name"],
        kind=definition["kind"],
        owner=definition["owner"],
        environment=definition["environment"] or "",
        on_exit=definition["on_exit"],
        gated=definition["gate"] is not None,
        definition=definition,
        **fields,
    )


def stage_label(stage: Stage) -> str:
    """`pipeline/number/stage`: how a stage is named in audit entries, addresses and commands."""
    return f"{stage.run.pipeline.slug}/{stage.run.number}/{stage.name}"
