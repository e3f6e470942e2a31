"""Ansible's events, folded: without Ansible."""

from __future__ import annotations

import pytest

from pipelines.executors.ansible.changes import LONGEST_DIFF, changes_of, ordered
from pipelines.executors.ansible.order import Order
from pipelines.executors.ansible.report import Report
from pipelines.executors.base import Artifact, PlanError, StageSpec

TREE = Artifact("source", "workspace", "sha256:" + "0" * 64)


def event(kind, stdout="", **data):
    return {"event": kind, "stdout": stdout, "event_data": data}


def order(**with_):
    stage = StageSpec(
        run=1,
        pipeline="shop",
        stage="configure",
        kind="ansible",
        owner="platform",
        commit="c" * 40,
        environment="staging",
        with_=with_,
        artifacts={"source": TREE},
    )
    return Order.of(stage)


def test_a_report_counts_and_tells_as_ansible_does():
    report = Report()
    log = "".join(
        report.add(each)
        for each in (
            event("playbook_on_play_start", play="Configure"),
            event("playbook_on_task_start", task="Write", role="access", task_uuid="1"),
            event("runner_on_ok", task="Write", role="access", host="a", res={"changed": True}),
            event("runner_on_failed", task="Write", role="access", host="b", res={"msg": "no room"}),
            event("runner_on_skipped", task="Write", role="access", host="c", res={}),
        )
    )
    assert log == ("PLAY Configure\nTASK 1 access : Write\n  changed a\n  failed b: no room\n  skipped c\n")
    assert report.counts["a"] == {"ok": 1, "changed": 1, "failed": 0, "unreachable": 0, "skipped": 0}
    assert [str(failure) for failure in report.failures] == ["b, task “access : Write”: no room"]


def test_a_rescued_failure_is_none():
    report = Report()
    report.add(event("runner_on_failed", task="Try", host="a", res={"msg": "no"}))
    report.add(event("playbook_on_stats", processed={"a": 1}, ok={"a": 2}, rescued={"a": 1}))
    assert report.failures == []
    assert report.counts["a"]["ok"] == 2


def test_a_censored_result_says_only_that_it_changed_something():
    report = Report()
    censored = {"censored": "the output has been hidden"}
    line = report.add(event("runner_on_ok", "changed: [a]", task="Key", host="a", res=censored))
    assert line == "  changed a: hidden by no_log\n"
    assert ordered(report.found, [])[0].after == "changed, hidden by no_log"


def test_changes_do_not_depend_on_who_answered_first():
    def found(*hosts):
        report = Report()
        report.add(event("playbook_on_task_start", task="Write", task_uuid="1"))
        for host in hosts:
            report.add(event("runner_on_ok", task="Write", task_uuid="1", host=host, res={"changed": True}))
        return ordered(report.found, [])

    assert found("a", "b", "c") == found("c", "a", "b")


def test_a_diff_names_the_target_and_no_temporary_file():
    result = {
        "changed": True,
        "dest": "/srv/portal/environments/staging/access.json",
        "diff": [{"before": "old\n", "after": "new\n", "after_header": "/tmp/ansible-local-77/x.j2"}],
    }
    (change,) = ordered(changes_of(1, "shop-1", "Write", result), ["/srv/portal"])
    assert change.title == "shop-1: Write"
    assert change.diff == (
        "--- environments/staging/access.json (now)\n+++ environments/staging/access.json (after)\n"
        "@@ -1 +1 @@\n-old\n+new\n"
    )


def test_a_loop_gives_a_change_for_each_item_that_changes():
    result = {
        "changed": True,
        "results": [
            {"changed": True, "item": "one"},
            {"changed": False, "item": "two"},
            {"changed": True, "item": {"name": "three"}},
        ],
    }
    titles = [found.change.title for found in changes_of(1, "a", "Write", result)]
    assert titles == ["a: Write (one)", 'a: Write ({"name": "three"})']


def test_a_long_diff_is_cut_and_still_tells_changes_apart():
    def diff(end):
        parts = [{"before": "", "after": "x\n" * LONGEST_DIFF + end}]
        (found,) = changes_of(1, "a", "Write", {"changed": True, "diff": parts})
        return found.change.diff

    assert len(diff("1")) < LONGEST_DIFF + 200
    assert diff("1") != diff("2")


def test_a_task_that_cannot_be_checked_is_shown():
    report = Report()
    message = "Command would have run if not in check mode"
    report.add(event("runner_on_skipped", task="Migrate", host="a", res={"msg": message, "skipped": True}))
    assert ordered(report.found, [])[0].after == "would run; what it changes cannot be foreseen"


def test_an_order_has_defaults_for_its_environment():
    found = order()
    assert (found.playbook, found.inventory) == ("playbooks/site.yml", "playbooks/inventories/staging")
    assert found.workspace == TREE


def test_a_retry_is_limited_to_what_was_left_over():
    assert order(limit="shop", _retry={"limit": ["b", "c"]}).hosts == "b,c"
    assert order(limit=["shop", "!b"]).hosts == "shop,!b"


@pytest.mark.parametrize(
    ("with_", "words"),
    [
        ({"playbok": "x"}, "unknown keys playbok"),
        ({"playbook": "../site.yml"}, "path inside the repository"),
        ({"playbook": "-e@/etc/passwd"}, "path inside the repository"),
        ({"inventory": "/etc/ansible/hosts"}, "path inside the repository"),
        ({"variables": {"burger_run": 1}}, "portal uses itself"),
        ({"variables": ["a"]}, "map names to values"),
        ({"secrets": {"key": "ref"}}, "capital letters"),
        ({"secrets": {"KEY": 1}}, "names to references"),
        ({"limit": "--become"}, "separated by commas"),
        ({"limit": "@/etc/passwd"}, "separated by commas"),
        ({"workspace": "other"}, "other"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(with_, words):
    with pytest.raises(PlanError, match=words):
        order(**with_)
