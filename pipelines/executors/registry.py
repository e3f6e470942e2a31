"""Which executor does which kind of stage. Modules are imported when first used: some take a second."""

from __future__ import annotations

from importlib import import_module

from .base import Executor, Workplace

EXECUTORS = {
    "noop": "gate.GateExecutor",
    "gate": "gate.GateExecutor",
    "source": "source.SourceExecutor",
    "slug": "slug.SlugExecutor",
    "build": "build.executor.BuildExecutor",
    "command": "command.CommandExecutor",
    "publish": "publish.PublishExecutor",
    "rollout": "rollout.executor.RolloutExecutor",
    "ansible": "ansible.executor.AnsibleExecutor",
    "verify": "verify.VerifyExecutor",
    "promote": "promote.PromoteExecutor",
    "argo": "argo.executor.ArgoExecutor",
}


def make(kind: str, workplace: Workplace) -> Executor:
    """Raises KeyError for a kind that has no executor; `burger lint` refuses those before."""
    module, name = EXECUTORS[kind].rsplit(".", 1)
    return getattr(import_module(f"{__package__}.{module}"), name)(workplace)
