"""The addresses of the pages, under the name `portal`."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path, register_converter

from .views import (
    engines,
    environments,
    imports,
    inbox,
    people,
    performance,
    pipelines,
    polling,
    registries,
    runs,
    sign_in,
    stages,
)


class _OneOf:
    """A word of a fixed list, so that an action that does not exist is an address that does not exist."""

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class RunAction(_OneOf):
    regex = "|".join(runs.RUN_ACTIONS)


class StageAction(_OneOf):
    regex = "|".join(stages.STAGE_ACTIONS)


register_converter(RunAction, "run_action")
register_converter(StageAction, "stage_action")

app_name = "portal"

# The name of a matrix stage may hold a slash, so it is a path; what follows it is looked for first.
_RUN = "runs/<slug:pipeline>/<int:number>"
_STAGE = f"{_RUN}/stages/<path:name>"

urlpatterns = [
    path("", inbox.page, name="inbox"),
    path("inbox/list", inbox.rows, name="inbox-list"),
    path("inbox/<int:stage>", inbox.question, name="inbox-question"),
    path("sign-in", sign_in.SignIn.as_view(), name="sign-in"),
    path("sign-out", LogoutView.as_view(), name="sign-out"),
    path("live", polling.portal, name="live"),
    path("runs", runs.run_list, name="runs"),
    path(_RUN, runs.run_page, name="run"),
    path(f"{_RUN}/header", runs.run_header, name="run-header"),
    path(f"{_RUN}/list", runs.stage_list, name="stage-list"),
    path(f"{_RUN}/graph", runs.run_graph, name="run-graph"),
    path(f"{_RUN}/live", polling.run, name="run-live"),
    path(f"{_RUN}/<run_action:action>", runs.run_action, name="run-action"),
    path(f"{_STAGE}/head", stages.head, name="stage-head"),
    path(f"{_STAGE}/body", stages.body, name="stage-body"),
    path(f"{_STAGE}/changed", stages.changed, name="stage-changed"),
    path(f"{_STAGE}/log", stages.log, name="stage-log"),
    path(f"{_STAGE}/log.txt", stages.log_text, name="stage-log-text"),
    path(f"{_STAGE}/plan.txt", stages.plan_text, name="stage-plan-text"),
    path(f"{_STAGE}/do/<stage_action:action>", stages.act, name="stage-action"),
    path(_STAGE, stages.whole, name="stage"),
    path("environments", environments.all_of_them, name="environments"),
    path("environments/<slug:pipeline>/<slug:name>", environments.one, name="environment"),
    path("environments/<slug:pipeline>/<slug:name>/now", environments.now, name="environment-now"),
    path("environments/<slug:pipeline>/<slug:name>/roll-back", environments.roll_back, name="roll-back"),
    path("environments/<slug:pipeline>/<slug:name>/performance", performance.page, name="performance"),
    path("environments/<slug:pipeline>/<slug:name>/releases/<str:release>", performance.release, name="release"),
    path("engines", engines.page, name="engines"),
    path("engines/test", engines.test, name="test-engine"),
    path("registries", registries.page, name="registries"),
    path("registries/clean", registries.clean, name="clean-registry"),
    path("imports", imports.page, name="imports"),
    path("imports/argo", imports.argo, name="import-argo"),
    path("pipelines", pipelines.all_of_them, name="pipelines"),
    path("pipelines/<slug:slug>", pipelines.one, name="pipeline"),
    path("pipelines/<slug:slug>/secret", pipelines.new_secret, name="new-secret"),
    path("pipelines/<slug:slug>/start", pipelines.start, name="start-run"),
    path("pipelines/<slug:slug>/versions/<slug:digest>", pipelines.version, name="definition"),
    path("teams", people.teams, name="teams"),
    path("teams.css", people.team_colors, name="team-colors"),
    path("audit", people.audit_trail, name="audit"),
    path("tokens", people.tokens, name="tokens"),
    path("tokens/revoke", people.revoke, name="revoke-token"),
]
