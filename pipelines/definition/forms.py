"""How some values of a stage's `with` have to be written, once: the file is checked against these forms, and so is what
an executor is handed, where parameters are filled in. Each is a regular expression for the whole text."""

from __future__ import annotations

import re

# Name of a service, which becomes part of names of processes and hosts.
SERVICE = r"[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?"
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
# Variables of playbooks: those that begin with "burger_" are the portal's own.
PLAYBOOK_VARIABLE = r"(?!burger_)[A-Za-z][A-Za-z0-9_]*"
CAPITALS = r"[A-Z_][A-Z0-9_]*"
# A path prefix, or a path that says whether something is well.
PREFIX = r"/[A-Za-z0-9._~/%-]*"
# The route of whatever is addressed by its release.
ASSETS = "assets"
# A path of a site, as it is asked for.
ADDRESS = r"/[\x21-\x7e]*"
# Such a part of all; a number is no text.
PART = r"[0-9]+%"
# From 0 to 1, or to 100 %.
SHARE = r"(?:100(?:\.0+)?|[0-9]{1,2}(?:\.[0-9]+)?)%|0?\.[0-9]+|0|1(?:\.0+)?"
# A path inside the repository.
INSIDE = r"(?!/)(?!(?:[^\n]*/)?\.\.(?:/|$))[^\x00\n]+"
# Of images: what is built, the stage of its Dockerfile, its arguments (some would be orders to the engine), and so on.
COMPONENT = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
TARGET = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
ARGUMENT = r"(?!BUILDKIT_)[A-Za-z_][A-Za-z0-9_]*"
BUILD_ID = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
IMAGE = r"[a-z0-9][A-Za-z0-9._/:@-]{0,400}"
MEMORY = r"[0-9]{1,6}[kmgKMG]"
PULLED_FROM = r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?"
# A registry that images go to: a lone word would be taken for a folder.
HOST = r"(?=localhost$|.*[.:])(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
MOST_REPLICAS = 50


def written(form: str) -> re.Pattern[str]:
    """The form, compiled; to be asked with `fullmatch`."""
    return re.compile(form, re.ASCII)
