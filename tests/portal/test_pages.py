"""Every page, for every kind of person; what is offered to whom; what forms do, with htmx and without."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from pipelines import runs
from pipelines.models import Approval, DefinitionVersion, Delivery, Release, Stage
from teams.models import AuditEntry
from tests.pipelines.helpers import begin, stage, states

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
EVERYONE = ["ann", "dora", "victor", "olga", "otto", "pete", "pia", "root"]


def addresses(run):
    ship = stage(run, "ship")
    version = DefinitionVersion.objects.get()
    where = ["demo", run.number]
    return [
        reverse("portal:inbox"),
        reverse("portal:inbox") + f"?stage={ship.pk}",
        reverse("portal:inbox-list"),
        reverse("portal:inbox-question", args=[ship.pk]),
        reverse("portal:runs"),
        reverse("portal:runs") + "?pipeline=demo&state=waiting&mine=1",
        reverse("portal:run", args=where),
        *(
            reverse("portal:run", args=where) + f"?stage=ship&tab={tab}"
            for tab in ("plan", "log", "attempts", "decisions")
        ),
        reverse("portal:run-header", args=where),
        reverse("portal:stage-list", args=where),
        *(
            reverse(f"portal:{name}", args=[*where, "ship"])
            for name in ("stage", "stage-head", "stage-body", "stage-log")
        ),
        reverse("portal:stage-log-text", args=[*where, "build"]),
        reverse("portal:environments"),
        reverse("portal:environment", args=["demo", "production"]),
        reverse("portal:environment-now", args=["demo", "production"]),
        reverse("portal:pipelines"),
        reverse("portal:pipeline", args=["demo"]),
        reverse("portal:definition", args=["demo", version.digest.removeprefix("sha256:")]),
        reverse("portal:teams"),
        reverse("portal:team-colors"),
        reverse("portal:audit") + "?target=run:&actor=ann",
        reverse("portal:tokens"),
    ]


def act(client, run, action, name="ship", **data):
    htmx = data.pop("htmx", False)
    address = reverse("portal:stage-action", args=["demo", run.number, name, action])
    return client.post(address, data, headers=HTMX if htmx else {})


@pytest.mark.parametrize("person", EVERYONE)
def test_every_page_renders_for_every_teammate(sign_in, waiting, person):
    client = sign_in(person)
    for address in addresses(waiting):
        assert client.get(address).status_code == 200, address


def test_outsiders_see_nothing_but_the_way_out(sign_in, waiting):
    client = sign_in("eve")
    for address in addresses(waiting):
        answer = client.get(address)
        assert answer.status_code == 403, address
        assert b"Sell more" not in answer.content
    assert "You are in no team." in answer.text
    assert "Sign out" in answer.text


def test_strangers_are_asked_to_sign_in(client, waiting):
    for address in addresses(waiting):
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/sign-in?next=")


def test_a_fragment_sends_who_was_signed_out_to_the_door(client, waiting):
    answer = client.get(reverse("portal:inbox-list"), headers=HTMX | {"HX-Current-URL": "http://testserver/?stage=1"})
    assert answer.status_code == 401
    assert answer["HX-Redirect"] == "/sign-in?next=%2F%3Fstage%3D1"


def test_no_page_holds_a_script_or_a_style(sign_in, waiting):
    client = sign_in("olga")
    for address in addresses(waiting):
        page = client.get(address).content.decode()
        assert "<style" not in page, address
        assert " style=" not in page, address
        assert " onclick=" not in page, address
        assert "<script>" not in page, address


def test_signing_in_leads_back_and_never_away(cast, client):
    cast.ann.set_password("a-long-password")
    cast.ann.save()
    fields = {"username": "ann", "password": "a-long-password"}
    assert client.post("/sign-in", fields | {"next": "/runs"})["Location"] == "/runs"
    assert Client().post("/sign-in", fields | {"next": "https://evil.example/"})["Location"] == "/"


def test_guessing_passwords_is_slowed_down_for_that_name_alone(cast, client):
    for name in ("ann", "olga"):
        getattr(cast, name).set_password("a-long-password")
        getattr(cast, name).save()
    wrong = {"username": "ann", "password": "no"}
    assert "do not belong together" in client.post("/sign-in", wrong).text
    for _ in range(10):
        last = client.post("/sign-in", wrong)
    assert "Too many attempts" in last.text
    assert "Too many attempts" in client.post("/sign-in", wrong | {"password": "a-long-password"}).text
    assert client.post("/sign-in", {"username": "olga", "password": "a-long-password"}).status_code == 302
    tried = AuditEntry.objects.filter(action="sign-in", target="user:ann", allowed=False)
    assert [entry.reason for entry in tried.order_by("pk")] == ["wrong password"] * 9 + [
        "wrong password; refused for 5 minutes from now on"
    ]
    client.post("/sign-in", {"username": "a-password-typed-as-name", "password": "no"})
    assert AuditEntry.objects.filter(action="sign-in").count() == 10


# --- the inbox


def test_the_inbox_shows_what_waits_for_me_and_what_i_wait_for(sign_in, waiting):
    mine = sign_in("olga").get("/").text
    assert "Waits for you" in mine
    assert "holds up 1 stage and 2 people" in " ".join(mine.split())
    theirs = sign_in("ann").get("/").text
    assert "Nothing waits for you" in theirs
    assert "You wait for" in theirs
    assert "git push origin main" in theirs


def test_the_inbox_puts_first_what_blocks_most(sign_in, pipeline, cast, working):
    short = "stages: [{name: only, title: Little, kind: gate, owner: ops, gate: {teams: {ops: 1}}}]"
    begin(pipeline, short, requested_by=cast.ann)
    long = """
    stages:
      - {name: only, title: Blocker, kind: gate, owner: ops, gate: {teams: {ops: 1}}}
      - {name: next, kind: noop, owner: platform, needs: [only]}
    """
    begin(pipeline, long, requested_by=cast.ann)
    working()
    page = sign_in("olga").get("/").text
    assert page.index("Blocker") < page.index("Little")


def test_a_long_inbox_lists_what_blocks_most_and_all_when_asked(sign_in, pipeline, cast, working):
    gates = "\n".join(f"  - {{name: g{i}, kind: gate, owner: ops, gate: {{teams: {{ops: 1}}}}}}" for i in range(60))
    begin(pipeline, f"stages:\n{gates}\n", requested_by=cast.ann)
    working()
    listed = reverse("portal:inbox-list")
    for name, few in (("olga", 50), ("ann", 10)):
        client = sign_in(name)
        rows = client.get(listed).text
        assert len(set(re.findall(r"[?]stage=\w+", rows))) == few
        assert "Show all 60" in rows
        rows = client.get(f"{listed}?all").text
        assert len(set(re.findall(r"[?]stage=\w+", rows))) == 60
        assert "Show all" not in rows
        assert f'"{listed}?all"' in client.get("/?all").text


def test_an_answered_question_leaves_my_inbox(sign_in, waiting, cast):
    ship = stage(waiting, "ship")
    runs.approve(stage=ship.pk, user=cast.olga, digest=ship.plan_digest)
    assert "Nothing waits for you" in sign_in("olga").get("/").text
    assert "Waits for you" in sign_in("pete").get("/").text
    # The other member of ops has nothing to add either.
    assert "Nothing waits for you" in sign_in("otto").get("/").text


# --- what is offered


@pytest.mark.parametrize(
    ("person", "sentence", "approve", "reject"),
    [
        ("olga", "You can approve it.", True, True),
        ("ann", "Only members of ops or platform may approve this stage.", False, False),
        ("root", "Only members of ops or platform may approve this stage.", False, False),
    ],
)
def test_the_decision_is_offered_to_whom_it_belongs(sign_in, waiting, person, sentence, approve, reject):
    page = sign_in(person).get(reverse("portal:run", args=["demo", waiting.number])).text
    assert sentence in page
    assert ("data-approve" in page) == approve
    assert ("data-reject" in page) == reject
    assert ("Approve and let the run go on" in page) == approve


def test_who_pushed_may_only_reject(sign_in, pipeline, cast, working):
    run = begin(
        pipeline, "stages: [{name: ship, kind: gate, owner: ops, gate: {teams: {ops: 1}}}]", requested_by=cast.olga
    )
    working()
    page = sign_in("olga").get(reverse("portal:run", args=["demo", run.number])).text
    assert "You pushed this commit, so you cannot." in page
    assert "data-approve" not in page
    assert "data-reject" in page


# --- forms


@pytest.mark.parametrize("htmx", [False, True])
def test_two_teams_approve_and_the_run_goes_on(sign_in, waiting, working, htmx):
    digest = stage(waiting, "ship").plan_digest
    for person in ("olga", "pete"):
        answer = act(sign_in(person), waiting, "approve", digest=digest, htmx=htmx)
        assert answer.status_code == (200 if htmx else 302)
    if htmx:
        assert "You approved “Ship it”." in answer.text
        assert "changed" in answer["HX-Trigger"]
        assert "<html" not in answer.text
    else:
        assert answer["Location"] == f"/runs/demo/{waiting.number}?stage=ship"
    working()
    assert set(states(waiting).values()) == {"succeeded"}


def test_deciding_in_the_inbox_stays_in_the_inbox(sign_in, waiting):
    digest = stage(waiting, "ship").plan_digest
    fields = {"digest": digest, "from": "inbox"}
    assert act(sign_in("olga"), waiting, "approve", **fields)["Location"] == "/"
    answer = act(sign_in("pete"), waiting, "approve", **fields, htmx=True)
    assert 'id="question-title"' in answer.text
    assert "stage-head" not in answer.text


@pytest.mark.parametrize("htmx", [False, True])
def test_another_plan_than_the_one_that_was_read_is_not_approved(sign_in, waiting, htmx):
    client = sign_in("olga")
    page = client.get(reverse("portal:run", args=["demo", waiting.number])).text
    seen = page.split('name="seen" value="')[1].split('"')[0]
    old = stage(waiting, "ship")
    new = old.plan | {"changes": [{"title": "replicas", "before": "2", "after": "3", "diff": ""}]}
    Stage.objects.filter(pk=old.pk).update(plan=new, plan_digest="sha256:" + "ab" * 32)
    answer = act(client, waiting, "approve", digest=old.plan_digest, seen=seen, htmx=htmx)
    assert answer.status_code == 409
    assert "The plan has changed" in answer.text
    if htmx:
        assert "What changed in the plan" in answer.text
        assert "2 → 3" in answer.text
    assert not Approval.objects.exists()


def test_a_plan_goes_stale_while_it_is_read(sign_in, waiting):
    client = sign_in("olga")
    address = reverse("portal:stage-changed", args=["demo", waiting.number, "ship"])
    ship = stage(waiting, "ship")
    assert client.post(address, {"digest": ship.plan_digest}).status_code == 204
    answer = client.post(address, {"digest": "sha256:" + "00" * 32, "seen": "not a token"})
    assert "The plan changed while you were reading." in answer.text
    act(client, waiting, "reject", digest=ship.plan_digest, reason="no")
    answer = client.post(address, {"digest": ship.plan_digest})
    assert (answer.status_code, "Nobody is asked about this plan any more" in answer.text) == (410, True)


def test_rejecting_asks_for_a_reason(sign_in, waiting):
    client, digest = sign_in("olga"), stage(waiting, "ship").plan_digest
    answer = act(client, waiting, "reject", digest=digest, htmx=True)
    assert answer.status_code == 409
    assert "Say why you reject it" in answer.text
    act(client, waiting, "reject", digest=digest, reason="not <b>today</b>", htmx=True)
    page = client.get(reverse("portal:run", args=["demo", waiting.number]) + "?stage=ship&tab=decisions").text
    assert "not &lt;b&gt;today&lt;/b&gt;" in page
    assert states(waiting)["ship"] == "rejected"


@pytest.mark.parametrize(("action", "person"), [("retry", "ann"), ("skip", "olga"), ("approve", "victor")])
def test_what_is_not_allowed_is_refused_in_words(sign_in, waiting, action, person):
    name = "build" if action == "skip" else "ship"
    answer = act(sign_in(person), waiting, action, name=name, digest="", reason="please", htmx=True)
    assert answer.status_code == 403
    assert "Only members of" in answer.text


def test_a_form_needs_its_token(waiting, cast):
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.olga)
    answer = act(client, waiting, "approve", digest=stage(waiting, "ship").plan_digest)
    assert answer.status_code == 403
    assert "Nothing was sent" in answer.text
    assert not Approval.objects.exists()


def test_a_run_is_canceled_with_a_reason_and_retried(sign_in, waiting, working):
    client = sign_in("ann")
    client.post(reverse("portal:run-action", args=["demo", waiting.number, "cancel"]), {"reason": "wrong branch"})
    working()
    page = client.get(reverse("portal:run", args=["demo", waiting.number])).text
    assert "ann canceled it: wrong branch" in page.lower()
    assert "Run again" in page
    again = client.post(reverse("portal:run-action", args=["demo", waiting.number, "cancel"]))
    assert again.status_code == 409
    assert "has ended already" in again.text
    assert client.post(reverse("portal:run-action", args=["demo", waiting.number, "rerun"])).status_code == 302


def test_a_reason_that_is_missing_or_too_long_stops_no_run(sign_in, waiting):
    for action, reason, said in (("terminate", " ", "Say why"), ("cancel", "x" * 2001, "2,000 characters")):
        address = reverse("portal:run-action", args=["demo", waiting.number, action])
        answer = sign_in("pete").post(address, {"reason": reason})
        assert (answer.status_code, said in answer.text) == (409, True), action
    waiting.refresh_from_db()
    assert waiting.stopping == ""


def test_rolling_back_names_a_release_of_this_environment(sign_in, waiting, cast):
    environment = waiting.pipeline.environments.get()
    release = Release.objects.create(environment=environment, name="demo-1", run=waiting, commit=waiting.commit)
    address = reverse("portal:roll-back", args=["demo", "production"])
    assert sign_in("ann").post(address, {"release": release.pk, "reason": "slow"}).status_code == 403
    assert sign_in("olga").post(address, {"release": release.pk, "reason": " "}).status_code == 409
    assert sign_in("olga").post(address, {"release": release.pk + 1, "reason": "slow"}).status_code == 404
    assert sign_in("olga").post(address, {"release": release.pk, "reason": "slow"})["Location"] == "/runs/demo/2"


# --- secrets, tokens, problems


def test_the_webhook_secret_is_for_who_may_manage(sign_in, waiting):
    secret, address = waiting.pipeline.webhook_secret, reverse("portal:pipeline", args=["demo"])
    assert secret in sign_in("pia").get(address).text
    assert secret in sign_in("root").get(address).text
    for person in ("pete", "ann", "otto"):
        assert secret not in sign_in(person).get(address).text


def test_the_webhook_secret_is_replaced_by_who_may_manage(sign_in, waiting):
    address, old = reverse("portal:new-secret", args=["demo"]), waiting.pipeline.webhook_secret
    assert sign_in("pete").post(address).status_code == 403
    waiting.pipeline.refresh_from_db()
    assert waiting.pipeline.webhook_secret == old
    assert sign_in("pia").post(address).status_code == 302
    waiting.pipeline.refresh_from_db()
    assert waiting.pipeline.webhook_secret != old


def test_a_run_is_asked_for_with_its_parameters(sign_in, waiting):
    address = reverse("portal:start-run", args=["demo"])
    assert sign_in("victor").post(address, {"ref": "main"}).status_code == 403
    assert sign_in("ann").post(address, {"ref": "main", "commit": "nonsense"}).status_code == 400
    sign_in("ann").post(address, {"ref": "main", "parameter-soak": "5s"})
    asked = Delivery.objects.get()
    assert (asked.ref, asked.parameters, asked.requested_by.username) == ("refs/heads/main", {"soak": "5s"}, "ann")


def test_a_token_is_shown_once_and_works_until_it_is_revoked(sign_in, waiting, cast):
    client = sign_in("ann")
    made = client.post(reverse("portal:tokens"), {"expires": "7"}).text
    token = made.split('data-copy="bgr_')[1].split('"')[0]
    page = client.get(reverse("portal:tokens")).text
    assert token not in page
    digest = cast.ann.auth_token_set.get().digest
    assert sign_in("olga").post(reverse("portal:revoke-token"), {"token": digest}).status_code == 404
    client.post(reverse("portal:revoke-token"), {"token": digest})
    assert not cast.ann.auth_token_set.exists()


def test_a_wrong_address_says_what_is_missing(sign_in, waiting):
    answer = sign_in("ann").get("/runs/demo/99")
    assert answer.status_code == 404
    assert "There is no run #99 of a pipeline “demo”." in answer.text
    assert sign_in("ann").get(f"/runs/demo/{waiting.number}/explode").status_code == 404
    unknown = sign_in("ann").get("/nowhere/<b>")
    assert unknown.status_code == 404
    assert "The portal has nothing at /nowhere/&lt;b&gt;." in unknown.text
    assert "Resolver404" not in unknown.text
