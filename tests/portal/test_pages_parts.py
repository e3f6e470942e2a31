"""The small parts that pages are made of: logs, plans, values."""

from __future__ import annotations

import pytest

from pipelines import events, selectors
from pipelines.executors.base import Change, Plan
from portal import ansi
from portal.templatetags.portal import brief, clock, diff_html, person, with_code
from portal.views import plans
from tests.pipelines.helpers import stage

PLAN = Plan(
    summary="roll out 1 service to production", commit="c" * 40, kind="rollout", stage="ship",
    changes=[Change("replicas", "2", "3"), Change("policy", diff="-a\n+b\n")],
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain <b> & co", "plain &lt;b&gt; &amp; co"),
        ("\x1b[31mno\x1b[0m yes", '<span class="ansi-red">no</span> yes'),
        ("\x1b[1;32mok\x1b[m", '<span class="ansi-bold ansi-green">ok</span>'),
        ("\x1b[38;5;196mx\x1b[0m", "x"),
        ("10 %\r50 %\r100 %\n", "100 %\n"),
        ("line\r\n", "line\n"),
        ("first\n10 %\r50 %\r\r\nlast\r", "first\n50 %\nlast"),
        # One line of megabytes must not cost minutes.
        ("x" * 3_000_000, "x" * 3_000_000),
        ("\x1b]0;title\x07\x1b[2K\x1b[1Adone", "done"),
        ("a\x00b\x08c", "abc"),
        ("\x1b[31m<script>\x1b[0m", '<span class="ansi-red">&lt;script&gt;</span>'),
    ],
)
def test_a_terminal_s_output_becomes_safe_html(text, html):
    assert ansi.to_html(text) == html


def test_the_same_plan_has_no_differences():
    assert plans.differences(plans.seen(PLAN.as_dict()), PLAN.as_dict()) == []


def test_what_is_different_in_a_plan_is_named():
    new = PLAN.as_dict()
    new["changes"] = [{"title": "replicas", "before": "2", "after": "4", "diff": ""}]
    found = {one.title: (one.before, one.after) for one in plans.differences(plans.seen(PLAN.as_dict()), new)}
    assert found["replicas"] == ("2 → 3", "2 → 4")
    assert found["policy"][1] == ""


@pytest.mark.parametrize("token", ["", "nonsense", "a:b:c"])
def test_a_made_up_token_says_nothing(token):
    assert plans.differences(token, PLAN.as_dict()) == []


def test_small_values():
    assert brief("sha256:" + "ab" * 32) == "abababababab"
    assert len(brief("x" * 500)) == 90
    assert person("Ann Lee <ann@example.com>") == "Ann Lee"
    assert [clock(s) for s in (5, 65, 3700, 200_000)] == ["5 s", "1 min 5 s", "1 h 1 min", "2 d"]
    assert '<span class="diff-add">+&lt;b&gt;\n</span>' in diff_html("+<b>")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("run `a <b>` for staging", "run <code>a &lt;b&gt;</code> for staging"),
        ("run `a` and `b`", "run <code>a</code> and <code>b</code>"),
        ("one ` alone <b>", "one ` alone &lt;b&gt;"),
        ("none", "none"),
    ],
)
def test_commands_in_a_sentence_look_like_commands(text, html):
    assert with_code(text) == html


@pytest.mark.django_db
def test_a_log_is_read_from_its_end_in_whole_lines(waiting):
    build = stage(waiting, "build")
    pieces = [f"line {i}\nhalf {i} of " for i in range(100)]
    events.append(waiting.pk, [events.New(events.LogWritten(text=one), build.pk, 1) for one in pieces])
    newest = selectors.log_of(build, lines=20)
    assert newest.older
    assert newest.chunks[-1].text.startswith("half 98 of line 99\n")
    everything, before = "", None
    while True:
        part = selectors.log_of(build, before=before, lines=20)
        everything = "".join(chunk.text for chunk in part.chunks) + everything
        before = part.older
        if before is None:
            break
    assert everything == "".join(pieces) == "".join(selectors.whole_log(build))
