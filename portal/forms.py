"""What people type. The rules about it stand in `pipelines.runs`; here it is only read and cleaned."""

from __future__ import annotations

from datetime import timedelta

from django import forms

from pipelines.states import RunState, State

_EXPIRIES = {"7": "in 7 days", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}


class DecisionForm(forms.Form):
    """Approve or reject. `seen` is the plan as it stood above the button."""

    digest = forms.CharField(max_length=71, required=False)
    seen = forms.CharField(required=False)
    team = forms.CharField(max_length=39, required=False)
    reason = forms.CharField(max_length=2000, required=False)


class ReasonForm(forms.Form):
    """Any other action on a stage or a run. `command` is for a rollout that is under way."""

    command = forms.CharField(max_length=20, required=False)
    reason = forms.CharField(max_length=2000, required=False)


class RollBackForm(forms.Form):
    release = forms.IntegerField()
    reason = forms.CharField(max_length=2000, required=False)


class RegistryForm(forms.Form):
    """Which plan: of a stage that publishes, and what stays in any case."""

    pipeline = forms.SlugField(max_length=100)
    stage = forms.CharField(max_length=200)
    keep = forms.IntegerField(min_value=1, max_value=1000, required=False)
    days = forms.IntegerField(min_value=0, max_value=10_000, required=False)


class CleanForm(RegistryForm):
    plan = forms.CharField(max_length=80)
    reason = forms.CharField(max_length=2000, required=False)


class RunFilter(forms.Form):
    pipeline = forms.SlugField(required=False)
    state = forms.ChoiceField(required=False, choices=[("", "any"), *((s.value, s.value) for s in RunState)])
    mine = forms.BooleanField(required=False)


class StageFilter(forms.Form):
    """Which stages of a run are listed. `only` are positions, as "3-5.9"; `page` is of one state's."""

    state = forms.ChoiceField(required=False, choices=[("", "any"), *((s.value, s.value) for s in State)])
    team = forms.SlugField(required=False)
    name = forms.CharField(max_length=120, required=False)
    only = forms.RegexField(r"^[0-9]{1,9}(-[0-9]{1,9})?(\.[0-9]{1,9}(-[0-9]{1,9})?)*$", max_length=1000, required=False)
    page = forms.IntegerField(min_value=1, max_value=1_000_000, required=False)


class AuditFilter(forms.Form):
    target = forms.CharField(max_length=200, required=False)
    actor = forms.CharField(max_length=150, required=False)


class TokenForm(forms.Form):
    expires = forms.ChoiceField(choices=list(_EXPIRIES.items()), initial="30")

    def lifetime(self) -> timedelta:
        return timedelta(days=int(self.cleaned_data["expires"]))


class StartForm(forms.Form):
    """A run that a person asks for. Parameters come as fields named `parameter-NAME`."""

    ref = forms.CharField(max_length=200)
    commit = forms.RegexField(r"^[0-9a-f]{40}$", required=False)
