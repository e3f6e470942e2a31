"""The picture of a run, as inline SVG: Graphviz places the stages, everything that is shown is written here.

Graphviz gets no more than what it needs to place boxes, and only numbers are taken from its answer. So the same
shape is laid out once however many runs have it, and no text of a pipeline file can turn into markup. Colours come
from CSS classes alone (portal/graph.css), so that a page can recolour a stage by changing its class.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import graphviz
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from teams.models import Team

from . import layout, snapshots
from .models import Run, Stage
from .states import ENDED, State

MOST_NODES = 400
TITLE_WIDTH, TITLE_LINES = 22, 2  # characters, lines
NODE_WIDTH, NODE_HEIGHT = 186, 68  # pixels

# What a node that stands for several stages shows: the first of these that one of them is in.
WORST = (
    State.FAILED, State.ERROR, State.REJECTED, State.UNKNOWN, State.WAITING, State.RUNNING, State.QUEUED,
    State.PENDING, State.CANCELED, State.OMITTED, State.SKIPPED, State.SUCCEEDED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """A stage, or a matrix group that is drawn as one. `needs` are positions among the boxes."""

    name: str
    title: str
    owner: str
    kind: str
    gate: str
    on_exit: bool
    needs: tuple[int, ...]
    positions: tuple[int, ...]  # of its stages in the run


def can_draw() -> bool:
    """Whether something that lays out graphs is installed."""
    return layout.program() is not None
