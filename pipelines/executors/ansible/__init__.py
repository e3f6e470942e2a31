"""`ansible`: a playbook of the repository, run by ansible-runner; its plan is the same run in check mode."""

from pipelines.executors.ansible.executor import AnsibleExecutor

__all__ = ["AnsibleExecutor"]
