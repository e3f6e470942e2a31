"""What a run says about itself, case by case."""

from __future__ import annotations

import pytest

from pipelines.sentences import Now, for_long, what_happens_now


def gate(**changes):
    facts = {"title": "Canary", "state": "waiting", "code": "approval", "seconds": 250, "asked": {"Ops": 1}}
    return Now(**{**facts, **changes})


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"state": "waiting", "stages": [gate()]}, "Waiting 4 min for Ops to approve “Canary”."),
        (
            {"state": "waiting", "stages": [gate(asked={"Ops": 1, "Platform": 1}, have={"Platform": 1})]},
            "Waiting 4 min for Ops to approve “Canary” (1 of 2).",
        ),
        (
            {"state": "waiting", "stages": [gate(verdict="You pushed this commit, so you cannot.")]},
            "Waiting 4 min for Ops to approve “Canary”. You pushed this commit, so you cannot.",
        ),
        (
            {"state": "running", "stages": [gate(), Now("Lint", "running", seconds=3)]},
            "Waiting 4 min for Ops to approve “Canary”. Meanwhile “Lint” runs.",
        ),
        (
            {"state": "waiting", "stages": [gate(paused=True, reason="the verdict is inconclusive")]},
            "Waiting 4 min for Ops to let “Canary” go on. It paused: the verdict is inconclusive.",
        ),
        (
            {"state": "waiting", "stages": [gate(), gate(title="B"), gate(title="C")]},
            "Waiting 4 min for Ops to approve “Canary”. 2 other stages wait as well.",
        ),
        (
            {"state": "running", "stages": [Now("Test", "running", seconds=40)]},
            "“Test” has been running for 40 s.",
        ),
        (
            {"state": "running", "stages": [Now(x, "running", seconds=9) for x in ("A", "B", "C", "D")]},
            "“A”, “B” and 2 other stages have been running for 9 s.",
        ),
        (
            {"state": "running", "stages": [Now("Ship", "running", "plan", seconds=1)]},
            "The plan of “Ship” is being made.",
        ),
        (
            {
                "state": "waiting",
                "stages": [Now("Ship", "waiting", "lock", "run #3 holds it", seconds=61)],
            },
            "“Ship” has waited 1 min. Run #3 holds it.",
        ),
        (
            {"state": "running", "stages": [Now("Ship", "unknown", "lost", seconds=8)]},
            "Contact with “Ship” was lost 8 s ago; a worker is finding out what became of it.",
        ),
        (
            {"state": "waiting", "stages": [Now("Ship", "unknown", "person", "the router is gone", owner="Ops")]},
            "Nobody knows what became of “Ship”. Ops has to look, then retry it. The router is gone.",
        ),
        ({"state": "running", "stages": [Now("Build", "queued")]}, "“Build” waits for a free worker."),
        (
            {
                "state": "running",
                "stages": [Now("Build", "queued", "retry", "attempt 1 error: no disk")],
            },
            "“Build” will be tried again: attempt 1 error: no disk.",
        ),
        (
            {
                "state": "running",
                "stages": [Now("Ship", "queued", "plan", "error: no route; next one in 5 s")],
            },
            "“Ship” will be tried again: error: no route; next one in 5 s.",
        ),
        (
            {"state": "running", "stages": [Now("Ship", "queued", "plan", "its plan is being made")]},
            "“Ship” waits for a free worker.",
        ),
        (
            {"state": "succeeded", "elapsed": 247, "stages": [Now("A", "succeeded"), Now("B", "skipped")]},
            "All done: 1 stage succeeded in 4 min.",
        ),
        (
            {"state": "failed", "stages": [Now("Test", "failed", reason="2 tests failed\nmore"), Now("B", "error")]},
            "Test failed: 2 tests failed. 1 other stage did not succeed either.",
        ),
        (
            {"state": "rejected", "stages": [Now("Ship", "rejected", reason="olga rejected it for ops: not today")]},
            "Ship was rejected: olga rejected it for ops: not today.",
        ),
        ({"state": "error", "reason": "line 3: unknown team\n..."}, "Line 3: unknown team."),
        ({"state": "canceled", "reason": "superseded by run #9"}, "Superseded by run #9."),
        (
            {"state": "running", "stopping": "cancel", "reason": "ann canceled it", "stages": [Now("A", "running")]},
            "It is being stopped: ann canceled it. 1 stage is still ending.",
        ),
        ({"state": "running", "stages": [Now("A", "pending")]}, "It is about to go on."),
    ],
)
def test_one_sentence_says_what_happens(facts, sentence):
    assert what_happens_now(**facts) == sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (3900, "1 h 5 min"), (90_000, "1 d")],
)
def test_durations_are_said_as_people_do(seconds, words):
    assert for_long(seconds) == words
