"""The process that runs ansible-runner, started by the `ansible` executor and kept by `process.run`.

It is a module of its own, beside the executor's package, so that it imports little and starts quickly.

The job comes as JSON on standard input, because it holds secrets: private_data_dir, tree, project_dir, playbook,
inventory (paths), check, limit, tags, extra_vars, vault_password, secrets (the values to mask), events (a path).
Variables and the vault's password reach Ansible through named pipes, so that no secret is ever in a file of
ours or on a command line, even when everything is killed at once. Each event is masked and appended to the
file `events` as a line of JSON; a line on standard output then wakes the executor.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import threading
from pathlib import Path
from typing import Any

import ansible_runner
import yaml

from pipelines.executors.masks import Masker

WAKE_UP = "\N{BELL}"

HEADER = b"$ANSIBLE_VAULT;"
BLOCK = re.compile(rb"\$ANSIBLE_VAULT;[^\n]+\n(?:[ \t]*[0-9a-f]+[ \t]*\r?(?:\n|\Z))+")
MOST_OF_A_FILE = 1 << 20
SHORTEST = 4  # characters of a value; a shorter one stands in every text


def hand_over(path: Path, content: str) -> str:
    """Make a named pipe that gives `content` to the first who reads it, and then is gone."""

    def serve() -> None:
        with path.open("w", encoding="utf-8") as pipe:  # waits for the reader
            path.unlink()
            pipe.write(content)

    os.mkfifo(path, 0o600)
    threading.Thread(target=serve, daemon=True).start()
    return str(path)


def masked(value: Any, masker: Masker) -> Any:
    """The same JSON value with every secret in its texts replaced."""
    if isinstance(value, str):
        return masker.mask(value)
    if isinstance(value, dict):
        return {masker.mask(key): masked(item, masker) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, str) and "\n" not in item for item in value):
        return masker.mask("\n".join(value)).split("\n")  # a secret may be broken into lines of an output
    if isinstance(value, list):
        return [masked(item, masker) for item in value]
    return value


class Recorder:
    """Takes the runner's events and keeps them, masked, in one file that only grows."""

    def __init__(self, path: Path, masker: Masker) -> None:
        self.path, self.masker = path, masker

    def __call__(self, event: dict[str, Any]) -> bool:
        line = json.dumps(masked(event, self.masker)) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line)
        print(WAKE_UP, flush=True)
        return False  # the runner would write the event as it came


def command_line(job: dict[str, Any]) -> str:
    private = Path(job["private_data_dir"])
    options = ["--extra-vars", "@" + hand_over(private / "variables", json.dumps(job["extra_vars"]))]
    if job["vault_password"]:
        options += ["--vault-password-file", hand_over(private / "vault", job["vault_password"])]
    if job["check"]:
        options += ["--check", "--diff"]
    return shlex.join(options)


def vaulted(tree: Path, password: str) -> list[str]:
    """The values that this password opens in the files of the repository: what a template makes of them stands in
    differences and messages, where Ansible does not hide it."""
    from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret

    vault = VaultLib([("default", VaultSecret(password.encode()))])
    found: set[str] = set()
    for path in tree.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_OF_A_FILE:
            continue
        data = path.read_bytes()
        whole = data.lstrip().startswith(HEADER)
        for block in [data] if whole else BLOCK.findall(data) if HEADER in data else []:
            try:
                text = vault.decrypt(b"\n".join(block.split())).decode()
            except (AnsibleVaultError, UnicodeDecodeError, ValueError):
                continue  # another password's, or no text
            found.update(values_in(text) if whole else [text])
    return sorted(value for value in found if len(value) >= SHORTEST)


def values_in(text: str) -> set[str]:
    """The values of a file of variables; of any other file its lines."""
    try:
        waiting, found = [yaml.safe_load(text)], set()
    except yaml.YAMLError:
        return set(text.splitlines())
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str) or (isinstance(one, int | float) and not isinstance(one, bool)):
            found.add(str(one))
    return found


def play(job: dict[str, Any]) -> int:
    """Run the playbook; returns Ansible's exit code."""
    hidden = [*job["secrets"], *(vaulted(Path(job["tree"]), job["vault_password"]) if job["vault_password"] else ())]
    runner = ansible_runner.run(
        private_data_dir=job["private_data_dir"],
        project_dir=job["project_dir"],
        ident="play",
        playbook=job["playbook"],
        inventory=job["inventory"],
        limit=job["limit"] or None,
        tags=job["tags"] or None,
        cmdline=command_line(job),
        # It looks for a cancel once in each `pexpect_timeout` seconds.
        settings={"suppress_output_file": True, "pexpect_timeout": 1},
        suppress_env_files=True,
        event_handler=Recorder(Path(job["events"]), Masker(hidden)),
        quiet=True,
    )
    return 254 if runner.rc is None else runner.rc


if __name__ == "__main__":
    # Only this process needs the project on its path; playbooks and modules must not find it by chance.
    os.environ.pop("PYTHONPATH", None)
    sys.exit(play(json.load(sys.stdin)))
