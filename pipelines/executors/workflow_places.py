"""The part of connections.yaml that says where Workflows of Argo run, whose they may be, and which are watched.

    workflows:
      ci:
        cluster: main
        namespace: shop-ci
        teams: {dev: [dev-builds], ops: [deployer]}
        owners: library-owners.yaml
        watch:
          - {labels: "app=shop", pipeline: shop, owner: ops, owners: shop-owners.yaml, adoptable: true}

A repository cannot say this: otherwise it could run what it likes, wherever it likes, with anybody's account.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connections import Cluster

DEFAULT_ACCOUNT = "default"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?")

Wrong = Callable[[str, Any, str], Exception]
Checked = Callable[[Any, str, set[str]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Watch:
    """Workflows that others submit and that appear as runs of `pipeline`: those that `labels` selects. `owner` is the
    team of every task that `owners`, an ownership file, gives to nobody. `adoptable`: people may take them over."""

    labels: str
    pipeline: str
    owner: str
    owners: Path | None = None
    adoptable: bool = False


@dataclass(frozen=True, slots=True)
class WorkflowPlace:
    """`teams` are those whose tasks may run here, each with the service accounts that its tasks may use; the first is
    what they get where the Workflow names none. `owners` is an ownership file that holds for every Workflow that is
    submitted here, whatever its own says: one entry owns a template that many use."""

    name: str
    cluster: Cluster
    namespace: str
    teams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    watch: tuple[Watch, ...] = ()
    owners: Path | None = None

    @property
    def title(self) -> str:
        return f"{self.cluster.name}/{self.namespace}"


@dataclass(frozen=True, slots=True)
class PlaceReader:
    """`wrong` makes the error for a place in the file, what was found there and what was expected; `checked` gives a
    mapping that has no other keys; `folder` is where relative files are."""

    wrong: Wrong
    checked: Checked
    folder: Path
    clusters: Mapping[str, Cluster]

    def read(self, name: str, value: Any) -> WorkflowPlace:
        at = f"workflows.{name}"
        data = self.checked(value, at, {"cluster", "namespace", "teams", "watch", "owners"})
        cluster, namespace = data.get("cluster"), data.get("namespace")
        if not isinstance(cluster, str) or cluster not in self.clusters:
            known = ", ".join(self.clusters) or "(none)"
            raise self.wrong(f"{at}.cluster", cluster, f"one of the clusters {known}")
        if not isinstance(namespace, str) or not _NAME.fullmatch(namespace):
            raise self.wrong(f"{at}.namespace", namespace, "the name of a namespace")
        watch = data.get("watch") or []
        if not isinstance(watch, list):
            raise self.wrong(f"{at}.watch", watch, "a list of {labels, pipeline, owner}")
        watches = tuple(self._watch(f"{at}.watch[{number}]", one) for number, one in enumerate(watch))
        teams, owners = self._teams(at, data.get("teams")), self._file(at, data.get("owners"))
        return WorkflowPlace(name, self.clusters[cluster], namespace, teams, watches, owners)

    def _file(self, at: str, value: Any) -> Path | None:
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"{at}.owners", value, "the path of an ownership file")
        return self.folder / Path(value).expanduser() if value else None

    def _teams(self, at: str, value: Any) -> dict[str, tuple[str, ...]]:
        if isinstance(value, list):
            value = {str(team): [DEFAULT_ACCOUNT] for team in value}
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self.wrong(f"{at}.teams", value, "a list of teams, or a mapping of teams to service accounts")
        for team, accounts in value.items():
            known = isinstance(accounts, list) and accounts and all(isinstance(one, str) and one for one in accounts)
            if not known:
                raise self.wrong(f"{at}.teams.{team}", accounts, "a list of service accounts")
        return {str(team): tuple(accounts) for team, accounts in value.items()}

    def _watch(self, at: str, value: Any) -> Watch:
        data = self.checked(value, at, {"labels", "pipeline", "owner", "owners", "adoptable"})
        for key in ("labels", "pipeline", "owner"):
            if not isinstance(data.get(key), str) or not data[key].strip():
                raise self.wrong(f"{at}.{key}", data.get(key), "text")
        for key in ("pipeline", "owner"):
            if not _SLUG.fullmatch(data[key]):
                raise self.wrong(f"{at}.{key}", data[key], "the short name of one")
        adoptable = data.get("adoptable", False)
        if not isinstance(adoptable, bool):
            raise self.wrong(f"{at}.adoptable", adoptable, "true or false")
        file = self._file(at, data.get("owners"))
        return Watch(data["labels"].strip(), data["pipeline"], data["owner"], file, adoptable)
