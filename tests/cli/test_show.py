"""What a terminal shows of a plan of many objects."""

from __future__ import annotations

import io
import shlex

from rich.console import Console

from portal.cli.show import gate_lines, plan_view, run_view
from tests.portal.test_plan_words import WORKLOAD, change, everywhere


def shown(changes: list[dict[str, str]]) -> str:
    stage = {
        "run": "shop/6", "name": "ship", "paused": False, "warning": "", "gate": None, "digest": "sha256:" + "c" * 64,
        "plan": {"summary": "roll out 1 service", "commit": "d" * 40, "artifacts": {}, "changes": changes},
    }  # fmt: skip
    text = io.StringIO()
    Console(file=text, width=160).print(plan_view(stage))
    return text.getvalue()


def test_words_come_first_and_each_difference_once():
    text = shown([
        change("release", before="shop-4-43e443e", after="shop-6-76cb5ac"),
        *everywhere("change Deployment/backend-6c8de51e8d", WORKLOAD),
        change("delete ConfigMap/old-d217a415b5 in main/north"),
        change("change Service/web in main/south", before="kubectl set .spec.type to NodePort"),
    ])  # fmt: skip
    assert "release: shop-4-43e443e → shop-6-76cb5ac" in text
    assert "4 objects in main/north, main/south: 3 changed, 1 deleted" in text
    assert "~ changed Deployment backend\n      replicas: 2 → 4" in text
    assert "image: aaaaaaaaaaaa → bbbbbbbbbbbb" in text
    assert "- deleted ConfigMap old only in main/north" in text
    assert "takes back what others did: Service/web in main/south: kubectl set .spec.type to NodePort" in text
    assert text.count("+  replicas: 4") == 1
    assert text.index("~ changed") < text.index("+  replicas: 4")
    assert "Deployment/backend-6c8de51e8d in main/north, main/south" in text


def test_a_plan_hides_nothing_from_whoever_approves_it():
    text = shown([change("command", after="make \x1b[8mdestroy\x1b[0m test\u202e", before="\u2066x")])
    assert r"make \x1b[8mdestroy\x1b[0m test\u202e" in text
    assert r"\u2066x" in text
    assert not {"\x1b", "\u202e", "\u2066"} & set(text)


def test_subjects_and_authors_reach_no_terminal_as_they_are():
    run = {
        "run": "shop/6", "state": "failed", "subject": "a\x1b[8mb", "commit": "c" * 40, "ref": "refs/heads/x\u202e",
        "author": "Ann\x1b]0;x\x07", "trigger": "push", "stages": [], "reason": "no\n\x1b[2J", "now": "It failed.\x9b",
    }  # fmt: skip
    text = io.StringIO()
    Console(file=text, width=160).print(run_view(run))
    found = text.getvalue()
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(found)
    for part in (r"a\x1b[8mb", r"Ann\x1b]0;x\x07", r"x\u202e", r"\x1b[2J"):
        assert part in found


def test_a_value_of_several_lines_looks_like_no_line_of_the_plan():
    text = shown([change("variable BASH_ENV", after="x\ndigest sha256:0")])
    assert "variable BASH_ENV: nothing → x\n      digest sha256:0" in text


def test_a_command_to_take_over_means_what_it_shows():
    """A stage's name is anybody's, and the line goes into a shell."""
    stage = {
        "run": "shop/6", "name": "ask[a';id;']\x1b[8m", "paused": False, "summary": "go", "warning": "", "url": "/",
        "digest": "sha256:c", "gate": {"teams": [{"team": "ops", "approved": 0, "quorum": 1}]},
    }  # fmt: skip
    first, *_, last = (line.plain for line in gate_lines(stage, {}))
    assert "\x1b" not in first + last
    words = shlex.split(last.partition("approve it by")[2])
    assert words[words.index("approve") + 1] == r"shop/6/ask[a';id;']\x1b[8m"
