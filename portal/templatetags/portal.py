"""How pages show states, teams, times, digests, diffs and logs: each in one way, everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any

from django import template
from django.template.context import Context
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from pipelines import graph
from pipelines.models import Stage
from pipelines.performance.sentences import amount
from pipelines.sentences import for_long
from portal import ansi

register = template.Library()

_BAR = ("succeeded", "running", "waiting", "unknown", "failed", "error", "rejected", "skipped", "canceled", "omitted")


@register.simple_tag
def icon(name: str) -> SafeString:
    """A picture of the sprite in the page. It says nothing to a screen reader: a word stands beside it."""
    return format_html(
        '<svg class="icon" aria-hidden="true" width="16" height="16"><use href="#icon-{}"></use></svg>', name
    )


@register.simple_tag
def state(value: str, word: str = "") -> SafeString:
    return format_html('<span class="state state-{}">{}<span>{}</span></span>', value, icon(value), word or value)


@register.simple_tag
def row_state(value: str) -> SafeString:
    """The state of a row, which has the class of it itself, where live updates replace it."""
    return format_html('<span class="state">{}<span data-live-word>{}</span></span>', icon(value), value)


@register.simple_tag(takes_context=True)
def team(context: Context, slug: str) -> SafeString:
    names = context.get("team_names") or {}
    return format_html('<span class="team team-{}">{}</span>', slug, names.get(slug, slug))


@register.simple_tag
def ago(moment: datetime | None) -> SafeString | str:
    """How long ago, which ticks in the browser, or how soon; the exact time is in its title."""
    if moment is None:
        return ""
    seconds = int((timezone.now() - moment).total_seconds())
    if seconds < 0:
        return format_html('<time datetime="{}" title="{}">in {}</time>', *_stamps(moment), for_long(-seconds))
    words = "just now" if seconds < 10 else f"{_roughly(seconds)} ago"
    return format_html('<time datetime="{}" title="{}" data-relative>{}</time>', *_stamps(moment), words)


@register.filter
def with_times(text: str) -> SafeString:
    """A sentence in which moments as servers write them (RFC 3339) are shown as people say them."""
    parts = re.split(r"(?:at )?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)", text)
    return format_html_join(
        "", "{}", ((ago(datetime.fromisoformat(part)) if i % 2 else part,) for i, part in enumerate(parts))
    )


def _roughly(seconds: int) -> str:
    return f"{seconds // 3600} h" if 3600 <= seconds < 86_400 else for_long(seconds)


def _stamps(moment: datetime) -> tuple[str, str]:
    return moment.isoformat(), exact(moment)


@register.filter
def exact(moment: datetime) -> str:
    local = timezone.localtime(moment)
    return f"{date_format(local, 'j M Y, H:i:s')} {local.tzname()}"


@register.filter
def iso_exact(text: str) -> str:
    return exact(datetime.fromisoformat(text))


@register.simple_tag
def duration(start: datetime | None, end: datetime | None = None) -> SafeString | str:
    """How long something took, or has been going on, which ticks."""
    if start is None:
        return ""
    seconds = ((end or timezone.now()) - start).total_seconds()
    if end is not None:
        return format_html('<span class="figures">{}</span>', clock(seconds))
    return format_html('<span class="figures" data-since="{}">{}</span>', start.isoformat(), clock(seconds))


@register.filter
def clock(seconds: float) -> str:
    """ "12 s", "3 min 5 s", "1 h 2 min", "2 d"."""
    whole = max(0, int(seconds))
    if 60 <= whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return for_long(whole) if whole < 3600 or whole >= 86_400 else f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def spell(seconds: float | None) -> str:
    return for_long(seconds) if seconds else ""


@register.simple_tag
def short(value: str, length: int = 7) -> SafeString | str:
    """A commit or digest, short, with the whole of it on a click."""
    plain = str(value).removeprefix("sha256:")
    if not plain:
        return ""
    return format_html(
        '<button type="button" class="copy" data-copy="{}" title="{}: copy"><code>{}</code></button>',
        value, value, plain[:length],
    )  # fmt: skip


@register.filter
def shorten(text: str) -> str:
    """Text with digests cut to what tells them apart."""
    return re.sub(r"\b(?:sha256:)?([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)


@register.filter
def brief(value: str) -> str:
    """A value of a plan, short."""
    cut = shorten(value)
    return cut if len(cut) <= 90 else cut[:89] + "…"


@register.filter
def megabytes(size: int) -> str:
    """Bytes as logs and reasons say them: "83.9 MB"."""
    return f"{size / 1e6:,.1f} MB"


@register.filter
def with_code(text: str) -> SafeString:
    """Text with what stands between backticks shown as code."""
    parts = text.split("`")
    plain = len(parts) % 2 == 0  # one is not closed, so none is believed
    rows = (("<code>{}</code>" if i % 2 and not plain else "{}", part) for i, part in enumerate(parts))
    return mark_safe(("`" if plain else "").join(format_html(form, part) for form, part in rows))  # noqa: S308


@register.filter
def person(author: str) -> str:
    """ "Ann Lee <ann@example.com>" as people say it."""
    return re.sub(r"\s*<[^>]*>", "", author).strip() or author.strip("<>")


@register.filter
def branch(ref: str) -> str:
    return re.sub(r"^refs/(heads|tags)/", "", ref)


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"


@register.filter
def title_of(stage: Stage) -> str:
    return stage.definition.get("title") or stage.name


@register.filter
def label_of(stage: Stage) -> str:
    """Its title among others: with the values that tell it from the rest of its matrix."""
    return graph.title_of(stage.definition)


@register.filter
def get(mapping: Mapping[str, Any] | None, key: str) -> Any:
    return (mapping or {}).get(key)


@register.filter
def log_html(text: str) -> SafeString:
    return mark_safe(ansi.to_html(text))  # noqa: S308 it escapes all text itself


@register.filter
def diff_html(text: str) -> SafeString:
    """A unified diff, a class for each line that matters."""
    return format_html_join("", '<span class="{}">{}\n</span>', ((_line_class(one), one) for one in text.splitlines()))


def _line_class(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "diff-file"
    return {"+": "diff-add", "-": "diff-del", "@": "diff-hunk"}.get(line[:1], "diff-same")


@register.filter
def measure(value: float | None, metric: str) -> str:
    """A measured value with its unit, "" for none."""
    return amount(metric, value)


@register.filter
def short_time(moment: datetime, length: str) -> str:
    """A moment on the axis of a chart of this length."""
    return date_format(
        timezone.localtime(moment), "j M H:i" if length == "14d" else "j M" if length == "90d" else "H:i"
    )


@register.filter
def permille(share: float) -> float:
    """Per cent of a chart's width in its own units."""
    return round(share * 10, 1)


