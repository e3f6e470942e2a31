"""Cleaning up a real docker-registry: what is shown, what is deleted, who may, and what stops it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from pipelines import runs
from pipelines.engines import registry_cleaning
from pipelines.executors.oci import Credential, RegistryClient
from pipelines.executors.rollout import release as rollout
from pipelines.executors.rollout.local.place import Place
from pipelines.executors.rollout.local.target import keep_release
from pipelines.models import DefinitionVersion, Environment, Pipeline, Release, Stage
from pipelines.states import State
from teams.models import AuditEntry
from tests.executors.publish import registries
from tests.executors.publish.registries import PASSWORD, USER, put_image
from tests.pipelines.helpers import begin

FILE = """
stages:
  - {{name: build, kind: noop, owner: dev}}
  - name: publish
    kind: publish
    owner: dev
    depends: build
    with:
      artifacts: [build]
      registry: "{address}"
      repository: shop
      secrets: {{username: user, password: password}}
"""
LONG_AGO = timedelta(days=100)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.Running]:
    if not registries.installed():
        pytest.skip(registries.MISSING)
    with registries.serve(tmp_path_factory.mktemp("registry")) as found:
        yield found


class Shop:
    """A pipeline that has published images in runs long ago. Each test has a repository of its own."""

    def __init__(self, pipeline: Pipeline, running: registries.Running, repository: str) -> None:
        self.pipeline, self.running, self.repository = pipeline, running, repository
        self.production = Environment.objects.create(pipeline=pipeline, name="production", owner="ops")

    def publish(self, name: str, *, ended: bool = True) -> tuple[str, Any]:
        """Publish an image in a run of its own; returns REPOSITORY@DIGEST and the run."""
        tag = f"{registries.digest_of(name.encode())[7:19]}-{0:012x}"
        digest, _ = put_image(self.running, self.repository, tag, name.encode() * 100, config=name.encode())
        run = begin(self.pipeline, FILE.format(address=self.running.address))
        reference = f"{self.running.address}/{self.repository}@{digest}"
        meta = {"artifacts": {"build": digest}, "images": {"backend": reference}, "commit": run.commit, "number": 1}
        made = {"name": "publish", "kind": "release", "digest": "sha256:" + "0" * 64, "size": 1, "meta": meta}
        then = timezone.now() - LONG_AGO
        stages = Stage.objects.filter(run=run, name="publish")
        stages.update(artifacts=[made], state=State.SUCCEEDED, ended_at=then)
        if ended:
            type(run).objects.filter(pk=run.pk).update(state="succeeded", ended_at=then)
        return f"{self.repository}@{digest}", run

    def roll_out(self, name: str, run: Any, **changes: Any) -> Release:
        return Release.objects.create(
            environment=self.production, name=name, run=run, commit="c" * 40, data={"meta": {}}, **changes
        )

    def there(self) -> set[str]:
        with RegistryClient(self.running.registry(), Credential(USER, PASSWORD)) as client:
            found = [client.manifest(self.repository, tag) for tag in client.tags(self.repository)]
            return {f"{self.repository}@{manifest.digest}" for manifest in found if manifest}


@pytest.fixture
def shop(pipeline: Pipeline, running: registries.Running, home: Path, request: Any) -> Shop:
    folder = home / "secrets" / "dev"
    folder.mkdir(parents=True)
    for name, value in (("user", USER), ("password", PASSWORD)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(value)
    known = {"registries": {running.address: {"ca": str(running.ca)}}}
    (home / "connections.yaml").write_text(json.dumps(known))
    return Shop(pipeline, running, "shop/" + re.sub(r"[^a-z]+", "-", request.node.name).strip("-"))


def show(cast: SimpleNamespace, **changes: Any) -> Any:
    return registry_cleaning.show(**{"pipeline": "demo", "stage": "publish", "user": cast.dora} | changes)


def carry_out(cast: SimpleNamespace, plan: str, **changes: Any) -> list[str]:
    which = {"pipeline": "demo", "stage": "publish", "user": cast.dora, "plan": plan, "reason": "space"}
    return [image.name for image in registry_cleaning.carry_out(**which | changes)]


def test_a_file_of_a_branch_says_nothing_about_who_may_clean_up(cast: SimpleNamespace, shop: Shop) -> None:
    _, run = shop.publish("unused")
    text = FILE.format(address=shop.running.address)
    publish = "name: publish\n    kind: publish\n    owner: "
    theirs = begin(shop.pipeline, text.replace(f"{publish}dev", f"{publish}ops"), ref="refs/heads/theirs")
    assert Stage.objects.get(run=theirs, name="publish").owner == "ops"
    assert [row.owner for row in registry_cleaning.publishers()] == ["dev"]
    assert show(cast).digest
    with pytest.raises(runs.NotAllowed, match="Only a lead of dev"):
        show(cast, user=cast.otto)
    # Nor does an old commit, once another file counts.
    moved = begin(shop.pipeline, text.replace("repository: shop", "repository: other"), commit="b" * 40)
    DefinitionVersion.objects.filter(pk=moved.definition_id).update(accepted_at=timezone.now())
    Pipeline.objects.update(accepted=moved.definition_id)
    assert begin(shop.pipeline, text).definition_id == run.definition_id
    assert [row.repository for row in registry_cleaning.publishers()] == ["other"]


def test_what_no_release_needs_is_shown_and_then_deleted(cast: SimpleNamespace, shop: Shop) -> None:
    unused, _ = shop.publish("unused")
    used, run = shop.publish("used")
    going, _ = shop.publish("going", ended=False)
    shop.roll_out("r-1", run)
    foreign, _ = put_image(shop.running, shop.repository, "latest", b"of somebody else", config=b"other")
    plan = show(cast)
    assert [image.name for image in plan.delete] == [unused]
    assert {kept.image.name: kept.reasons for kept in plan.keep} == {
        used: ("release r-1 of demo/production",),
        going: ("run demo #3 goes on",),
        f"{shop.repository}@{foreign}": ("this portal did not publish it", "somebody named it latest"),
    }
    assert shop.there() == {unused, used, going, f"{shop.repository}@{foreign}"}, "shown only"

    assert carry_out(cast, plan.digest) == [unused]
    assert shop.there() == {used, going, f"{shop.repository}@{foreign}"}
    entries = AuditEntry.objects.filter(target=f"registry:{shop.running.address}").order_by("id")
    assert [(entry.actor, entry.action) for entry in entries] == [
        ("dora", "clean-registry"), ("dora", "deleted-image"),
    ]  # fmt: skip
    assert (entries[0].reason, entries[0].data["plan"], entries[0].data["images"]) == ("space", plan.digest, [unused])
    assert entries[1].data["image"] == unused
    assert show(cast).delete == ()


def test_the_last_releases_the_verified_one_and_those_gone_back_to_stay(cast: SimpleNamespace, shop: Shop) -> None:
    names = {}
    for number in range(4):
        names[number], run = shop.publish(f"n{number}")
        shop.roll_out(f"r-{number}", run, verified_at=timezone.now() if number == 1 else None)
    back = begin(shop.pipeline, FILE.format(address=shop.running.address))
    type(back).objects.filter(pk=back.pk).update(ended_at=timezone.now())
    plan = show(cast, keep=1)
    assert {image.name for image in plan.delete} == {names[0], names[2]}
    shop.roll_out("r-0", back)  # gone back to: of a run that published nothing
    assert {image.name for image in show(cast, keep=1).delete} == {names[2], names[3]}


def test_what_the_environment_can_go_back_to_stays(cast: SimpleNamespace, shop: Shop, home: Path) -> None:
    name, run = shop.publish("kept")
    other, later = shop.publish("later")
    shop.roll_out("r-kept", run)
    shop.roll_out("r-later", later)
    assert {image.name for image in show(cast, keep=1).delete} == {name}
    keep_release(Place(home, "production"), rollout.Release("r-kept", {}))
    assert show(cast, keep=1).delete == ()
    assert shop.there() == {name, other}


def test_nothing_is_deleted_while_an_environment_cannot_say_what_it_keeps(
    cast: SimpleNamespace, shop: Shop, home: Path
) -> None:
    name, _ = shop.publish("one")
    plan = show(cast)
    entry = {"name": "main", "cluster": {"server": "https://127.0.0.1:1"}}
    used = {"name": "main", "context": {"cluster": "main", "user": "main"}}
    users = [{"name": "main", "user": {"token": "none"}}]
    kubeconfig = {"clusters": [entry], "contexts": [used], "users": users, "current-context": "main"}
    (home / "away.kubeconfig").write_text(json.dumps(kubeconfig))
    known = json.loads((home / "connections.yaml").read_text())
    place = {"places": [{"cluster": "main", "namespace": "shop"}]}
    known |= {"clusters": {"main": {"kubeconfig": "away.kubeconfig"}}, "environments": {"production": place}}
    (home / "connections.yaml").write_text(json.dumps(known))
    with pytest.raises(runs.Conflict, match="cannot be found out, so nothing is deleted"):
        show(cast)
    with pytest.raises(runs.Conflict, match="cannot be found out, so nothing is deleted"):
        carry_out(cast, plan.digest)
    assert shop.there() == {name}


def test_recent_images_stay(cast: SimpleNamespace, shop: Shop) -> None:
    name, _ = shop.publish("recent")
    assert [image.name for image in show(cast).delete] == [name]
    assert show(cast, days=101).delete == ()


def test_another_plan_than_the_one_shown_is_refused(cast: SimpleNamespace, shop: Shop) -> None:
    name, run = shop.publish("one")
    plan = show(cast)
    shop.roll_out("r-1", run)
    with pytest.raises(runs.Conflict, match="nothing was deleted"):
        carry_out(cast, plan.digest)
    assert shop.there() == {name}


def test_what_is_needed_meanwhile_stops_it(cast: SimpleNamespace, shop: Shop) -> None:
    _, first_run = shop.publish("a")
    _, second_run = shop.publish("b")
    plan = show(cast)
    deleting = registry_cleaning.carry_out(
        pipeline="demo", stage="publish", user=cast.dora, plan=plan.digest, reason="space"
    )
    gone = next(deleting).name
    left = next(image.name for image in plan.delete if image.name != gone)
    shop.roll_out("r-1", first_run)
    shop.roll_out("r-2", second_run)
    with pytest.raises(runs.Conflict, match=f"{left} is needed by now: release r-"):
        next(deleting)
    assert shop.there() == {left}
    assert [need.name for need in show(cast).missing] == [gone]


def test_nothing_is_deleted_while_a_stage_publishes(cast: SimpleNamespace, shop: Shop) -> None:
    name, _ = shop.publish("one")
    plan = show(cast)
    busy = begin(shop.pipeline, FILE.format(address=shop.running.address))
    Stage.objects.filter(run=busy, name="publish").update(state=State.RUNNING)
    with pytest.raises(runs.Conflict, match=r"#2 publish is publishing to .* right now"):
        carry_out(cast, plan.digest)
    assert shop.there() == {name}


@pytest.mark.parametrize("who", ["ann", "victor", "otto", "pia", "eve", "root"])
def test_only_leads_of_the_publishing_team_may(cast: SimpleNamespace, shop: Shop, who: str) -> None:
    name, _ = shop.publish("one")
    plan = show(cast)
    for call in (lambda user: show(cast, user=user), lambda user: carry_out(cast, plan.digest, user=user)):
        with pytest.raises(runs.NotAllowed):
            call(getattr(cast, who))
    assert shop.there() == {name}
    assert AuditEntry.objects.filter(actor=who, action="clean-registry", allowed=False).count() == 2


def test_a_reason_is_needed(cast: SimpleNamespace, shop: Shop) -> None:
    shop.publish("one")
    with pytest.raises(runs.Conflict, match="Say why"):
        carry_out(cast, show(cast).digest, reason=" ")


def test_the_command_shows_and_then_does_it(cast: SimpleNamespace, shop: Shop) -> None:
    name, _ = shop.publish("one")
    out = io.StringIO()
    call_command("registry_retention", "demo", "--as", "dora", stdout=out)
    assert f"delete  {name}" in out.getvalue()
    assert PASSWORD not in out.getvalue()
    (digest,) = re.findall(r"--apply (sha256:[0-9a-f]{64})", out.getvalue())
    assert shop.there() == {name}
    out = io.StringIO()
    call_command("registry_retention", "demo", "--as", "dora", "--apply", digest, "--reason", "space", stdout=out)
    assert f"deleted {name}\n1 images are deleted" in out.getvalue()
    assert shop.there() == set()
    out = io.StringIO()
    call_command("registry_retention", "demo", "--as", "dora", "--json", stdout=out)
    assert json.loads(out.getvalue())["delete"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--as", "nobody"], "There is no user 'nobody'"),
        (["demo", "--as", "dora", "--stage", "other"], "No run of 'demo' has a stage 'other' that publishes images"),
        (["demo", "--as", "ann"], "Only a lead of dev"),
    ],
)
def test_the_command_says_what_is_wrong(cast: SimpleNamespace, shop: Shop, arguments: list[str], words: str) -> None:
    shop.publish("one")
    with pytest.raises(CommandError, match=words):
        call_command("registry_retention", *arguments)
