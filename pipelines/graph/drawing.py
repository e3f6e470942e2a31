"""Boxes and lines as inline SVG. Colours come from CSS classes alone, so that a page can recolour a stage by changing
its class; live.js does, and says the same words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .. import layout
from ..models import Run
from ..selectors import Glance
from ..states import ENDED, Reason, State
from .bands import HEIGHT, WIDTH
from .boxes import WORST, Box

TITLE_WIDTH, TITLE_LINES = 20, 2  # in characters, lines
OWNER_WIDTH = 11
SHARE = WIDTH - 32  # the width of the bar that says how many of several have ended; live.js takes it from the picture
_LONGEST_ONLY = 1000  # characters of an address that names the stages of a box


@dataclass(frozen=True, slots=True)
class Face:
    """One box as it is shown. `name` says it to those who do not see it, and holds what is seen; `about` is shown on
    hover, `owner` and `word` stand below the title, `icon` is a symbol of _icons.svg. `extra` is drawn on top."""

    href: str
    lines: Sequence[str]
    owner: str
    word: str
    icon: str
    name: str
    about: str
    classes: Sequence[str]
    identity: SafeString
    several: bool = False
    gated: bool = False
    extra: SafeString | str = ""


def svg(
    run: Run, boxes: Sequence[Box], placed: layout.Layout, stages: Sequence[Glance], selected: str
) -> SafeString:  # fmt: skip
    on_exit = {number for number, box in enumerate(boxes) if box.definition.get("on_exit")}
    faces = [_face(box, [stages[i] for i in box.members], selected) for box in boxes]
    classes = [" on-exit" if edge.head in on_exit else "" for edge in placed.edges]
    return drawn(f"Stages of run {run.number}", faces, placed, classes)


def drawn(label: str, faces: Sequence[Face], placed: layout.Layout, edge_classes: Sequence[str]) -> SafeString:
    """The whole picture: `faces` by the number of their node, `edge_classes` (each "" or with a space before it) by
    `placed.edges`."""
    edges = format_html_join(
        "",
        '<path class="edge{}" d="{}" marker-end="url(#edge-end)"/>',
        ((kind, edge.path) for kind, edge in zip(edge_classes, placed.edges, strict=True)),
    )
    nodes = format_html_join("", "{}", ((_node(face, placed.centers[n]),) for n, face in enumerate(faces)))
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" class="dag" role="group" aria-label="{label}" '
        'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        '<defs><marker id="edge-end" class="edge-end" viewBox="0 0 7 6" refX="0" refY="3" markerWidth="7" '
        'markerHeight="6" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L7 3L0 6z"/></marker></defs>'
        '<g class="edges" aria-hidden="true">{edges}</g>{nodes}</svg>',
        label=label,
        width=f"{placed.width:.0f}",
        height=f"{placed.height:.0f}",
        edges=edges,
        nodes=nodes,
    )


def _node(face: Face, center: tuple[float, float]) -> SafeString:
    return format_html(
        '<g {identity} class="{classes}" transform="translate({x} {y})"><a href="{href}" data-name="{name}" '
        'aria-label="{name}, {word}"><title>{about}</title>{behind}'
        '<rect class="box" width="{width}" height="{height}" rx="10"/>{gate}'
        '<rect class="team-mark" x="9" y="12" width="3" height="{mark}" rx="1.5"/>'
        # It turns around the origin, so that is put into its middle.
        '<g transform="translate(28 20)"><use class="state-icon" href="#icon-{icon}" x="-8" y="-8" width="16" '
        'height="16"/></g>{lines}'
        ' <text class="owner" x="20" y="{below}">{owner}</text>'
        ' <text class="word" data-live-word="" x="{right}" y="{below}" text-anchor="end">{word}</text>{extra}</a></g>',
        identity=face.identity,
        classes=" ".join(face.classes),
        x=f"{center[0] - WIDTH / 2:.1f}",
        y=f"{center[1] - HEIGHT / 2:.1f}",
        href=face.href,
        name=face.name,
        word=face.word,
        about=face.about,
        behind=_BEHIND if face.several else "",
        width=WIDTH,
        height=HEIGHT,
        mark=HEIGHT - 24,
        gate=_GATE if face.gated else "",
        icon=face.icon,
        lines=_title(face.lines),
        owner=face.owner,
        below=HEIGHT - 11,
        right=WIDTH - 12,
        extra=face.extra,
    )


_GATE = format_html('<rect class="gate" x="3" y="3" width="{}" height="{}" rx="7.5"/>', WIDTH - 6, HEIGHT - 6)
_BEHIND = format_html(
    '<path class="behind" d="M12 -4H{}a10 10 0 0 1 10 10V{}" aria-hidden="true"/>', WIDTH - 6, HEIGHT - 10
)


def _face(box: Box, members: Sequence[Glance], selected: str) -> Face:
    state, word = _shown(box, members)
    teams = sorted({member.owner for member in members})
    several = len(members) > 1
    title = f"{box.title} ({len(members)})" if box.what == "matrix" else box.title
    seen = lines(title)
    owner = short_owner(teams) if box.what in ("", "matrix") else f"{len(members)} stages"
    return Face(
        href=f"?{urlencode(_query(members))}",
        lines=seen,
        owner=owner,
        word=word,
        icon=state,
        name=spoken(title, seen, owner),
        about=_about(box, members),
        classes=_classes(box, members, state, teams, selected),
        identity=_identity(box, members),
        several=several,
        gated=bool(box.definition.get("gate")) and not several,
        extra=_share(members) if several else "",
    )


def spoken(title: str, seen: Sequence[str], owner: str) -> str:
    """What is said has to contain what is seen, so that who speaks to a computer can name it."""
    written = " ".join(seen)
    return f"{written}, {owner}" if written == title else f"{title}: {written}, {owner}"


def _classes(box: Box, members: Sequence[Glance], state: str, teams: Sequence[str], selected: str) -> list[str]:
    definition = box.definition
    classes = ["stage", f"state-{state}", f"team-{teams[0]}" if len(teams) == 1 else "teams"]
    if len(members) == 1:
        classes += [f"kind-{definition['kind']}"] + ["gated"] * bool(definition.get("gate"))
    else:
        classes.append("several")
    classes += ["on-exit"] * bool(definition.get("on_exit"))
    return classes + ["selected"] * any(member.name == selected for member in members)


def _query(members: Sequence[Glance]) -> dict[str, str]:
    """What a click opens: the stage, or of several the one that matters most beside a list of them all."""
    if len(members) == 1:
        return {"stage": members[0].name}
    worst = min(members, key=lambda one: (_RANK[one.state], one.position))
    only = ".".join(_ranges((one.position, one.position, "") for one in members))
    return ({"only": only} if len(only) <= _LONGEST_ONLY else {}) | {"stage": worst.name}


_RANK = {state.value: rank for rank, state in enumerate(WORST)}


def _identity(box: Box, members: Sequence[Glance]) -> SafeString:
    if len(members) == 1:
        return format_html('id="stage-{}" data-asks="{}"', members[0].pk, _asks(box, members[0]))
    ranges = _ranges((one.pk, one.pk, f":{one.state}") for one in members)
    return format_html('data-members="{}"', " ".join(ranges))


def _ranges(items: Iterable[tuple[int, int, str]]) -> list[str]:
    """Neighbours as one: 3:pending 4:pending 7:failed becomes 3-4:pending 7:failed."""
    found: list[tuple[int, int, str]] = []
    for first, last, tail in sorted(items):
        if found and found[-1][1] + 1 == first and found[-1][2] == tail:
            found[-1] = (found[-1][0], last, tail)
        else:
            found.append((first, last, tail))
    return [f"{first}-{last}{tail}" if last > first else f"{first}{tail}" for first, last, tail in found]


def _asks(box: Box, stage: Glance) -> str:
    """Who is asked when it waits for an approval."""
    teams = [team["team"] for team in (box.definition.get("gate") or {}).get("teams", ())] or [stage.owner]
    return short_owner(teams)


def _shown(box: Box, members: Sequence[Glance]) -> tuple[str, str]:
    """The state that a box shows, and the word for it."""
    if len(members) == 1:
        one = members[0]
        waits_for = _asks(box, one) if one.code == Reason.APPROVAL else one.code
        return one.state, f"{one.state}: {waits_for}" if one.state == State.WAITING and waits_for else one.state
    states = [one.state for one in members]
    worst = min(states, key=lambda state: _RANK[state])
    return worst, f"{states.count(worst)} {worst}"


def _share(members: Sequence[Glance]) -> SafeString:
    ended = sum(one.state in ENDED for one in members)
    return format_html(
        '<rect class="share-of" x="20" y="{y}" width="{all}" height="3" rx="1.5"/>'
        '<rect class="share" x="20" y="{y}" width="{done}" height="3" rx="1.5"/>',
        y=HEIGHT - 7,
        all=SHARE,
        done=f"{SHARE * ended / len(members):.1f}",
    )


def short_owner(teams: Sequence[str]) -> str:
    if len(teams) > 1:
        return f"{len(teams)} teams"
    return textwrap.shorten(teams[0], OWNER_WIDTH, placeholder="…") or teams[0][:10] + "…"


def _about(box: Box, members: Sequence[Glance]) -> str:
    definition = box.definition
    teams = " and ".join(sorted({member.owner for member in members}))
    if box.what in ("chain", "group"):
        return f"{len(members)} stages of {teams}, from {members[0].name} to {members[-1].name}"
    parts = [definition["group"] if box.what else definition["name"], definition["kind"], f"team {teams}"]
    if definition.get("environment"):
        parts.append(f"in {definition['environment']}")
    if gate := definition.get("gate"):
        asked = " and ".join(f"{team['quorum']} of {team['team']}" for team in gate["teams"])
        parts.append(f"gate: {asked}")
    if definition.get("on_exit"):
        parts.append("at the end, whatever happened")
    return " · ".join(parts)


def lines(title: str) -> list[str]:
    """A title in as many lines as a box has."""
    # Names are cut like words at their hyphens, and anywhere if one is longer than a line.
    return textwrap.wrap(title, TITLE_WIDTH, max_lines=TITLE_LINES, placeholder="…") or [title[:TITLE_WIDTH]]


def _title(seen: Sequence[str]) -> SafeString:
    rows = ((24 + 15 * i, line) for i, line in enumerate(seen))
    return format_html_join(" ", '<text class="title" x="42" y="{}">{}</text>', rows)
