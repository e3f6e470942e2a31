"""What configuration management gives an environment: variables in config/*.env, and who may come in."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.executors.rollout.local.place import Place, read_json

LOOPBACK = ("127.0.0.0/8", "::1/128")
PRIVATE = (*LOOPBACK, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Config:
    """`digest` covers the variables. `problem` says what is wrong with the files, "" when nothing is."""

    values: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    problem: str = ""


def signature(place: Place) -> tuple[object, ...]:
    """Changes whenever a file of the configuration may have changed. Cheap."""
    found: list[object] = []
    for path in (*sorted(place.config.glob("*.env")), place.access):
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def read_config(place: Place) -> Config:
    """All variables; of a name given twice, the file that sorts last wins. A bad line is a `problem`, and the
    variables of the other lines are there all the same."""
    values: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(place.config.glob("*.env")):
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path.name} cannot be read: {error}")
            continue
        for number, line in enumerate(lines, 1):
            name, found, value = line.strip().partition("=")
            if found and _KEY.fullmatch(name.strip()) and "\0" not in value:
                values[name.strip()] = value.strip()
            elif line.strip() and not line.strip().startswith("#"):
                # The line itself may be a secret.
                problems.append(f"{path.name} line {number} is not NAME=VALUE")
    text = "\0".join(f"{name}={value}" for name, value in sorted(values.items()))
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return Config(values, digest, "; ".join(problems))


def read_access(place: Place) -> tuple[tuple[str, ...], str]:
    """(address ranges that may come in, what is wrong). Without a file: this machine and private networks.
    With a bad one: this machine only, since nobody knows whom it meant to keep out."""
    try:
        data = read_json(place.access)
        if data is None:
            return PRIVATE, ""
        return tuple(str(ipaddress.ip_network(entry, strict=False)) for entry in data["allow"]), ""
    except (ValueError, KeyError, TypeError, OSError) as error:
        return LOOPBACK, f'access.json is not {{"allow": ["ADDRESS/BITS", ...]}}: {error}'
