"""The kinds of stages, and what each takes in its `with`. A new kind of work is one more entry here.

Everything in `with` is kept as it is written: durations stay text ("30s"), placeholders of parameters stay
until the run starts. A number or a flag may be such a placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition.containers import Key, ListOf, MapOf, OneOf, Record
from pipelines.definition.shapes import Anything, Choice, Duration, Flag, Number, Shape, Text
from pipelines.performance.metrics import METRICS, Metric

_WORDS = ListOf(Text("text", loose=True, empty=True), minimum=1)
_NAMES = ListOf(Text("a name"))
_ENV = MapOf(Text("text", loose=True, empty=True))
_SECRETS = Key(MapOf(Text("a reference to a secret")), "Variable to reference of a secret of the owner.")


def duration() -> Duration:
    return Duration(placeholders=True)


def number(minimum: float, maximum: float, *, whole: bool = True) -> Number:
    return Number(minimum, maximum, whole, placeholders=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work. `with_` is its mapping's shape; `environment` tells whether a stage of it has to name
    one."""

    description: str
    with_: Shape = field(default_factory=lambda: Record("this kind's with"))
    environment: bool = False

    @property
    def required(self) -> tuple[str, ...]:
        keys = self.with_.keys if isinstance(self.with_, Record) else {}
        return tuple(key for key, known in keys.items() if known.required)


def _command(text: str) -> Key:
    return Key(_WORDS, f"{text} The program and its arguments, one by one; no shell is between.", required=True)


_SOURCE = Record(
    "a source's with",
    {"token": Key(Text("a reference to a secret"), "Reference of the token that may read the repository.")},
)
_SLUG = Record(
    "a slug's with",
    {
        "component": Key(Text("a name"), "What is built; the stage's name unless given."),
        "path": Key(Text("a path"), "Folder of the repository that is built; its root unless given."),
        "command": Key(_WORDS, "Build command: the program and its arguments; no shell is between."),
        "include": Key(ListOf(Text("a glob")), "Globs of the files that go in; all unless given."),
        "exclude": Key(ListOf(Text("a glob")), "Globs of files that stay out."),
        "output": Key(Text("a path"), "Folder that the command fills and that is packed; the tree unless given."),
        "env": Key(_ENV, "Environment variables of the build command."),
    },
)
_BUILD = Record(
    "a build's with",
    {
        "component": Key(Text("a name"), "What the image is of; the stage's name unless given."),
        "dockerfile": Key(Text("a path"), "Dockerfile, from the repository's root.", default="Dockerfile"),
        "context": Key(Text("a path"), "Folder of the repository that the Dockerfile may copy from.", default="."),
        "target": Key(Text("a stage of the Dockerfile"), "Stage that is built; the last unless given."),
        "args": Key(_ENV, "Build arguments, such as base images."),
        "secrets": Key(
            MapOf(Text("a reference to a secret"), names=False),
            "Id to reference of a secret of the owner, for RUN --mount=type=secret.",
        ),
        "cache_from": Key(ListOf(Text("an image")), "Images of registries whose layers may be taken over."),
        "registries": Key(
            MapOf(Record("a registry", {"secrets": _SECRETS}), names=False),
            "HOST:PORT to references of username and password.",
        ),
        "limits": Key(
            Record(
                "a build's limits",
                {
                    "memory": Key(Text("a size such as 2g"), "Memory that a step may use."),
                    "cpus": Key(number(0.01, 1024, whole=False), "Processors that a step may use."),
                },
            ),
            "What a step may use; the classic builder holds it to them.",
        ),
    },
)
_COMMAND = Record(
    "a command's with",
    {
        "command": _command("What runs."),
        "in": Key(Text("workspace or an artifact"), '"workspace" (the default) or the artifact it runs in.'),
        "env": Key(_ENV, "Environment variables of the command."),
        "output_limit": Key(number(1, 1 << 30), "Bytes of output that are kept."),
        "secrets": _SECRETS,
        "report": Key(Text("a path"), "File or folder that the command makes and that is kept."),
        "repeatable": Key(Flag(placeholders=True), "Whether it may run again when it was cut off.", default=False),
    },
)
_PUBLISH = Record(
    "a publish stage's with",
    {
        "artifacts": Key(ListOf(Text("an artifact"), minimum=1), "Artifacts that become one release.", required=True),
        "registry": Key(Text("HOST or HOST:PORT"), "Registry that images are pushed to; not for slugs."),
        "repository": Key(Text("a path in a registry"), "What stands before each image's component in its name."),
        "secrets": Key(
            Record(
                "a registry's secrets",
                {
                    "username": Key(Text("a reference to a secret"), "Reference of the username.", required=True),
                    "password": Key(Text("a reference to a secret"), "Reference of the password.", required=True),
                },
            ),
            "The credential of the registry: references of secrets of the owner.",
        ),
    },
)
_SERVICE = Record(
    "a service",
    {
        "artifact": Key(Text("an artifact"), "The slug or image that it runs.", required=True),
        "command": _command("What serves, for each replica."),
        "route": Key(Anything(), 'Path prefix that reaches it, such as "/".'),
        "replicas": Key(number(0, 100), "How many of it run."),
        "health": Key(Anything(), "Path that answers 200 when it is ready, or a mapping of details."),
        "env": Key(_ENV, "Environment variables of each replica."),
        "secrets": _SECRETS,
        "drain": Key(duration(), "How long an old replica may finish its requests."),
    },
)
_LIMITS: Mapping[str, Shape] = {
    "duration": duration(),
    "score": number(0, 10, whole=False),
    "errors": Text("a share such as 1% or 0.01", loose=True),
}


