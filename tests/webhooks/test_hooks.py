"""What each provider's messages become, and everything that is refused."""

from __future__ import annotations

import json
import os
import random
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from pipelines.models import Delivery
from pipelines.webhooks.limit import HOOK_LIMIT
from tests.webhooks.messages import BEFORE, COMMIT, MAKERS, NONE, Message, signature

pytestmark = pytest.mark.django_db

PROVIDERS = sorted(MAKERS)
MALFORMED = 10_000 if os.environ.get("BURGER_TORTURE") == "1" else 2_000


@pytest.fixture
def secret(pipeline: Any) -> str:
    return pipeline.webhook_secret


def send(message: Message, *, path: str = "", **headers: str) -> Any:
    return Client().post(
        path or message.path, message.body, content_type="application/json", headers=message.headers | headers
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_push_becomes_a_delivery_with_all_that_is_known(provider, secret):
    answer = send(MAKERS[provider](secret))
    assert answer.status_code == 202, answer.content
    row = Delivery.objects.get(pk=answer.json()["id"])
    assert (row.provider, row.ref, row.commit) == (provider, "refs/heads/main", COMMIT)
    assert (row.subject, row.author, row.trigger) == ("Add pickles", "Ann <ann@example.com>", "push")
    assert row.delivery.startswith(MAKERS[provider](secret).headers[ID[provider]])


ID = {
    "github": "X-GitHub-Delivery", "gitlab": "X-Gitlab-Event-UUID", "gitea": "X-Gitea-Delivery",
    "git": "X-Burger-Delivery",
}  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_same_delivery_again_is_the_same_row(provider, secret):
    message = MAKERS[provider](secret)
    first, again = send(message), send(message)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("provider", ["github", "gitea", "git"])
def test_a_captured_message_under_another_id_is_no_new_push(provider, secret):
    message = MAKERS[provider](secret)
    first = send(message)
    again = send(message, **{ID[provider]: "another-id"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize(("captured", "elsewhere"), [("github", "gitea"), ("gitea", "github")])
def test_a_captured_message_at_another_providers_address_is_no_new_push(captured, elsewhere, secret):
    """Both sign the body alone: what one of them sent has a signature that is right for the other, too."""
    message = MAKERS[captured](secret)
    first = send(message)
    theirs = signature(secret, message.body)
    headers = {
        "github": {"X-GitHub-Event": "push", "X-GitHub-Delivery": "new", "X-Hub-Signature-256": f"sha256={theirs}"},
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Delivery": "new", "X-Gitea-Signature": theirs},
    }[elsewhere]
    again = send(Message(elsewhere, message.body, headers))
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("elsewhere", ["github", "gitea"])
def test_what_plain_git_signed_means_nothing_elsewhere(elsewhere, secret):
    """It signs the time before the body, and both together are no message of the others."""
    message = MAKERS["git"](secret)
    body = message.headers["X-Burger-Timestamp"].encode() + b"." + message.body
    answer = send(MAKERS[elsewhere](secret, body=body))
    assert answer.status_code == 400, answer.content
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_tag_is_a_push_and_a_deletion_is_nothing(provider, secret):
    tag = {"event": "Tag Push Hook"} if provider == "gitlab" else {}
    assert send(MAKERS[provider](secret, ref="refs/tags/v1", **tag)).status_code == 202
    assert Delivery.objects.get().ref == "refs/tags/v1"
    gone = {"after": NONE, "head_commit": None, "checkout_sha": None, "deleted": True, "commits": []}
    answer = send(MAKERS[provider](secret, delivery="gone", **gone))
    assert (answer.status_code, "id" in answer.json()) == (202, False)
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize(("provider", "event"), [("github", "issues"), ("gitlab", "Job Hook"), ("gitea", "create")])
def test_other_events_are_taken_note_of_and_start_nothing(provider, event, secret):
    answer = send(MAKERS[provider](secret, event=event))
    assert (answer.status_code, answer.json()["detail"]) == (202, "Only pushes start runs.")
    assert not Delivery.objects.exists()


def test_plain_git_says_who_pushed_whatever_the_commit_claims(secret, cast):
    send(MAKERS["git"](secret, pusher="olga"))
    row = Delivery.objects.get()
    assert row.requested_by == cast.olga
    assert row.author == f"Ann <ann@example.com>, pushed by olga <{cast.olga.email}>"
    send(MAKERS["git"](secret, delivery="another-one", pusher="jenkins"))
    row = Delivery.objects.latest("pk")
    assert (row.requested_by, row.author) == (None, "Ann <ann@example.com>, pushed by jenkins")


@pytest.mark.parametrize(
    ("provider", "pushed"),
    [
        ("github", {"pusher": {"name": "olga", "email": "1@users.noreply.github.com"}}),
        ("gitlab", {"user_username": "olga", "user_name": "pete", "user_email": ""}),
        ("gitea", {"pusher": {"login": "olga", "full_name": "pete", "email": "olga@noreply.localhost"}}),
    ],
)
def test_whose_account_pushed_is_the_one_who_may_not_approve(provider, pushed, secret, cast, pipeline):
    """Not who the commit says wrote it, and not by a name that people give themselves."""
    forged = {"name": "pete", "email": cast.pete.email}
    head = {"id": "c0ffee0000000000000000000000000000000000", "message": "Add pickles", "author": forged}
    send(MAKERS[provider](secret, head_commit=head, **pushed))
    row = Delivery.objects.get()
    assert row.requested_by == cast.olga
    anonymous = {key: ("" if key == "user_username" else value) for key, value in pushed.items()}
    if provider != "gitlab":
        anonymous = {"pusher": {key: "pete" if "name" in key else "" for key in pushed["pusher"]}}
        anonymous["pusher"]["login" if provider == "gitea" else "name"] = "stranger"
    send(MAKERS[provider](secret, delivery="another", head_commit=head, **anonymous))
    assert Delivery.objects.latest("pk").requested_by is None


def test_github_pings(secret):
    answer = send(MAKERS["github"](secret, event="ping", body=b'{"zen": "Keep it logically awesome."}'))
    assert (answer.status_code, answer.json()["detail"]) == (200, "pong")


def test_github_may_send_a_form(secret):
    data = json.loads(MAKERS["github"](secret).body)
    body = urlencode({"payload": json.dumps(data)}).encode()
    message = MAKERS["github"](secret, body=body)
    answer = Client().post(
        message.path, body, content_type="application/x-www-form-urlencoded", headers=message.headers
    )
    assert answer.status_code == 202
    assert Delivery.objects.get().commit == COMMIT


def test_an_annotated_tag_is_its_commit(secret):
    head = {"id": BEFORE, "message": "m", "author": {"name": "Ann", "email": "ann@example.com"}}
    send(MAKERS["github"](secret, ref="refs/tags/v1", head_commit=head))
    send(MAKERS["gitlab"](secret, ref="refs/tags/v2", event="Tag Push Hook", checkout_sha=BEFORE))
    assert set(Delivery.objects.values_list("commit", flat=True)) == {BEFORE}


def test_gitlab_tells_the_refs_of_one_push_apart_and_prefers_its_idempotency_key(secret):
    for ref in ("refs/heads/a", "refs/heads/b"):
        assert send(MAKERS["gitlab"](secret, ref=ref)).status_code == 202
    for expected in (202, 200):
        assert send(MAKERS["gitlab"](secret), **{"Idempotency-Key": "f5e57acf"}).status_code == expected
    assert Delivery.objects.count() == 3


def test_whoever_pushed_the_work_of_another_is_named_too(secret):
    send(MAKERS["github"](secret, pusher={"name": "olga", "email": "olga@example.com"}))
    assert Delivery.objects.get().author == "Ann <ann@example.com>, pushed by olga <olga@example.com>"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_the_right_signature_the_answer_is_the_same_for_every_pipeline(provider, secret):
    header = {"github": "X-Hub-Signature-256", "gitlab": "X-Gitlab-Token", "gitea": "X-Gitea-Signature",
              "git": "X-Burger-Signature"}[provider]  # fmt: skip
    answers = []
    for made_with in (secret + "x", ""):
        message = MAKERS[provider](made_with)
        answers += [send(message, path=f"/hooks/{provider}/{name}") for name in ("demo", "unknown")]
    for value in ("", "sha256=", "ü" * 10, "\x00", "a" * 10_000):
        answers.append(send(MAKERS[provider](secret), **{header: value}))
    message = MAKERS[provider](secret)
    del message.headers[header]
    answers.append(send(message))
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    ("age", "stamp"), [(301, ""), (-310, ""), (0, "now"), (0, "1e9"), (0, "-5"), (0, "9" * 40), (0, "१७००००००००")]
)
def test_a_signature_of_another_time_is_worth_nothing(age, stamp, secret):
    assert send(MAKERS["git"](secret, age=age, stamp=stamp)).status_code == 401


def test_a_signature_of_another_body_is_worth_nothing(secret):
    for provider in ("github", "gitea", "git"):
        message = MAKERS[provider](secret)
        message.body = message.body.replace(COMMIT.encode(), BEFORE.encode())
        assert send(message).status_code == 401


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_missing_delivery_id_is_refused_with_its_name(provider, secret):
    message = MAKERS[provider](secret)
    for value in ("", "a b", "ü", "x" * 500):
        answer = send(message, **{ID[provider]: value})
        assert answer.status_code == 400
        assert "X-G" in answer.json()["detail"] or "X-B" in answer.json()["detail"] or "Idem" in answer.json()["detail"]
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "change",
    [
        {"ref": "--upload-pack=x"}, {"ref": "refs/heads/a..b"}, {"ref": "refs/heads/a\x00b"}, {"ref": 7}, {"ref": None},
        {"after": "main", "head_commit": None, "checkout_sha": None},
        {"after": COMMIT * 2, "head_commit": None, "checkout_sha": None},
        {"after": {"x": 1}, "head_commit": [], "checkout_sha": []},
    ],
)  # fmt: skip
def test_names_that_are_not_safe_for_git_are_refused(provider, change, secret):
    answer = send(MAKERS[provider](secret, **change))
    assert answer.status_code == 400, answer.content
    assert not Delivery.objects.exists()


def test_refs_that_are_no_branch_or_tag_start_nothing(secret):
    assert send(MAKERS["github"](secret, ref="refs/pull/1/head")).status_code == 202
    assert not Delivery.objects.exists()


def test_what_cannot_be_stored_or_shown_is_left_out(secret):
    head = {"id": COMMIT, "message": "a\x00b\x1b[31m\ud800" + "x" * 10_000, "author": {"name": "<b>" * 99, "email": 3}}
    assert send(MAKERS["github"](secret, head_commit=head, pusher=None)).status_code == 202
    row = Delivery.objects.get()
    assert row.subject.isprintable()
    assert len(row.subject) == 300
    assert "<" not in row.author


def test_other_methods_and_providers_are_refused_the_same_for_every_pipeline(secret):
    client = Client()
    for name in ("demo", "unknown"):
        assert client.get(f"/hooks/github/{name}").status_code == 405
        assert client.put(f"/hooks/github/{name}", b"{}").status_code == 405
        assert client.post(f"/hooks/svn/{name}").status_code == 404


def test_a_body_over_the_limit_is_refused_before_its_signature(secret):
    for body in (b" " * (HOOK_LIMIT + 1), b"x" * (2 * HOOK_LIMIT)):
        assert send(MAKERS["github"](secret, body=body)).status_code == 413
    padded = MAKERS["github"](secret).body.ljust(HOOK_LIMIT)
    assert send(MAKERS["github"](secret, body=padded)).status_code == 202


# --- many malformed bodies ------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, 0, -1, 1.5, "", "x", [], {}, [[]], {"id": {}}, "\x00", "\ud800", "0" * 40, "refs/heads/" + "x" * 300,
    ["a"] * 50, {"a": {"b": {"c": None}}}, "🍔", "-", "..",
]  # fmt: skip


