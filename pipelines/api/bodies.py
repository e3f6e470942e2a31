"""What requests may hold. A field that is not named here is refused, so that a typing error is not a silent no-op."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from pipelines.engines.addresses import RefusedInputError, check_address, check_commit, check_ref
from pipelines.engines.registry_cleaning import DAYS, KEEP
from pipelines.performance import dashboard
from pipelines.runs.values import LONGEST
from pipelines.states import RunState
from teams.models import Team, slug_validator

REASON_LIMIT = 2_000
PARAMETERS = 100

MOST_STAGES = 1000  # of a run in one answer


class Body(serializers.Serializer[Any]):
    """The fields of a body or a query."""

    def to_internal_value(self, data: Any) -> Any:
        if hasattr(data, "keys"):
            known = ", ".join(self.fields) or "none"
            unknown = {str(name): [f"Unknown field; known are {known}."] for name in data if name not in self.fields}
            if unknown:
                raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """The checked body. Raises ValidationError."""
        return cls._checked(request.data if request.data is not None else {})

    @classmethod
    def of_query(cls, request: Request) -> dict[str, Any]:
        return cls._checked(request.query_params.dict())

    @classmethod
    def _checked(cls, data: Any) -> dict[str, Any]:
        body = cls(data=data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)


def _check(judge: Callable[[str], str], value: str) -> str:
    try:
        return judge(value)
    except RefusedInputError as error:
        raise serializers.ValidationError(str(error)) from error


def _reason(*, required: bool) -> serializers.CharField:
    if required:
        return serializers.CharField(max_length=REASON_LIMIT)
    return serializers.CharField(max_length=REASON_LIMIT, allow_blank=True, default="")


class Empty(Body):
    pass


class Reason(Body):
    reason = _reason(required=False)


class Performance(Body):
    range = serializers.ChoiceField(list(dashboard.RANGES), default=dashboard.DEFAULT_RANGE)
    by = serializers.ChoiceField(["release", "route", "device"], default="release")
    route = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="Of this route only.")
    device = serializers.CharField(max_length=10, default="", allow_blank=True, help_text="Of this device class only.")


class NeededReason(Body):
    reason = _reason(required=True)


class Decision(Body):
    digest = serializers.CharField(max_length=71, help_text="Of the plan that was read.")
    team = serializers.CharField(max_length=39, default="", allow_blank=True, help_text="To speak for, if in several.")


class Approve(Decision):
    reason = _reason(required=False)
    values = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=LONGEST, trim_whitespace=False), default=dict,
        help_text="What the gate asks for, by name.",
    )  # fmt: skip


class Reject(Decision):
    reason = _reason(required=True)


class Command(Body):
    command = serializers.ChoiceField(["promote", "promote-full", "abort"])
    reason = _reason(required=False)


class RollBack(Body):
    release = serializers.CharField(max_length=120, help_text="The name of a kept release.")
    reason = _reason(required=True)


class Start(Body):
    ref = serializers.CharField(max_length=250, help_text="A branch, or a full name such as refs/tags/v1.")
    commit = serializers.CharField(max_length=40, default="", allow_blank=True, help_text="The ref's newest if empty.")
    parameters = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=10_000), default=dict)

    def validate_ref(self, value: str) -> str:
        ref = _check(check_ref, value)
        return ref if ref.startswith("refs/") else f"refs/heads/{ref}"

    def validate_commit(self, value: str) -> str:
        return _check(check_commit, value) if value else ""

    def validate_parameters(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > PARAMETERS or not all(re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) for name in value):
            raise serializers.ValidationError(f"At most {PARAMETERS} parameters, named by letters, digits, - and _.")
        return value


class PipelineChange(Body):
    name = serializers.CharField(max_length=80)
    owner = serializers.CharField(max_length=39, help_text="The team that owns the pipeline itself.")
    repository = serializers.CharField(max_length=500)
    default_branch = serializers.CharField(max_length=200, required=False)
    definition_path = serializers.CharField(max_length=200, required=False)
    poll_seconds = serializers.IntegerField(
        min_value=0, max_value=86_400, required=False, help_text="0: pushes are announced by a webhook."
    )

    def validate_owner(self, value: str) -> str:
        teams = list(Team.objects.values_list("slug", flat=True))
        if value not in teams:
            raise serializers.ValidationError(f"There is no team {value!r}; there are {', '.join(teams) or 'none'}.")
        return value

    def validate_repository(self, value: str) -> str:
        return _check(check_address, value)

    def validate_default_branch(self, value: str) -> str:
        return _check(check_ref, value)

    def validate_definition_path(self, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", value) or ".." in value.split("/"):
            raise serializers.ValidationError("Expected the path of a file in the repository, such as pipeline.yaml.")
        return value


class NewPipeline(PipelineChange):
    slug = serializers.CharField(max_length=39, validators=[slug_validator])


class Text(Body):
    text = serializers.CharField(max_length=2**21, allow_blank=True, trim_whitespace=False)


class NewToken(Body):
    days = serializers.IntegerField(min_value=1, max_value=365)


class Paging(Body):
    before = serializers.IntegerField(min_value=1, max_value=2**62, required=False)
    size = serializers.IntegerField(min_value=1, max_value=100, default=50)


class RunFilter(Paging):
    pipeline = serializers.CharField(max_length=39, default="", allow_blank=True)
    state = serializers.ChoiceField(sorted(RunState), default="", allow_blank=True)


class AuditFilter(Paging):
    target = serializers.CharField(
        max_length=200, default="", allow_blank=True, help_text="The beginning of one, such as run:demo/."
    )
    actor = serializers.CharField(max_length=150, default="", allow_blank=True)


class Since(Body):
    since = serializers.IntegerField(min_value=0, max_value=2**62, default=0, help_text="The last event's number.")
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=500)


class StagePage(Body):
    stages_from = serializers.IntegerField(
        min_value=0, max_value=2**31, default=0, help_text="Of the page before: its stages_next."
    )
    stages_limit = serializers.IntegerField(min_value=1, max_value=MOST_STAGES, default=MOST_STAGES)


class EventFilter(Since):
    kinds = serializers.CharField(
        max_length=200, default="", allow_blank=True, help_text="Some of them, with commas between."
    )


class LogFilter(Since):
    format = serializers.ChoiceField(["json", "txt"], required=False)


class RegistryPlan(Body):
    pipeline = serializers.SlugField(max_length=100)
    stage = serializers.CharField(max_length=200, default="publish", help_text="One that publishes images.")
    keep = serializers.IntegerField(min_value=1, max_value=1000, default=KEEP, help_text="Releases that stay.")
    days = serializers.IntegerField(min_value=0, max_value=10_000, default=DAYS, help_text="What is younger stays.")


class CleanRegistry(RegistryPlan):
    plan = serializers.CharField(max_length=80, help_text="The digest of the plan that was shown.")
    reason = _reason(required=True)


class TestEngine(Body):
    kind = serializers.CharField(max_length=20)
    name = serializers.CharField(max_length=300)


class Reports(Body):
    first = serializers.IntegerField(min_value=1, help_text="The number of the first of them; they count from 1.")
    reports = serializers.ListField(child=serializers.DictField(), max_length=1_000)


class Asked(Body):
    release = serializers.CharField(max_length=200, help_text="As the environment names it.")
    sources = serializers.CharField(
        max_length=500, default="", allow_blank=True, help_text="Metrics as agents name them, with commas between."
    )
    since = serializers.FloatField(min_value=0, max_value=1e11, help_text="Seconds since 1970.")
    until = serializers.FloatField(min_value=0, max_value=1e11, help_text="Seconds since 1970, not included.")
