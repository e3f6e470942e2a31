"""The answers as the OpenAPI document describes them. A test compares them with what `answers` really gives."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s


class Shape(s.Serializer[Any]):
    pass


def _time() -> s.DateTimeField:
    return s.DateTimeField(allow_null=True)


class Verdict(Shape):
    allowed = s.BooleanField()
    reason = s.CharField()


class Team(Shape):
    team = s.CharField()
    role = s.CharField()


class NamedTeam(Shape):
    slug = s.CharField()
    name = s.CharField()


class Person(Shape):
    username = s.CharField()
    name = s.CharField()
    email = s.CharField()
    is_admin = s.BooleanField()
    teams = Team(many=True)


class GateTeam(Shape):
    team = s.CharField()
    quorum = s.IntegerField()
    approved = s.IntegerField()


class GateValue(Shape):
    name = s.CharField()
    default = s.CharField(allow_null=True, help_text="What holds if an approval says nothing; null: it has to.")
    choices = s.ListField(child=s.CharField(), help_text="All that it may be; empty: anything.")
    description = s.CharField()


class Gate(Shape):
    teams = GateTeam(many=True)
    self_approval = s.BooleanField()
    reason_required = s.BooleanField()
    values = GateValue(many=True, help_text="What an approval has to say, of a suspended Workflow.")
    expires_at = _time()


class Progress(Shape):
    text = s.CharField(allow_null=True)
    done = s.IntegerField(allow_null=True)
    total = s.IntegerField(allow_null=True)


class Stage(Shape):
    run = s.CharField()
    name = s.CharField()
    title = s.CharField()
    kind = s.CharField()
    owner = s.CharField()
    environment = s.CharField(allow_null=True)
    on_exit = s.BooleanField()
    needs = s.ListField(child=s.CharField())
    state = s.CharField()
    code = s.CharField(help_text="Why it waits: approval, lock, window or engine.")
    reason = s.CharField()
    since = _time()
    started_at = _time()
    ended_at = _time()
    attempts_made = s.IntegerField()
    digest = s.CharField(help_text="What an approval has to name now.")
    summary = s.CharField(allow_null=True, help_text="What its plan would do.")
    paused = s.BooleanField()
    warning = s.CharField(help_text="What to know before approving, beside the plan.")
    progress = Progress()
    gate = Gate(allow_null=True)
    may = s.DictField(child=Verdict())
    url = s.CharField()


class Attempt(Shape):
    number = s.IntegerField()
    phase = s.CharField()
    state = s.CharField()
    reason = s.CharField()
    started_at = _time()
    ended_at = _time()


class Approval(Shape):
    user = s.CharField()
    team = s.CharField()
    verdict = s.CharField()
    digest = s.CharField()
    reason = s.CharField()
    values = s.DictField(child=s.CharField())
    at = _time()
    voided = s.CharField()


class StageDetail(Stage):
    plan = s.JSONField(allow_null=True)
    question = s.JSONField(allow_null=True, help_text="Why it paused.")
    commands = s.ListField(child=s.CharField())
    artifacts = s.ListField(child=s.JSONField())
    log = s.CharField()
    attempts = Attempt(many=True)
    approvals = Approval(many=True)

    def get_fields(self) -> dict[str, s.Field]:  # type: ignore[type-arg]
        # `with` is a word of Python's.
        return super().get_fields() | {"with": s.JSONField()}


class Blocked(Shape):
    title = s.CharField()
    owner = s.CharField()


class Question(Stage):
    requested_by = s.CharField(allow_null=True)
    subject = s.CharField()
    missing = s.ListField(child=s.CharField())
    blocked = Blocked(many=True)
    people = s.IntegerField()


class Inbox(Shape):
    mine = Question(many=True)
    others = s.DictField(child=Question(many=True), help_text="By team, what you wait for.")


class Run(Shape):
    run = s.CharField()
    pipeline = s.CharField()
    number = s.IntegerField()
    state = s.CharField()
    reason = s.CharField()
    stopping = s.CharField()
    commit = s.CharField()
    ref = s.CharField()
    subject = s.CharField()
    author = s.CharField()
    trigger = s.CharField()
    requested_by = s.CharField(allow_null=True)
    created_at = _time()
    ended_at = _time()
    url = s.CharField()


class RunDetail(Run):
    now = s.CharField(help_text="What happens now, in a sentence.")
    engine = s.CharField()
    parameters = s.DictField(child=s.CharField())
    definition = s.CharField(allow_null=True)
    superseded_by = s.IntegerField(allow_null=True)
    rerun_of = s.IntegerField(allow_null=True)
    trimmed_at = s.DateTimeField(allow_null=True, help_text="When its log and what it made were removed.")
    last_seq = s.IntegerField()
    may = s.DictField(child=Verdict())
    stages = Stage(many=True)
    stages_count = s.IntegerField(help_text="How many stages the run has.")
    stages_next = s.IntegerField(allow_null=True, help_text="The `stages_from` of the next page; null after the last.")


class Event(Shape):
    seq = s.IntegerField()
    kind = s.CharField()
    stage = s.CharField(allow_null=True)
    attempt = s.IntegerField(allow_null=True)
    data = s.JSONField()  # type: ignore[assignment]
    at = _time()


class Events(Shape):
    state = s.CharField(help_text="The run's.")
    last_seq = s.IntegerField()
    events = Event(many=True)
    next = s.IntegerField(help_text="What to give as `since` the next time.")


class LogPart(Shape):
    seq = s.IntegerField()
    attempt = s.IntegerField(allow_null=True)
    text = s.CharField()


class Log(Shape):
    state = s.CharField(help_text="The stage's.")
    parts = LogPart(many=True)
    next = s.IntegerField(help_text="What to give as `since` the next time.")
    complete = s.BooleanField(help_text="The stage has ended and this is all.")


class DeliveryRun(Shape):
    run = s.CharField()
    number = s.IntegerField()
    url = s.CharField()


class Delivery(Shape):
    id = s.IntegerField()
    pipeline = s.CharField()
    provider = s.CharField()
    delivery = s.CharField()
    ref = s.CharField()
    commit = s.CharField()
    open = s.BooleanField(help_text="A worker still has to fetch the commit.")
    note = s.CharField(help_text="Why it started no run.")
    run = DeliveryRun(allow_null=True)
    at = _time()


class Pipeline(Shape):
    slug = s.CharField()
    name = s.CharField()
    owner = s.CharField()
    repository = s.CharField()
    default_branch = s.CharField()
    definition_path = s.CharField()
    poll_seconds = s.IntegerField()
    polled_at = _time()
    runs = s.IntegerField()
    accepted = s.CharField(allow_null=True, help_text="The digest of the pipeline file that counts.")
    url = s.CharField()


class Hook(Shape):
    provider = s.CharField()
    url = s.CharField()


class PipelineDetail(Pipeline):
    may = s.DictField(child=Verdict())
    webhooks = Hook(many=True)
    poll_problem = s.CharField()
    webhook_secret = s.CharField(allow_null=True, help_text="Only for those who may manage the pipeline.")


class Definition(Shape):
    digest = s.CharField()
    commit = s.CharField()
    first_seen = _time()
    accepted_at = _time()


class DefinitionDetail(Definition):
    text = s.CharField()


class Problem(Shape):
    line = s.IntegerField()
    column = s.IntegerField()
    message = s.CharField()
    hint = s.CharField()
    code = s.CharField()


class GuardedChange(Shape):
    stage = s.CharField()
    field = s.CharField()
    before = s.CharField()
    after = s.CharField()
    team = s.CharField()


class Lint(Shape):
    ok = s.BooleanField()
    digest = s.CharField()
    stages = s.IntegerField()
    problems = Problem(many=True)
    report = s.CharField(help_text="The problems as text for a terminal.")


class PipelineLint(Lint):
    held = GuardedChange(many=True, help_text="What would wait for a present owner's approval.")


class Release(Shape):
    name = s.CharField()
    commit = s.CharField()
    run = s.IntegerField(allow_null=True)
    rolled_out_at = _time()
    verified_at = _time()


class Environment(Shape):
    environment = s.CharField()
    pipeline = s.CharField()
    name = s.CharField()
    owner = s.CharField()
    concurrency = s.CharField()
    freeze = s.ListField(child=s.JSONField())
    holder = s.IntegerField(allow_null=True, help_text="The run that may change it now.")
    current = Release(allow_null=True)
    url = s.CharField()


class MeasuredPoint(Shape):
    at = _time()
    value = s.FloatField(help_text="75th percentile in ms, a score, or a share.")
    count = s.IntegerField(help_text="Of how many views, requests or visits.")


class MeasuredLine(Shape):
    name = s.CharField()
    value = s.FloatField(allow_null=True)
    count = s.IntegerField()
    points = MeasuredPoint(many=True)


class MeasuredMetric(Shape):
    metric = s.CharField()
    value = s.FloatField(allow_null=True, help_text="Of the whole time, all lines together.")
    count = s.IntegerField()
    limit = s.FloatField(allow_null=True, help_text="Its budget in the pipeline file.")
    good = s.FloatField(allow_null=True)
    poor = s.FloatField(allow_null=True)
    lines = MeasuredLine(many=True)


class ProbePoint(Shape):
    at = _time()
    looks = s.IntegerField()
    failed = s.IntegerField()


class ProbeFailure(Shape):
    at = _time()
    problem = s.CharField()


class ProbedPage(Shape):
    release = s.CharField()
    path = s.CharField()
    looks = s.IntegerField()
    failed = s.IntegerField()
    values = s.DictField(
        child=s.FloatField(), help_text="75th percentiles: `http` of requests without a browser in ms, and the vitals."
    )
    last_failure = ProbeFailure(allow_null=True)
    points = ProbePoint(many=True)


class Unattended(Shape):
    seconds = s.IntegerField(help_text="How long it was looked at while no customer was counted.")
    looks = s.IntegerField()
    failed = s.IntegerField()


class Probes(Shape):
    every = s.IntegerField(help_text="Seconds between two looks, 0 for none.")
    at = _time()
    problem = s.CharField(help_text='Why the last look was without a browser, "" if it was with one.')
    looks = s.IntegerField()
    failed = s.IntegerField()
    unattended = Unattended()
    pages = ProbedPage(many=True)


class Dropped(Shape):
    reason = s.CharField()
    meaning = s.CharField()
    count = s.IntegerField(help_text="Came through servers of this environment.")
    unassigned = s.IntegerField(help_text="In the whole installation, of which it is not known where they came from.")


class Performance(Shape):
    since = _time()
    until = _time()
    step = s.IntegerField(help_text="Seconds between two points.")
    metrics = MeasuredMetric(many=True)
    releases = Release(many=True, help_text="Those that came in this time, oldest first.")
    routes = s.ListField(child=s.CharField())
    devices = s.ListField(child=s.CharField())
    probes = Probes(help_text="What the portal saw by itself, whoever came.")
    views = s.IntegerField(help_text="Page views that browsers reported and that counted.")
    dropped = Dropped(many=True, help_text="What was reported and not counted.")


class Effect(Shape):
    metric = s.CharField()
    direction = s.ChoiceField(["better", "worse", "same", "unknown"])
    value = s.FloatField(allow_null=True)
    before = s.FloatField(allow_null=True)
    count = s.IntegerField()
    count_before = s.IntegerField()
    at_least = s.FloatField(allow_null=True, help_text="Bounds of the ratio to before (of shares: of their odds).")
    at_most = s.FloatField(allow_null=True)


class ReleaseEffect(Release):
    before = s.CharField(help_text='The release that it is compared with, "" for none.')
    sentence = s.CharField()
    since = _time()
    until = _time()
    effects = Effect(many=True)
    verdicts = s.ListField(child=s.JSONField(), help_text="Of its canary and of `verify` stages, as they were told.")


class Service(Shape):
    service = s.CharField()
    release = s.CharField(help_text='"" where its replicas belong to none: they are only replaced when they change.')
    ready = s.IntegerField()
    wanted = s.IntegerField()
    digest = s.CharField()


class Place(Shape):
    place = s.CharField(help_text='CLUSTER/NAMESPACE, "" for the machine of the portal.')
    away = s.CharField(help_text='Why its cluster does not answer, "" if it does.')
    services = Service(many=True)
    troubles = s.ListField(child=s.CharField(), help_text="What keeps replicas from being ready.")


class Live(Shape):
    problem = s.CharField(help_text='Why it cannot be found out, "" if it was.')
    release = s.CharField()
    rolling = s.BooleanField()
    held = s.CharField(help_text="The release that a rollback brought and that holds until it is released.")
    weights = s.DictField(child=s.IntegerField())
    drift = s.ListField(child=s.CharField(), help_text="What somebody else changed.")
    places = Place(many=True)


class EnvironmentDetail(Environment):
    live = Live(help_text="What is there right now, asked of the target.")
    releases = Release(many=True)
    may = s.DictField(child=Verdict())


class AuditEntry(Shape):
    id = s.IntegerField()
    at = _time()
    actor = s.CharField()
    action = s.CharField()
    target = s.CharField()
    allowed = s.BooleanField()
    reason = s.CharField()
    data = s.JSONField()  # type: ignore[assignment]


class Token(Shape):
    id = s.CharField()
    created = _time()
    expires = _time()
    current = s.BooleanField(help_text="The one that this request came with.")


class FreshToken(Token):
    token = s.CharField(help_text="Shown this once.")


class Health(Shape):
    ok = s.BooleanField()
    database = s.CharField(help_text="ok, unavailable, or takes no writes.")
    sweeper_seconds = s.FloatField(allow_null=True, help_text="Since it last gave a sign.")
    waiting_pushes = s.IntegerField(allow_null=True)


class Wrong(Shape):
    detail = s.CharField()
    fields = s.DictField(child=s.ListField(child=s.CharField()), required=False)  # type: ignore[assignment]


def page_of(shape: type[Shape]) -> Shape:
    """A page of a list."""
    name = f"{shape.__name__}Page"
    fields = {"results": shape(many=True), "next": s.CharField(allow_null=True)}
    made: Shape = type(name, (Shape,), fields)()
    return made


class EngineFinding(Shape):
    ok = s.BooleanField()
    says = s.CharField()
    facts = s.DictField(child=s.CharField())
    todo = s.CharField()


class Engine(Shape):
    kind = s.CharField()
    name = s.CharField()
    title = s.CharField()
    facts = s.DictField(child=s.CharField())


class Engines(Shape):
    engines = Engine(many=True)
    problem = s.CharField()


class Publisher(Shape):
    pipeline = s.CharField()
    stage = s.CharField()
    owner = s.CharField()
    registry = s.CharField()
    repository = s.CharField()


class Publishers(Shape):
    registries = Publisher(many=True)


class GoingImage(Shape):
    name = s.CharField(help_text="REPOSITORY@DIGEST")
    tags = s.ListField(child=s.CharField())


class StayingImage(GoingImage):
    reasons = s.ListField(child=s.CharField())


class MissingImage(Shape):
    name = s.CharField()
    reason = s.CharField()


class RetentionPlan(Shape):
    registry = s.CharField()
    digest = s.CharField(help_text="Of what would be deleted; deleting names it.")
    frees = s.IntegerField(help_text="Bytes that the registry's own garbage collection can win at most.")
    delete = GoingImage(many=True)
    keep = StayingImage(many=True)
    missing = MissingImage(many=True)


class Cleaned(Shape):
    deleted = s.ListField(child=s.CharField())
    problem = s.CharField(help_text="Why the rest was not deleted, empty if all was.")


class PodOrder(Shape):
    """`do` is work, wait or end; the other fields are those that it needs."""

    do = s.CharField()


class Reported(Shape):
    reported = s.IntegerField()


class Wanted(Shape):
    stop = s.BooleanField()
    commands = s.ListField(child=s.CharField())


class Reading(Shape):
    sketches = s.DictField(child=s.CharField(), help_text="By the metric's source, in base64.")
    counts = s.DictField(child=s.IntegerField(), allow_null=True, help_text="Requests, errors, sessions, orders.")
