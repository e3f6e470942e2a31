"""The kinds of stages, and what each takes in its `with`. A new kind of work is one more entry here.

Everything in `with` is kept as it is written: durations stay text ("30s"), placeholders of parameters stay
until the run starts. A number or a flag may be such a placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.definition import forms
from pipelines.definition.containers import Key, ListOf, MapOf, OneOf, Record
from pipelines.definition.rolling import ROLLOUT, VERIFY
from pipelines.definition.settled import ENV, INSIDE, NAMES, SECRETS, VALUES, WORDS, command, number, once_each
from pipelines.definition.shapes import Anything, Flag, Form, Made, Shape, Text


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work. `with_` is its mapping's shape; `environment` tells whether a stage of it has to name
    one. `makes` is the sort of the artifact that a stage of it makes, "" where that is not known. `reads` is the key of
    `with` that names the workspace it works in; without that it is the one that was fetched before."""

    description: str
    with_: Shape = field(default_factory=lambda: Record("this kind's with"))
    environment: bool = False
    makes: str = ""
    reads: str = ""

    @property
    def required(self) -> tuple[str, ...]:
        keys = self.with_.keys if isinstance(self.with_, Record) else {}
        return tuple(key for key, known in keys.items() if known.required)


_SOURCE = Record(
    "a source's with",
    {"token": Key(Text("a reference to a secret"), "Reference of the token that may read the repository.")},
)
_SLUG = Record(
    "a slug's with",
    {
        "component": Key(Text("a name"), "What is built; the stage's name unless given."),
        "command": Key(WORDS, "Build command: the program and its arguments; no shell is between."),
        "include": Key(ListOf(Text("a glob")), "Globs of the files that go in; all unless given."),
        "exclude": Key(ListOf(Text("a glob")), "Globs of files that stay out."),
        "output": Key(INSIDE, "Folder that the command fills and that is packed; the tree unless given."),
        "env": Key(VALUES, "Environment variables of the build command."),
    },
)
_CREDENTIAL = Key(
    Record(
        "a registry's secrets",
        {
            "username": Key(Text("a reference to a secret"), "Reference of the username.", required=True),
            "password": Key(Text("a reference to a secret"), "Reference of the password.", required=True),
        },
    ),
    "The credential of the registry: references of secrets of the owner.",
)
_BUILD = Record(
    "a build's with",
    {
        "component": Key(
            Form("a name of small letters, digits and - between them", forms.COMPONENT, str.lower),
            "What the image is of; the stage's name unless given.",
        ),
        "dockerfile": Key(INSIDE, "Dockerfile, from the repository's root.", default="Dockerfile"),
        "context": Key(INSIDE, "Folder of the repository that the Dockerfile may copy from.", default="."),
        "target": Key(Form("a stage of the Dockerfile", forms.TARGET), "Stage that is built; the last unless given."),
        "args": Key(
            MapOf(VALUES.value, Form("an argument's name, not with BUILDKIT_ before it", forms.ARGUMENT)),
            "Build arguments, such as base images.",
        ),
        "secrets": Key(
            MapOf(Text("a reference to a secret"), Form("an id of letters, digits and _ . -", forms.BUILD_ID)),
            "Id to reference of a secret of the owner, for RUN --mount=type=secret.",
        ),
        "cache_from": Key(
            ListOf(Form("an image", forms.IMAGE)), "Images of registries whose layers may be taken over."
        ),
        "registries": Key(
            MapOf(Record("a registry", {"secrets": _CREDENTIAL}), Form("HOST or HOST:PORT", forms.PULLED_FROM)),
            "HOST:PORT to references of username and password.",
        ),
        "limits": Key(
            Record(
                "a build's limits",
                {
                    "memory": Key(Form("a size such as 512m or 2g", forms.MEMORY), "Memory that a step may use."),
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
        "command": command("What runs."),
        "in": Key(
            Made(("workspace", "slug", "report"), ("workspace",)),
            '"workspace" (the default) or the artifact it runs in.',
        ),
        "env": Key(ENV, "Environment variables of the command."),
        "output_limit": Key(number(1, 1 << 30), "Bytes of output that are kept."),
        "secrets": SECRETS,
        "report": Key(INSIDE, "File or folder that the command makes and that is kept."),
        "repeatable": Key(Flag(placeholders=True), "Whether it may run again when it was cut off.", default=False),
    },
    rule=once_each,
)
_PUBLISH = Record(
    "a publish stage's with",
    {
        "artifacts": Key(
            ListOf(Made(("slug", "image")), minimum=1, unique=True), "Artifacts that become one release.", required=True
        ),
        "registry": Key(Form("HOST or HOST:PORT", forms.HOST), "Registry that images are pushed to; not for slugs."),
        "repository": Key(Text("a path in a registry"), "What stands before each image's component in its name."),
        "secrets": _CREDENTIAL,
    },
)
_WORKSPACE = Made(("workspace",), ("workspace",))
_ANSIBLE = Record(
    "an ansible stage's with",
    {
        "playbook": Key(INSIDE, "Playbook, from the repository's root.", default="playbooks/site.yml"),
        "inventory": Key(INSIDE, "Inventory; playbooks/inventories/ENVIRONMENT unless given."),
        "variables": Key(
            MapOf(Anything(), Form("a variable's name, not with burger_ before it", forms.PLAYBOOK_VARIABLE)),
            "Extra variables.",
        ),
        "secrets": Key(
            MapOf(
                Text("a reference to a secret"),
                Form("a name of capital letters, digits and _", forms.CAPITALS, str.upper),
            ),
            "Name to reference of a secret of the owner.",
        ),
        "vault_password": Key(Text("a reference to a secret"), "Reference of the vault's password."),
        "workspace": Key(_WORKSPACE, "Workspace that holds the playbook, where there are several."),
        "limit": Key(OneOf(Text("a host pattern"), NAMES), "Hosts it is limited to."),
        "tags": Key(OneOf(Text("a tag"), NAMES), "Tags it is limited to."),
    },
)
_PROMOTE = Record("a promote stage's with", {"release": Key(Text("a release"), "The release that is promoted.")})
_ARGO = Record(
    "an argo stage's with",
    {
        "place": Key(Text("a workflow place"), "Where it runs, as connections.yaml names it.", required=True),
        "file": Key(INSIDE, "File of the repository with the workflow.", required=True),
        "workflow": Key(Text("a name"), "Which one of the file, where it has several."),
        "template": Key(Text("a template"), "Template that runs, instead of the workflow's entrypoint."),
        "task": Key(Text("TEMPLATE/TASK"), "One task of a template, as it stands there, instead of all of them."),
        "arguments": Key(VALUES, "Parameters of the workflow."),
        "workspace": Key(_WORKSPACE, "Workspace that holds the file, where there are several."),
    },
)

KINDS: Mapping[str, Kind] = {
    "noop": Kind("Does nothing: a place where branches join.", Record("a noop's with")),
    "gate": Kind("Waits for its gate's teams and does nothing else.", Record("a gate's with")),
    "source": Kind("Fetches the commit into a fresh workspace.", _SOURCE, makes="workspace"),
    "slug": Kind("Builds a component without Docker and packs it.", _SLUG, makes="slug", reads="workspace"),
    "build": Kind("Builds an image of a component with a Docker Engine.", _BUILD, makes="image", reads="workspace"),
    "command": Kind("Runs a command of the repository.", _COMMAND, makes="report", reads="in"),
    "publish": Kind("Makes a release of artifacts; pushes images to a registry.", _PUBLISH, makes="release"),
    "rollout": Kind("Rolls services out to an environment.", ROLLOUT, environment=True, makes="release"),
    "ansible": Kind("Runs a playbook on an environment.", _ANSIBLE, environment=True, reads="workspace"),
    "verify": Kind("Probes an environment and gives a verdict.", VERIFY, environment=True),
    "promote": Kind("Marks a release as the verified one.", _PROMOTE, environment=True),
    "argo": Kind("Runs a workflow of Argo, a template or a task of it.", _ARGO, makes="report", reads="workspace"),
}


SINGLE_SECRETS = ("token", "vault_password")  # keys of a `with` that name one secret
REFERENCES = ("secrets", *SINGLE_SECRETS)


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
