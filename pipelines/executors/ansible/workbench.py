"""Everything that a run of Ansible needs: files, environment, variables and secrets."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.executors import process
from pipelines.executors.ansible import foreseen, places
from pipelines.executors.ansible.order import Order
from pipelines.executors.attempt import environment
from pipelines.executors.base import Control, Log, PlanError, StageSpec, Workplace
from pipelines.executors.masks import Masker
from pipelines.executors.process import Exit
from pipelines.executors.secrets import SecretError, resolve
from pipelines.executors.store import Store

PROJECT = Path(__file__).resolve().parents[3]
DEFAULT_TIMEOUT = 1800.0
OUTPUT_LIMIT = 8 * 2**20
# How a pod finds the API of the cluster that it is in.
_IN_CLUSTER = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


@dataclass(frozen=True, slots=True)
class Secrets:
    variables: dict[str, str]
    vault_password: str
    digests: dict[str, str]

    @classmethod
    def of(cls, home: Path, team: str, order: Order) -> Secrets:
        """Raises PlanError for one that is not there."""
        try:
            found = {name: resolve(home, team, reference) for name, reference in order.secrets.items()}
            vault = resolve(home, team, order.vault_password) if order.vault_password else ""
        except SecretError as error:
            raise PlanError(str(error)) from None
        return cls(found, vault, foreseen.digests(home, team, found))

    @property
    def values(self) -> list[str]:
        return [*self.variables.values(), *([self.vault_password] if self.vault_password else [])]


class Workbench:
    """One run of one playbook in `folder`, of which `clean` leaves the masked events."""

    def __init__(self, workplace: Workplace, spec: StageSpec, order: Order, folder: Path) -> None:
        self.workplace, self.spec, self.order, self.folder = workplace, spec, order, folder
        self.secrets = Secrets.of(workplace.home, spec.owner, order)
        self.masker = Masker(self.secrets.values)
        self.spots = places.spots_of(workplace.home, spec.environment)
        self.tree = Store(workplace.home).unpacked(order.workspace.digest)
        self.playbook = self._inside("playbook", order.playbook)
        self.inventory = self._inside("inventory", order.inventory)
        self.events = folder / "events.jsonl"
        if self.spots:
            places.check_collection(self.playbook.parent)

    def _inside(self, key: str, path: str) -> Path:
        found = self.tree / path
        if not found.exists() or not found.resolve().is_relative_to(self.tree.resolve()):
            commit = self.spec.commit[:12]
            raise PlanError(
                f"`with.{key}` is {path!r}, but the repository has no such file at commit {commit}. "
                "Check the spelling, or commit it."
            )
        return found

    @property
    def _no_settings(self) -> Path:
        """Keeps Ansible from reading the settings of this machine or of its user."""
        return self.private / "ansible.cfg"

    @property
    def private(self) -> Path:
        return self.folder / "runner"

    @property
    def limit(self) -> str:
        """An environment on clusters leaves the machines of the repository's inventory alone, unless told otherwise."""
        return self.order.hosts or (places.GROUP if self.spots else "")

    def run(self, control: Control, *, check: bool) -> Iterator[Log | Exit]:
        """Start the playbook, or join it; yields what the child says: `WAKE_UP` for each new event."""
        self.private.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._no_settings.touch()
        inventories = [str(self.inventory)]
        if self.spots:
            # Its hosts; where they are is among the variables, so that no file of the repository says it.
            own = self.private / "places.json"
            own.write_text(json.dumps(places.inventory(self.spots)))
            inventories.append(str(own))
        yield from process.run(
            self.folder / "process",
            [sys.executable, "-P", "-m", "pipelines.executors.ansible_child"],
            cwd=self.private,
            env=self._environment(),
            control=control,
            timeout=self.spec.timeout or DEFAULT_TIMEOUT,
            output_limit=OUTPUT_LIMIT,
            masker=self.masker,
            stdin=json.dumps(self._job(inventories, check=check)).encode(),
        )

    def _job(self, inventories: list[str], *, check: bool) -> dict[str, Any]:
        return {
            "private_data_dir": str(self.private),
            "tree": str(self.tree),
            "project_dir": str(self.playbook.parent),
            "playbook": self.playbook.name,
            "inventory": inventories,
            "check": check,
            "limit": self.limit,
            "tags": self.order.tags,
            "extra_vars": self._variables(check=check),
            "vault_password": self.secrets.vault_password,
            # A check is not even told what to mask: it knows none of them but this one.
            "secrets": [self.secrets.vault_password] * bool(self.secrets.vault_password)
            if check
            else self.secrets.values,
            "events": str(self.events),
        }

    def _variables(self, *, check: bool) -> dict[str, Any]:
        spec = self.spec
        own: dict[str, Any] = {
            "burger_run": spec.run,
            "burger_commit": spec.commit,
            "burger_release": self.order.release,
        }
        if spec.environment:
            own["burger_environment"] = spec.environment
            own["burger_environment_dir"] = str(self.workplace.home.resolve() / "environments" / spec.environment)
        if digests := self.secrets.digests:
            own["burger_secrets"] = foreseen.placeholders(digests) if check else self.secrets.variables
            own["burger_secret_digests"] = digests
        return {**self.order.variables, **own, **(places.variables(self.spots) if self.spots else {})}

    def _environment(self) -> dict[str, str]:
        """What the repository's ansible.cfg says counts, but for what is set here."""
        config = self.playbook.parent / "ansible.cfg"
        own = config.is_file() and config.resolve().is_relative_to(self.tree.resolve())
        base = environment(self.workplace.home, self.private / "home")
        # ssh-agent and Ansible's compiled files: remembered beside the tree, which is shared and only read.
        named = ("SSH_AUTH_SOCK", *(_IN_CLUSTER if any(not spot.cluster.kubeconfig for spot in self.spots) else ()))
        agent = {name: os.environ[name] for name in named if name in os.environ}
        del base["PYTHONDONTWRITEBYTECODE"]
        return (
            base
            | agent
            | {
                "PYTHONPATH": str(PROJECT),
                "PYTHONPYCACHEPREFIX": str(self.workplace.home.resolve() / "cache" / "pycache"),
                "LANG": "C.UTF-8",
                "TMPDIR": str(self.private),
                "ANSIBLE_CONFIG": str(config if own else self._no_settings),
                "ANSIBLE_HOME": str(self.private / "ansible"),
                "ANSIBLE_LOCAL_TEMP": str(self.private / "tmp"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(_control_path(self.folder)),
                "ANSIBLE_RETRY_FILES_ENABLED": "0",
                "ANSIBLE_HOST_KEY_CHECKING": "1",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_NOCOWS": "1",
                "ANSIBLE_DEPRECATION_WARNINGS": "0",
                "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "0",
            }
        )


@contextmanager
def temporary(home: Path) -> Iterator[Path]:
    """A folder of `home` for one plan, removed at the end."""
    parent = home / "plans"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clean(folder: Path) -> None:
    """Remove all but the events. Ansible's temporary files hold rendered templates, when it was killed."""
    shutil.rmtree(folder / "runner", ignore_errors=True)
    shutil.rmtree(_control_path(folder), ignore_errors=True)


def _control_path(folder: Path) -> Path:
    """For the sockets of ssh, whose names must be short."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"burger-{os.getuid()}-{name}"
