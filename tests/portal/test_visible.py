"""What nobody can see is shown wherever people decide by what they read."""

from __future__ import annotations

import json

import pytest

from pipelines import events
from pipelines.models import Run
from portal import ansi
from portal.live import frames
from portal.visible import hidden, in_json, in_log, in_page, visible

RLO, ISOLATE, MARK = "\u202e", "\u2066", "\u200f"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rm \x1b[8m-rf /\x1b[0m", r"rm \x1b[8m-rf /\x1b[0m"),
        ("a\x9b8mb\x7f\r", r"a\x9b8mb\x7f\x0d"),
        (f"a{RLO}b{ISOLATE}c{MARK}d", r"a\u202eb\u2066c\u200fd"),
        ("a\u200bb\u2060c\ufeffd\xade\u3164f\U000e0041", r"a\u200bb\u2060c\ufeffd\xade\u3164f\U000e0041"),
        ("a\u200db", r"a\u200db"),
        ("über 12 €\n\tنص ❤️ 👩‍💻 ⚡️ ok", "über 12 €\n\tنص ❤️ 👩‍💻 ⚡️ ok"),
    ],
)
def test_what_is_hidden_is_shown_and_nothing_else_is_touched(text, shown):
    assert visible(text) == shown
    assert bool(hidden(text)) is (shown != text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;32mok\x1b[0m", "\x1b[1;32mok\x1b[0m"),
        ("\x1b[31;8mhidden", "\x1b[31mhidden"),
        ("\x1b[30;40mx\x1b[38;5;0my\x1b[7mz", "xyz"),
        ("\x1b[2K\x1b[1Aa\rb\x07", "ab"),
        (f"a{RLO}b", r"a\u202eb"),
    ],
)
def test_a_log_may_have_colours_and_hides_nothing(text, shown):
    assert in_log(text) == shown


def test_a_log_on_a_page_turns_nothing_around():
    assert ansi.to_html(f"\x1b[31m{RLO}a\x1b[0m") == r'<span class="ansi-red">\u202ea</span>'


def test_json_means_the_same():
    said = {"subject": f"a{RLO}b\x9bc\U000e0041"}
    text = in_json(json.dumps(said, ensure_ascii=False))
    assert text.isascii()
    assert json.loads(text) == said


def test_what_people_typed_stays_in_its_form():
    page = f"<p>{RLO}a\x08</p><textarea name=text>{RLO}b</textarea>"
    assert in_page(page) == rf"<p>\u202ea\x08</p><textarea name=text>{RLO}b</textarea>"


def test_pages_show_what_subjects_and_authors_hide(sign_in, waiting: Run):
    Run.objects.filter(pk=waiting.pk).update(subject=f"harmless {RLO}lla eteled\x1b[8m", author="Ann\u2066 <a@b.c>")
    client = sign_in("olga")
    for address in ("/runs", f"/runs/{waiting.pipeline.slug}/{waiting.number}"):
        page = client.get(address).content.decode()
        assert r"harmless \u202ella eteled\x1b[8m" in page, address
        assert not {RLO, ISOLATE, "\x1b"} & set(page), address


def test_live_news_show_it_too(waiting: Run):
    written = [events.LogWritten(f"\x1b[31ma{RLO}b"), events.StageChanged("failed", reason=f"\x1b[8ma{RLO}b")]
    events.append(waiting.pk, [events.New(one) for one in written])
    batch = frames.read(waiting.pk, 0)
    assert batch is not None
    log, stage = json.loads(batch.text)["events"][-2:]
    assert log["data"]["text"] == "\x1b[31ma\\u202eb", "a page takes the colours of logs out itself"
    assert stage["data"]["reason"] == r"\x1b[8ma\u202eb"
