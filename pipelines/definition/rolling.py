"""What a rollout and a verify stage take in their `with`."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.definition import forms
from pipelines.definition.containers import Key, ListOf, MapOf, OneOf, Record
from pipelines.definition.loader import Node
from pipelines.definition.report import Report, shown
from pipelines.definition.settled import ENV, SECRETS, command, duration, number, once_each
from pipelines.definition.shapes import (
    Choice,
    Either,
    Flag,
    Form,
    Made,
    OrEmpty,
    Regex,
    Shape,
    Text,
    has_placeholder,
)
from pipelines.performance.metrics import METRICS, Metric

_PATH = Form("a path such as /", forms.PREFIX, lambda text: f"/{text}")
_ROUTE = Form(f"a path prefix such as /, or {forms.ASSETS}", f"(?:{forms.PREFIX}|{forms.ASSETS}|)", _PATH.meant)
_HEALTH = Record("a health check", {"path": Key(_PATH, "Path that answers 200 when it is ready.", default="/healthz")})
_SERVICE = Record(
    "a service",
    {
        "artifact": Key(Made(("slug",)), "The slug that it runs.", required=True),
        "command": command("What serves, for each replica."),
        "route": Key(_ROUTE, 'Path prefix that reaches it, such as "/".'),
        "replicas": Key(number(1, forms.MOST_REPLICAS), "How many of it run."),
        "health": Key(OneOf(scalar=_PATH, map=_HEALTH), "Path that answers 200 when it is ready.", default="/healthz"),
        "env": Key(ENV, "Environment variables of each replica."),
        "secrets": SECRETS,
        "drain": Key(duration(), "How long an old replica may finish its requests."),
    },
    rule=once_each,
)
_LIMITS: Mapping[str, Shape] = {
    "duration": duration(),
    "score": number(0, 10, whole=False),
    "errors": Either((int, float), number(0, 1, whole=False), Form("a share such as 1% or 0.01", forms.SHARE)),
}


_RATIO = number(1, 100, whole=False)


def _budget(metric: Metric) -> Shape:
    limit = _LIMITS.get(metric.kind)
    keys = {"limit": Key(limit, "Highest 75th percentile (of errors: share of all answers).")} if limit else {}
    if metric.tolerance is not None:
        what, most = ("Lowest", number(0.05, 1, whole=False)) if metric.kind == "orders" else ("Highest", _RATIO)
        keys["tolerance"] = Key(most, f"{what} ratio to the baseline.", default=metric.tolerance)
    return OneOf(scalar=limit, map=Record("a budget", keys, least=1))


_BUDGETS = Record(
    "budgets",
    {metric.name: Key(_budget(metric), f"{metric.label}: its limit, or a mapping.") for metric in METRICS.values()},
    least=1,
)
_ADDRESS = Form("a path such as /healthz, without spaces", forms.ADDRESS, _PATH.meant)
_EXPECTED = OneOf(
    scalar=Text(empty=True),
    map=Record("an expectation", {"regex": Key(Regex(), "What has to be found.", required=True)}),
)
VERIFY = Record(
    "a verify stage's with",
    {
        "paths": Key(ListOf(_ADDRESS, minimum=1), "Paths that are asked for."),
        "soak": Key(duration(), "How long it is watched."),
        "interval": Key(duration(), "Time between two rounds."),
        "minimum_samples": Key(number(1, 1_000_000), "Fewest answers for a verdict; with less it is inconclusive."),
        "p95_ms": Key(number(0.001, 600_000, whole=False), "Highest 95th percentile of latency, in milliseconds."),
        "error_rate": Key(number(0, 1, whole=False), "Highest share of wrong answers, from 0 to 1."),
        "expect": Key(
            MapOf(_EXPECTED, _ADDRESS), "Path to what its page has to hold: a text, or `regex` with an expression."
        ),
        "release": Key(Text("a release"), "Which release's answers count, where several are served."),
        "timeout": Key(duration(), "How long one answer may take."),
        "compare": Key(
            Either((bool,), Flag(), Text("a release")),
            "Whether another release is measured beside it: true, or its name.",
        ),
        "budgets": Key(_BUDGETS, "What customers' browsers and the site's servers may measure at most."),
        "within": Key(duration(), "How long enough measurements of customers are waited for.", default="15m"),
        "too_few": Key(
            Choice(("ask", "probes"), placeholders=True),
            "Who decides where too few customers came to decide: people, or probes.",
            default="ask",
        ),
    },
)
_PAUSE = Record("a pause", {"duration": Key(duration(), "How long; until a person goes on unless given.")})
_STEPS: dict[str, Key] = {
    "pause": Key(OrEmpty(_PAUSE), "Waits for its `duration`, or without one for a person."),
    "verify": Key(OrEmpty(VERIFY), "Measures the new release; see the kind verify."),
}
_WEIGHT = Key(number(0, 100), "Share of the traffic that the new release gets, in percent.")
_LIMIT = Either(
    (int,), number(0, 1_000_000), Form("a whole number, or a share such as 25%", forms.PART, lambda text: f"{text}%")
)
_ROLLING = Record(
    "a rolling rollout",
    {
        "maxSurge": Key(_LIMIT, "How many more than all may exist, or which part.", default="25%"),
        "maxUnavailable": Key(_LIMIT, "How many may be missing, or which part.", default="25%"),
    },
)
_STRATEGY = Record(
    "a strategy",
    {
        "rolling": Key(OrEmpty(_ROLLING), "Replaces a few replicas at a time: maxSurge, maxUnavailable."),
        "canary": Key(
            Record(
                "a canary",
                {
                    "steps": Key(
                        ListOf(Record("a step", {"setWeight": _WEIGHT, **_STEPS}, least=1, most=1)),
                        "What happens, in this order; then it gets all traffic.",
                    ),
                    "dynamicStableScale": Key(Flag(), "Whether the old set shrinks meanwhile.", default=False),
                },
            ),
            "Gives the new release more traffic step by step.",
        ),
        "blueGreen": Key(
            Record(
                "a blue-green rollout",
                {
                    "steps": Key(
                        ListOf(Record("a step before the switch", _STEPS, least=1, most=1)),
                        "What happens before the new set gets the traffic.",
                    ),
                    "keep": Key(duration(), "How long the old set stays."),
                },
            ),
            "Stands a complete new set beside the old one.",
        ),
    },
    least=1,
    most=1,
)


def _services_fit(fields: Mapping[str, Node], report: Report) -> None:
    _errors_are_of_a_service(fields, report)
    _routes_differ(fields.get("services"), report)


def _routes_differ(services: Node | None, report: Report) -> None:
    taken: dict[str, str] = {}
    for name, service in services.items if services is not None and services.kind == "map" else ():
        route = service.get("route") if service.kind == "map" else None
        if route is None or route.kind != "scalar" or not route.text or has_placeholder(route):
            continue
        first = taken.setdefault(route.text, name.text)
        if first != name.text:
            report.add(route, "duplicate", f"{shown(route.text)} reaches {shown(first)} already", "give it another")


def _errors_are_of_a_service(fields: Mapping[str, Node], report: Report) -> None:
    errors, services = fields.get("errors"), fields.get("services")
    if errors is None or services is None or services.kind != "map" or has_placeholder(errors):
        return
    names = [key.text for key, _ in services.items]
    if errors.kind == "scalar" and errors.text and errors.text not in names:
        report.unknown(errors, "unknown-service", "service", errors.text, names)


ROLLOUT = Record(
    "a rollout's with",
    {
        "target": Key(
            Choice(("local", "kubernetes"), placeholders=True),
            "Where it runs; as connections.yaml says of the environment unless given.",
        ),
        "services": Key(
            MapOf(_SERVICE, Form("a name of small letters, digits and - between them", forms.SERVICE, str.lower), 1),
            "What is rolled out together, by name (target local).",
        ),
        "manifests": Key(Text("a path"), "Folder of Kubernetes manifests (target kubernetes)."),
        "secrets": Key(
            ListOf(Text("a reference to a secret"), unique=True),
            "References of the owner's secrets that the manifests may hold (target kubernetes).",
        ),
        "release_from": Key(Made(("release",)), "Stage that published the images, where several did."),
        "workspace": Key(Made(("workspace",)), "Workspace that holds the manifests, where there are several."),
        "replicas": Key(
            MapOf(number(0, forms.MOST_REPLICAS)), "Replicas of a workload, instead of the manifests' number."
        ),
        "errors": Key(Text("a service"), "The service whose /errors/STATUS.html are shown instead of a gateway error."),
        "progressDeadline": Key(duration(), "How long a step may take before the rollout is aborted.", default="60s"),
        "release": Key(Text("a release"), "A kept release to go back to, instead of services."),
        "strategy": Key(_STRATEGY, "How: rolling, canary or blueGreen, with its settings."),
    },
    rule=_services_fit,
)
