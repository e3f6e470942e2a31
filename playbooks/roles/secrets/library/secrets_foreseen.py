#!/usr/bin/python
"""Ansible module: says which secrets would change, without their values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: secrets_foreseen
short_description: Say which secrets would change, without their values
description:
  - Compares digests of the secrets that are wanted with those that the last run left beside what it wrote.
  - Changes nothing, in check mode or out of it; "changed" means that writing them would.
options:
  wanted:
    description: NAME to digest of each secret.
    type: dict
    required: true
  path:
    description: The file that they were written to; its digests are in a file of that name with .digests behind it.
    type: path
  recorded:
    description: Instead of a path, the digests of the last run as JSON.
    type: str
    default: ""
  content:
    description: Instead of a path, the SHA-1 of what is there now, to be compared with what the last run wrote.
    type: str
    default: ""
author: Platform team
"""

EXAMPLES = """
- name: Foresee the file of the secrets
  secrets_foreseen:
    wanted: {SHOP_KEY: 5c1d0b3a}
    path: /srv/environments/staging/config/secrets.env
"""

RETURN = """
diff:
  description: The names, each with its digest, before and after.
  type: dict
  returned: changed
"""


def of_file(path: Path) -> tuple[str, str]:
    """(the digests of the last run as JSON, the SHA-1 of the file); empty texts for what is not there."""
    try:
        content = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
        return path.with_name(path.name + ".digests").read_text(encoding="utf-8"), content
    except FileNotFoundError:
        return "", ""


def compare(wanted: dict, recorded: str, content: str) -> dict:
    """What the module says."""
    try:
        last = json.loads(recorded or "{}")
        before = {str(name): str(digest) for name, digest in last.get("values", {}).items()}
    except (ValueError, AttributeError):
        last, before = {}, {}
    if before == wanted and last.get("content") == content:
        return {"changed": False}
    found = _lines(before)
    if before == wanted:
        found += "(somebody else has written there since)\n"
    return {"changed": True, "diff": {"before": found, "after": _lines(wanted)}}


def _lines(digests: dict) -> str:
    return "".join(f"{name}: {digests[name]}\n" for name in sorted(digests))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "wanted": {"type": "dict", "required": True},
            "path": {"type": "path"},
            "recorded": {"type": "str", "default": ""},
            "content": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    recorded, content = of_file(Path(given["path"])) if given["path"] else (given["recorded"], given["content"])
    module.exit_json(**compare(given["wanted"], recorded, content))


if __name__ == "__main__":
    main()
