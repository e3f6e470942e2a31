"""A plan of many objects of clusters, in words first; what is long stays small on its page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from pipelines.models import Run, Stage
from portal import changes
from portal.views import plans

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WORKLOAD = f"""--- now
+++ then
@@ -29,10 +29,10 @@
         app: backend
-        burger-stack/content: 34e492541cdf9ac8
+        burger-stack/content: 5fb00cdcb7032805
-        burger-stack/release: shop-4-43e443e
+        burger-stack/release: shop-6-76cb5ac
@@ -50,8 +50,8 @@
-  replicas: 2
+  replicas: 4
       - env:
         - name: RELEASE
-          value: shop-4-43e443e
+          value: shop-6-76cb5ac
         envFrom:
         - configMapRef:
-            name: shop-130b3f6a2b
+            name: shop-220751c2ae
-        image: registry:5000/burger/backend@{OLD}
+        image: registry:5000/burger/backend@{NEW}
         imagePullPolicy: IfNotPresent
"""
SECRET = """--- now
+++ then
@@ -0,0 +1,8 @@
+apiVersion: v1
+data:
+  PASSWORD: (secret, content 5cec862e95)
+kind: Secret
+metadata:
+  name: shop-eca499a5c4
+  namespace: NAMESPACE
"""
CONFIGURATION = """--- now
+++ then
@@ -1,7 +1,7 @@
 apiVersion: v1
 data:
-  SHOP_NAME: Burger Stack
+  SHOP_NAME: Burger Stack and friends
 kind: ConfigMap
 metadata:
-  name: shop-130b3f6a2b
+  name: shop-220751c2ae
"""


def change(title: str, diff: str = "", before: str = "", after: str = "") -> dict[str, str]:
    return {"title": title, "before": before, "after": after, "diff": diff}


def everywhere(title: str, diff: str) -> list[dict[str, str]]:
    places = ("north", "south")
    return [change(f"{title} in main/{place}", diff.replace("NAMESPACE", place)) for place in places]


def test_the_same_change_in_several_places_is_told_once_in_words():
    words = changes.read([
        change("release", before="shop-4-43e443e", after="shop-6-76cb5ac"),
        *everywhere("change Deployment/backend-6c8de51e8d", WORKLOAD),
        *everywhere("create Secret/shop-eca499a5c4", SECRET),
        change("delete ConfigMap/shop-d217a415b5 in main/north"),
    ])  # fmt: skip
    assert [one["title"] for one in words.plain] == ["release"]
    assert words.counts == "5 objects in main/north, main/south: 2 created, 2 changed, 1 deleted"
    assert [name for name, _ in words.groups] == ["Programs", "Configuration", "Taken away"]
    backend = words.groups[0][1][0]
    assert (backend.title, backend.word, len(backend.diffs)) == ("Deployment backend", "changed", 1)
    assert [(fact.what, fact.before, fact.after) for fact in backend.facts] == [
        ("replicas", "2", "4"), ("configuration", "shop-130b3f6a2b", "shop-220751c2ae"), ("image", OLD, NEW),
    ]  # fmt: skip
    secret = words.groups[1][1][0]
    assert [(fact.what, fact.after) for fact in secret.facts] == [("PASSWORD", "hidden")]
    assert [words.where(one) for _, objects in words.groups for one in objects] == ["", "", "main/north"]


def test_new_configuration_says_which_values_are_others():
    words = changes.read(everywhere("create ConfigMap/shop-220751c2ae", CONFIGURATION))
    shop = words.groups[0][1][0]
    assert shop.word == "new version"
    assert shop.facts == [changes.Fact("SHOP_NAME", "Burger Stack", "Burger Stack and friends")]


def test_what_differs_between_places_is_shown_for_each():
    first, second = everywhere("change Deployment/backend", WORKLOAD)
    second["diff"] = second["diff"].replace("replicas: 4", "replicas: 6")
    backend = changes.read([first, second]).groups[0][1][0]
    assert [places for places, _ in backend.diffs] == [["main/north"], ["main/south"]]
    assert [fact.after for fact in backend.facts if fact.what == "replicas"] == ["4", "6"]


def test_what_is_taken_back_from_others_is_named():
    taken = change("change Service/shop in main/north", WORKLOAD, before="kubectl-edit set .spec.type to NodePort")
    words = changes.read([taken])
    assert words.overrides == ["Service/shop in main/north: kubectl-edit set .spec.type to NodePort"]


@pytest.mark.parametrize("diff", ["", "no diff at all", "-\n+\n", "@@\n-a: 1\n-a: 1\n+b\n", "+++ \n---\n"])
def test_any_text_can_be_a_difference(diff):
    words = changes.read([change(f"{verb} Deployment/x in a/b", diff) for verb in ("create", "change", "delete")])
    assert words.objects == 3


def test_a_page_holds_the_beginning_of_what_is_long():
    long = "@@ -0,0 +1 @@\n" + "".join(f"+key{number}: {number}\n" for number in range(2000))
    plan = {
        "changes": [change(f"create ConfigMap/c{number} in a/b", long + f"+own: {number}\n") for number in range(300)]
    }
    shown = plans.shown(plan)
    assert shown is not None
    assert shown.count == 300
    assert shown.left_out == 300 - plans.OBJECTS
    excerpts = [excerpt for group in shown.groups for row in group.rows for excerpt in row.excerpts]
    assert sum(excerpt.text.count("\n") + 1 for excerpt in excerpts if excerpt.text) == plans.PLAN_LINES
    assert excerpts[0].left_out == excerpts[0].lines - plans.DIFF_LINES
    assert shown.is_cut
    assert not shown.is_open


@pytest.mark.django_db
def test_the_page_of_a_large_plan_is_small_and_leads_to_the_whole(
    waiting: Run, sign_in: Callable[[str], Client]
) -> None:
    long = "@@ -0,0 +1 @@\n" + "".join(f"+key{number}: some words to make it longer\n" for number in range(1500))
    objects = [row for name in range(100) for row in everywhere(f"create ConfigMap/c{name}", f"{long}+own: {name}\n")]
    ship = Stage.objects.get(run=waiting, name="ship")
    plan: dict[str, Any] = {**(ship.plan or {}), "changes": objects}
    Stage.objects.filter(pk=ship.pk).update(plan=plan)
    address = f"/runs/demo/{waiting.number}/stages/ship"
    page = sign_in("olga").get(f"{address}?tab=plan").content.decode()
    assert "200 objects in main/north, main/south: 200 created" in page
    assert "The whole plan as text" in page
    assert len(page) < 1_000_000
    whole = sign_in("olga").get(f"{address}/plan.txt")
    assert whole["Content-Type"].startswith("text/plain")
    assert whole.content.decode().count("key1499:") == 200
    assert sign_in("olga").get(f"/runs/demo/{waiting.number}/stages/build/plan.txt").status_code == 404