def malformed(dice: random.Random, provider: str, secret: str) -> bytes:
    """A body that is broken in one of many ways: as bytes, as JSON, or in what it says."""
    good = bytearray(MAKERS[provider](secret).body)
    match dice.randrange(5):
        case 0:
            return dice.randbytes(dice.randrange(200))
        case 1:
            return bytes(good[: dice.randrange(len(good))])
        case 2:
            for _ in range(dice.randrange(1, 20)):
                good[dice.randrange(len(good))] = dice.randrange(256)
            return bytes(good)
        case 3:
            return dice.choice(
                [b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000, b"NaN", b"null", b'"x"', b"", b"\xef\xbb\xbf{}"]
            )
        case _:
            data = json.loads(good)
            for key in dice.sample(sorted(data), dice.randrange(1, len(data) + 1)):
                data[key] = dice.choice(VALUES)
            return json.dumps(data).encode()


def test_no_malformed_body_breaks_anything(secret):
    """All are signed rightly, so that every one of them is read."""
    dice = random.Random(20_261_123)
    client = Client(raise_request_exception=False)
    refused = 0
    for number in range(MALFORMED):
        provider = dice.choice(PROVIDERS)
        message = MAKERS[provider](secret, body=malformed(dice, provider, secret) or b" ", delivery=f"d{number}")
        kind = dice.choice(["application/json", "text/plain", "application/x-www-form-urlencoded"])
        answer = client.post(message.path, message.body, content_type=kind, headers=message.headers)
        assert answer.status_code in (200, 202, 400), (provider, message.body)
        refused += answer.status_code == 400
    assert refused > MALFORMED / 2
    # What was changed only where nobody looks is a push like any other, of a sane ref and commit.
    for ref, commit in Delivery.objects.values_list("ref", "commit"):
        assert ref.startswith("refs/")
        assert len(commit) == 40


def test_malformed_bodies_without_a_signature_are_never_read(secret):
    dice = random.Random(1)
    for provider in PROVIDERS:
        for _ in range(25):
            body = malformed(dice, provider, secret) or b" "
            headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature('wrong', body)}"}
            assert send(Message(provider, body, headers)).status_code == 401
    assert not Delivery.objects.exists()