@register.simple_tag
def stage_bar(counts: Mapping[str, int]) -> SafeString:
    """How far a run is, as a bar of the states of its stages."""
    total = sum(counts.values()) or 1
    present = [(name, counts[name]) for name in _BAR if counts.get(name)]
    begins = [0, *accumulate(count for _, count in present)]
    parts = format_html_join(
        "",
        '<rect class="fill-{}" x="{}" width="{}" height="6"></rect>',
        ((name, f"{100 * x / total:.2f}", f"{100 * n / total:.2f}") for (name, n), x in zip(present, begins)),  # noqa: B905
    )
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    return format_html(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="fill-none" width="100" height="6"></rect>{}</svg>',
        f"Stages: {words}", parts,
    )  # fmt: skip


@register.simple_tag
def stage_url(stage: Stage, view: str = "stage", action: str = "") -> str:
    """The address of a stage's panel, of one of its fragments, or of something that is done to it."""
    arguments = [stage.run.pipeline.slug, stage.run.number, stage.name]
    if action:
        return reverse("portal:stage-action", args=[*arguments, action])
    return reverse(f"portal:{view}", args=arguments)


@register.simple_tag
def run_url(run: Any, view: str = "run", action: str = "") -> str:
    arguments = [run.pipeline.slug, run.number]
    if action:
        return reverse("portal:run-action", args=[*arguments, action])
    return reverse(f"portal:{view}", args=arguments)