def _budget(metric: Metric) -> Shape:
    limit = _LIMITS.get(metric.kind)
    keys = {"limit": Key(limit, "Highest 75th percentile (of errors: share of all answers).")} if limit else {}
    if metric.tolerance is not None:
        what = "Lowest" if metric.kind == "orders" else "Highest"
        keys["tolerance"] = Key(number(0, 100, whole=False), f"{what} ratio to the baseline.", default=metric.tolerance)
    return OneOf(scalar=limit, map=Record("a budget", keys))


_BUDGETS = Record(
    "budgets",
    {metric.name: Key(_budget(metric), f"{metric.label}: its limit, or a mapping.") for metric in METRICS.values()},
)
_VERIFY = Record(
    "a verify stage's with",
    {
        "paths": Key(ListOf(Text("a path"), minimum=1), "Paths that are asked for."),
        "soak": Key(duration(), "How long it is watched."),
        "interval": Key(duration(), "Time between two rounds."),
        "minimum_samples": Key(number(1, 1_000_000), "Fewest answers for a verdict; with less it is inconclusive."),
        "p95_ms": Key(number(0, 3_600_000, whole=False), "Highest 95th percentile of latency, in milliseconds."),
        "error_rate": Key(number(0, 1, whole=False), "Highest share of wrong answers, from 0 to 1."),
        "expect": Key(Anything(), "What the answers have to be or contain."),
        "release": Key(Text("a release"), "Which release's answers count, where several are served."),
        "timeout": Key(duration(), "How long one answer may take."),
        "compare": Key(Anything(), "Whether another release is measured beside it: true, or its name."),
        "budgets": Key(_BUDGETS, "What customers' browsers and the site's servers may measure at most."),
        "within": Key(duration(), "How long enough measurements of customers are waited for.", default="15m"),
        "too_few": Key(
            Choice(("ask", "probes"), placeholders=True),
            "Who decides where too few customers came to look at a metric once: people, or probes.",
            default="ask",
        ),
    },
)
_STEPS = ListOf(
    Record(
        "a step",
        {
            "setWeight": Key(number(0, 100), "Share of the traffic that the new release gets, in percent."),
            "pause": Key(Anything(), "Waits for its `duration`, or without one for a person."),
            "verify": Key(_VERIFY, "Measures the new release; see the kind verify."),
        },
    )
)
_STRATEGY = Record(
    "a strategy",
    {
        "rolling": Key(Anything(), "Replaces a few replicas at a time: maxSurge, maxUnavailable."),
        "canary": Key(
            Record(
                "a canary",
                {
                    "steps": Key(_STEPS, "What happens, in this order; then it gets all traffic."),
                    "dynamicStableScale": Key(Anything(), "Whether the old set shrinks meanwhile."),
                },
            ),
            "Gives the new release more traffic step by step.",
        ),
        "blueGreen": Key(
            Record(
                "a blue-green rollout",
                {
                    "steps": Key(_STEPS, "What happens before the new set gets the traffic."),
                    "keep": Key(Anything(), "How long the old set stays."),
                },
            ),
            "Stands a complete new set beside the old one.",
        ),
    },
)
_ROLLOUT = Record(
    "a rollout's with",
    {
        "target": Key(
            Choice(("local", "kubernetes"), placeholders=True),
            "Where it runs; as connections.yaml says of the environment unless given.",
        ),
        "services": Key(MapOf(_SERVICE, minimum=1), "What is rolled out together, by name (target local)."),
        "manifests": Key(Text("a path"), "Folder of Kubernetes manifests (target kubernetes)."),
        "release_from": Key(Text("an artifact"), "Stage that published the images, where several did."),
        "workspace": Key(Text("an artifact"), "Workspace that holds the manifests, where there are several."),
        "replicas": Key(MapOf(number(0, 50)), "Replicas of a workload, instead of the manifests' number."),
        "errors": Key(Text("a service"), "The service whose /errors/STATUS.html are shown instead of a gateway error."),
        "progressDeadline": Key(duration(), "How long a step may take before the rollout is aborted.", default="60s"),
        "release": Key(Text("a release"), "A kept release to go back to, instead of services."),
        "strategy": Key(_STRATEGY, "How: rolling, canary or blueGreen, with its settings."),
    },
)
_ANSIBLE = Record(
    "an ansible stage's with",
    {
        "playbook": Key(Text("a path"), "Playbook, from the repository's root.", default="playbooks/site.yml"),
        "inventory": Key(Text("a path"), "Inventory; playbooks/inventories/ENVIRONMENT unless given."),
        "variables": Key(MapOf(Anything(), names=False), "Extra variables."),
        "secrets": _SECRETS,
        "vault_password": Key(Text("a reference to a secret"), "Reference of the vault's password."),
        "workspace": Key(Text("an artifact"), "Workspace that holds the playbook, where there are several."),
        "limit": Key(OneOf(Text("a host pattern"), _NAMES), "Hosts it is limited to."),
        "tags": Key(OneOf(Text("a tag"), _NAMES), "Tags it is limited to."),
    },
)
_PROMOTE = Record("a promote stage's with", {"release": Key(Text("a release"), "The release that is promoted.")})
_ARGO = Record(
    "an argo stage's with",
    {
        "place": Key(Text("a workflow place"), "Where it runs, as connections.yaml names it.", required=True),
        "file": Key(Text("a path"), "File of the repository with the workflow.", required=True),
        "workflow": Key(Text("a name"), "Which one of the file, where it has several."),
        "template": Key(Text("a template"), "Template that runs, instead of the workflow's entrypoint."),
        "task": Key(Text("TEMPLATE/TASK"), "One task of a template, as it stands there, instead of all of them."),
        "arguments": Key(_ENV, "Parameters of the workflow."),
        "workspace": Key(Text("an artifact"), "Workspace that holds the file, where there are several."),
    },
)

