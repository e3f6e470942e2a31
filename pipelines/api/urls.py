from django.urls import path

from . import account_views as account
from . import docs_views as docs
from . import engine_views as engines
from . import environment_views as environments
from . import import_views as imports
from . import performance_views as performance
from . import pipeline_views as pipelines
from . import pod_views as pods
from . import registry_views as registries
from . import run_views as runs
from . import stage_views as stages
from .health import HealthView

RUN = "runs/<slug:pipeline>/<int:number>"
# The name of a matrix stage may hold a slash, so it is a path; what follows it is looked for first.
STAGE = f"{RUN}/stages/<path:stage>"

app_name = "api"
urlpatterns = [
    path("health", HealthView.as_view(), name="health"),
    path("schema", docs.OpenApiView.as_view(), name="openapi"),
    path("docs", docs.DocsView.as_view(), name="docs"),
    path("schema/pipeline.json", pipelines.SchemaView.as_view(), name="pipeline-schema"),
    path("me", account.MeView.as_view(), name="me"),
    path("teams", account.TeamsView.as_view(), name="teams"),
    path("inbox", account.InboxView.as_view(), name="inbox"),
    path("audit", account.AuditView.as_view(), name="audit"),
    path("tokens", account.TokensView.as_view(), name="tokens"),
    path("tokens/<slug:token>", account.TokenView.as_view(), name="token"),
    path("lint", pipelines.LintView.as_view(), name="lint"),
    path("pipelines", pipelines.PipelinesView.as_view(), name="pipelines"),
    path("pipelines/<slug:pipeline>", pipelines.PipelineView.as_view(), name="pipeline"),
    path("pipelines/<slug:pipeline>/lint", pipelines.PipelineLintView.as_view(), name="pipeline-lint"),
    path("pipelines/<slug:pipeline>/runs", pipelines.StartView.as_view(), name="start"),
    path("pipelines/<slug:pipeline>/workflows", imports.SubmitView.as_view(), name="submit-workflow"),
    path("pipelines/<slug:pipeline>/webhook-secret", pipelines.WebhookSecretView.as_view(), name="webhook-secret"),
    path("pipelines/<slug:pipeline>/definitions", pipelines.DefinitionsView.as_view(), name="definitions"),
    path("pipelines/<slug:pipeline>/definitions/<str:digest>", pipelines.DefinitionView.as_view(), name="definition"),
    path("deliveries/<int:delivery>", pipelines.DeliveryView.as_view(), name="delivery"),
    path("runs", runs.RunsView.as_view(), name="runs"),
    path(RUN, runs.RunView.as_view(), name="run"),
    path(f"{RUN}/events", runs.EventsView.as_view(), name="events"),
    path(f"{RUN}/cancel", runs.CancelView.as_view(), name="cancel"),
    path(f"{RUN}/terminate", runs.TerminateView.as_view(), name="terminate"),
    path(f"{RUN}/adopt", runs.AdoptView.as_view(), name="adopt"),
    path(f"{RUN}/rerun", runs.RerunView.as_view(), name="rerun"),
    path(f"{RUN}/retry-failed", runs.RetryFailedView.as_view(), name="retry-failed"),
    path(f"{STAGE}/log", stages.LogView.as_view(), name="log"),
    path(f"{STAGE}/approve", stages.ApproveView.as_view(), name="approve"),
    path(f"{STAGE}/reject", stages.RejectView.as_view(), name="reject"),
    path(f"{STAGE}/retry", stages.RetryView.as_view(), name="retry"),
    path(f"{STAGE}/skip", stages.SkipView.as_view(), name="skip"),
    path(f"{STAGE}/steer", stages.SteerView.as_view(), name="steer"),
    path(f"{STAGE}/override-freeze", stages.OverrideFreezeView.as_view(), name="override-freeze"),
    path(STAGE, stages.StageView.as_view(), name="stage"),
    path("engines", engines.EnginesView.as_view(), name="engines"),
    path("engines/test", engines.TestView.as_view(), name="engine-test"),
    path("registries", registries.RegistriesView.as_view(), name="registries"),
    path("registries/plan", registries.RegistryPlanView.as_view(), name="registry-plan"),
    path("registries/clean", registries.CleanRegistryView.as_view(), name="clean-registry"),
    path("imports/argo/pipeline", imports.ConvertView.as_view(), name="import-argo-pipeline"),
    path("engine/claim", pods.ClaimView.as_view(), name="pod-claim"),
    path("engine/reports", pods.ReportsView.as_view(), name="pod-reports"),
    path("engine/wanted", pods.WantedView.as_view(), name="pod-wanted"),
    path("engine/measured", pods.MeasuredView.as_view(), name="pod-measured"),
    path("engine/store/<str:digest>", pods.StoreView.as_view(), name="pod-store"),
    path("imports/argo", imports.ArgoView.as_view(), name="import-argo"),
    path("environments", environments.EnvironmentsView.as_view(), name="environments"),
    path("environments/<slug:pipeline>/<slug:name>", environments.EnvironmentView.as_view(), name="environment"),
    path(
        "environments/<slug:pipeline>/<slug:name>/performance",
        performance.PerformanceView.as_view(),
        name="performance",
    ),
    path(
        "environments/<slug:pipeline>/<slug:name>/releases/<str:release>",
        performance.ReleaseView.as_view(),
        name="release",
    ),
    path("environments/<slug:pipeline>/<slug:name>/rollback", environments.RollBackView.as_view(), name="rollback"),
]
