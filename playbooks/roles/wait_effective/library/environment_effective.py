#!/usr/bin/python
"""Ansible module: waits until an environment runs with the configuration in its folder."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: environment_effective
short_description: Wait until an environment runs with its configuration
description:
  - Compares config/*.env and access.json of an environment's folder with observed.json, in which the keeper
    of the environment says what is in force.
  - Waits until they agree, and every replica was replaced and is ready.
  - Returns at once where nothing runs, or where observed.json does not say what is in force. Changes nothing.
options:
  path:
    description: The folder of the environment.
    type: path
    required: true
  timeout:
    description: After so many seconds it fails.
    type: int
    default: 120
author: Platform team
"""

EXAMPLES = """
- name: Wait until the environment runs with this configuration
  environment_effective:
    path: /srv/environments/staging
"""

RETURN = """
said:
  description: What was found.
  type: str
  returned: always
"""

PAUSE = 0.2
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def config_digest(folder: Path) -> str:
    """The digest of the variables: of a name given twice, the file that sorts last wins."""
    values = {}
    for path in sorted((folder / "config").glob("*.env")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, found, value = line.strip().partition("=")
            if found and NAME.fullmatch(name.strip()):
                values[name.strip()] = value.strip()
    text = "\0".join(f"{name}={value}" for name, value in sorted(values.items()))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def allowed(folder: Path) -> list[str] | None:
    """The networks of access.json; None without the file."""
    try:
        data = json.loads((folder / "access.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return [str(ipaddress.ip_network(entry, strict=False)) for entry in data["allow"]]


def observed(folder: Path) -> dict:
    try:
        return json.loads((folder / "observed.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def replicas(seen: dict) -> list[list[dict]]:
    """The replicas of each service of each release."""
    return [found for services in (seen.get("sets") or {}).values() for found in services.values() if found]


def difference(seen: dict, digest: str, networks: list[str] | None) -> str:
    """What is not in force yet; "" when everything is, or when nobody says what is."""
    config, access = seen.get("config") or {}, seen.get("access") or {}
    if "digest" in config and config["digest"] != digest:
        return f"variables {config['digest'] or 'none'} are in force, {digest} are in the files. " + str(
            config.get("problem") or ""
        )
    if networks is not None and "allow" in access and access["allow"] != networks:
        return f"{access['allow']} may come in, {networks} shall. {access.get('problem') or ''}"
    waiting = [replica for service in replicas(seen) for replica in service if not replica.get("ready", True)]
    if waiting:
        return f"{len(waiting)} replicas are not ready: {waiting[0].get('error') or waiting[0].get('state')}"
    mixed = [service for service in replicas(seen) if len({replica.get("revision") for replica in service}) > 1]
    return f"replicas of {len(mixed)} services are still being replaced" if mixed else ""


def wait(folder: Path, timeout: float) -> tuple[bool, str]:
    """(whether the configuration is in force, what was found)."""
    digest, networks = config_digest(folder), allowed(folder)
    end = time.monotonic() + timeout
    agreed = 0
    while True:
        seen = observed(folder)
        if not replicas(seen):
            return True, "nothing runs"
        found = difference(seen, digest, networks)
        # Twice: the keeper may have read the files and not begun to replace the replicas.
        agreed = 0 if found else agreed + 1
        if agreed > 1:
            return True, "in force"
        if time.monotonic() >= end:
            return False, found
        time.sleep(PAUSE)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, said="not waited for in check mode")
    timeout = module.params["timeout"]
    effective, found = wait(Path(module.params["path"]), timeout)
    if not effective:
        module.fail_json(
            msg=f"The configuration is written, but not in force after {timeout} s: {found} "
            "Is the keeper of the environment running, and do its replicas start?",
            said=found,
        )
    module.exit_json(changed=False, said=found)


if __name__ == "__main__":
    main()