KINDS: Mapping[str, Kind] = {
    "noop": Kind("Does nothing: a place where branches join.", Record("a noop's with")),
    "gate": Kind("Waits for its gate's teams and does nothing else.", Record("a gate's with")),
    "source": Kind("Fetches the commit into a fresh workspace.", _SOURCE),
    "slug": Kind("Builds a component without Docker and packs it.", _SLUG),
    "build": Kind("Builds an image of a component with a Docker Engine.", _BUILD),
    "command": Kind("Runs a command of the repository.", _COMMAND),
    "publish": Kind("Makes a release of artifacts; pushes images to a registry.", _PUBLISH),
    "rollout": Kind("Rolls services out to an environment.", _ROLLOUT, environment=True),
    "ansible": Kind("Runs a playbook on an environment.", _ANSIBLE, environment=True),
    "verify": Kind("Probes an environment and gives a verdict.", _VERIFY, environment=True),
    "promote": Kind("Marks a release as the verified one.", _PROMOTE),
    "argo": Kind("Runs a workflow of Argo, a template or a task of it.", _ARGO),
}


SINGLE_SECRETS = ("token", "vault_password")  # keys of a `with` that name one secret


def secrets_of(with_: Mapping[str, Any]) -> frozenset[str]:
    """The names of all secrets that a stage's `with` mentions, those of its services included."""
    found = {str(with_[key]) for key in SINGLE_SECRETS if with_.get(key)}
    waiting: list[Any] = [with_]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            secrets = value.get("secrets")
            found.update(map(str, secrets.values() if isinstance(secrets, Mapping) else secrets or ()))
            waiting.extend(item for key, item in value.items() if key != "secrets")
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return frozenset(found)
