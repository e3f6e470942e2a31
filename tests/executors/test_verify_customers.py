"""What customers measured decides beside what probing sees, by real requests to a site."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, replace

import pytest

from pipelines.executors.base import Outcome, PlanError, Progress, Unattended, Workplace
from pipelines.executors.verify import VerifyExecutor, customers
from pipelines.performance.sketch import Sketch
from pipelines.performance.verdict import Reading
from tests.executors.test_verify import Site, spec

BUDGETS = {"lcp": {"limit": "4s", "tolerance": 1.1}, "errors": "1%"}
NEW, OLD = "shop-2-bbbbbbb", "shop-1-aaaaaaa"
MANY = 6400


@dataclass(frozen=True)
class Counts:
    requests: int = 0
    errors: int = 0
    sessions: int = 0
    orders: int = 0


class Field:
    """Customers of an environment; `views` maps a release to (median LCP, page views, errors)."""

    def __init__(self, **views):
        self.views = {OLD: (1000, MANY, 5), NEW: (1000, MANY, 5), **views}
        self.asked = []

    def of(self, environment):
        return lambda *asked: self.read(environment, *asked)

    def read(self, environment, release, sources, since, until):
        self.asked.append((environment, release, tuple(sources), since, until))
        median, count, errors = self.views[release]
        rng = random.Random(release)
        values = Sketch(rng.lognormvariate(0, 0.5) * median for _ in range(count))
        return Reading({"LCP": values}, Counts(requests=count, errors=errors))


@pytest.fixture
def site():
    found = Site()
    found.answer = lambda request: (200, {"X-Release": request.headers.get("X-Burger-Release", NEW)}, "Burger Stack")
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(customers, "LOOK_EVERY", 0.05)


def asked(**with_):
    given = {
        "soak": "200ms",
        "within": "600ms",
        "minimum_samples": 1,
        "budgets": BUDGETS,
        "release": NEW,
        "compare": OLD,
    }
    return spec(**{**given, **with_})


def roll(home, site, field, stage=None, key="a"):
    measured = field.of if field else None
    executor = VerifyExecutor(Workplace(home, environment_ports={"staging": site.port}, measured=measured))
    events = list(executor.start(stage or asked(), key, Unattended()))
    assert isinstance(events[-1], Outcome)
    return events[-1], events


def test_customers_who_see_no_difference_let_it_pass(tmp_path, site):
    end, events = roll(tmp_path, site, Field())
    assert end.state == "succeeded", end.reason
    found = end.data["numbers"]["customers"]
    assert (found["state"], found["release"], found["beside"]) == ("pass", NEW, OLD)
    assert [f["metric"] for f in found["findings"]] == ["lcp", "errors"]
    assert any("customers" in event.data for event in events if isinstance(event, Progress))


def test_customers_who_wait_longer_fail_it_though_probes_see_nothing(tmp_path, site):
    began = time.monotonic()
    end, _ = roll(tmp_path, site, Field(**{NEW: (1400, 800, 5)}), asked(soak="60s", within="90s"))
    assert (end.state, "LCP" in end.reason, OLD in end.reason) == ("failed", True, True)
    assert time.monotonic() - began < 30
    assert end.data["numbers"]["customers"]["state"] == "fail"


def test_probes_that_see_errors_fail_it_though_customers_see_none(tmp_path, site):
    site.answer = lambda request: (503, {"X-Release": request.headers["X-Burger-Release"]}, "no")
    end, _ = roll(tmp_path, site, Field())
    assert end.state == "failed"


def test_too_few_customers_are_waited_for_and_then_a_person_is_asked(tmp_path, site):
    end, events = roll(tmp_path, site, Field(**{NEW: (2000, 60, 0)}))
    assert end.state == "paused"
    assert "LCP: 60 measured" in end.reason
    assert any("LCP 60 of 100" in event.text for event in events if isinstance(event, Progress))


def test_where_the_file_says_so_probes_decide_when_too_few_came(tmp_path, site):
    end, _ = roll(tmp_path, site, Field(**{NEW: (2000, 60, 0)}), asked(too_few="probes"))
    assert end.state == "succeeded", end.reason
    assert "(LCP 60, errors 60, of 100 each)" in end.reason
    assert "probes alone decide" in end.reason
    told = end.data["numbers"]["customers"]
    assert told["state"] == "wait", "customers said neither yes nor no"
    assert [(f["limit"], f["tolerance"]) for f in told["findings"]] == [(4000, 1.1), (0.01, 2)], "what is allowed"
    site.answer = lambda request: (503, {"X-Release": request.headers["X-Burger-Release"]}, "no")
    end, _ = roll(tmp_path, site, Field(**{NEW: (1000, 60, 0)}), asked(too_few="probes"), key="b")
    assert end.state == "failed"


def test_few_customers_who_speak_against_it_are_no_leave_for_probes(tmp_path, site):
    end, _ = roll(tmp_path, site, Field(**{NEW: (9000, 60, 0)}), asked(too_few="probes"))
    assert (end.state, "4,000 ms is the limit" in end.reason) == ("failed", True), end.reason
    end, _ = roll(tmp_path, site, Field(**{NEW: (1000, 60, 3)}), asked(too_few="probes"), key="b")
    assert (end.state, "5.00% of 60 measured, likely more than its limit of 1.00%" in end.reason) == ("paused", True)


def test_where_there_is_nothing_to_compare_with_probes_decide_too(tmp_path, site):
    only = asked(budgets={"orders": {"tolerance": 0.7}}, compare=None, too_few="probes")
    end, _ = roll(tmp_path, site, Field(), only)
    assert (end.state, "nothing to compare with" in end.reason) == ("succeeded", True), end.reason


def test_probes_decide_too_where_those_who_came_say_nothing_against_it(tmp_path, site):
    """Some customers, and no error among them, are no reason to ask a person whom no customers would be none for."""
    end, _ = roll(tmp_path, site, Field(**{NEW: (1000, 120, 0)}), asked(too_few="probes"))
    assert end.state == "succeeded", end.reason
    assert "errors 120 of 200" in end.reason
    assert "probes alone decide" in end.reason


def test_customers_who_came_and_left_it_open_are_a_persons_question_all_the_same(tmp_path, site):
    """At the first look bounds are wide: 100 views that are a little slower are neither inside nor beyond."""
    end, _ = roll(tmp_path, site, Field(**{NEW: (1250, 120, 0)}), asked(too_few="probes"))
    assert (end.state, "are allowed" in end.reason) == ("paused", True), end.reason
    end, _ = roll(tmp_path, site, Field(**{NEW: (9000, 120, 0)}), asked(too_few="probes"), key="b")
    assert end.state == "failed", end.reason


def test_what_few_customers_say_for_sure_no_probe_takes_back(tmp_path, site):
    """A checkout that always fails is seen by who checks out, and by no probe."""
    end, _ = roll(tmp_path, site, Field(**{NEW: (1000, 60, 20)}), asked(too_few="probes"))
    assert end.state == "failed"
    assert "errors 33.33%" in end.reason


def test_a_person_may_take_it_as_it_is(tmp_path, site):
    field = Field(**{NEW: (2000, 60, 0)})
    roll(tmp_path, site, field)
    end, _ = roll(tmp_path, site, field, replace(asked(), resumes=1))
    assert end.state == "succeeded"
    assert "Accepted by a person" in end.reason


def test_where_measurements_cannot_be_read_a_person_is_asked(tmp_path, site):
    end, _ = roll(tmp_path, site, None)
    assert (end.state, "no measurements of customers" in end.reason) == ("paused", True)


def test_without_another_release_limits_count_alone(tmp_path, site):
    end, _ = roll(tmp_path, site, Field(**{NEW: (9000, 800, 0)}), asked(compare=None))
    assert (end.state, "limit" in end.reason) == ("failed", True)
    end, _ = roll(tmp_path, site, Field(**{NEW: (900, 800, 0)}), asked(compare=None), key="b")
    assert end.state == "succeeded", end.reason


def test_only_what_came_since_it_began_counts_and_a_restart_changes_nothing(tmp_path, site):
    field, folder = Field(**{NEW: (2000, 60, 0)}), tmp_path / "work" / "a"
    before = time.time()
    roll(tmp_path, site, field)
    kept = json.loads((folder / "customers.json").read_text())
    assert before - 61 < kept["since"] <= before
    (folder / "verdict.json").unlink()
    (folder / "samples.jsonl").unlink()
    field.asked.clear()
    roll(tmp_path, site, field)
    assert {(environment, since) for environment, _, _, since, _ in field.asked} == {("staging", kept["since"])}


def test_its_plan_names_the_budgets_and_other_plans_are_as_they_were(tmp_path, site):
    executor = VerifyExecutor(Workplace(tmp_path, environment_ports={"staging": site.port}))
    wanted = ["LCP at most 4,000 ms and 1.1 times the baseline's", "errors at most 1.00% or 2 times the baseline's"]
    assert executor.plan(asked()).details["budgets"] == wanted
    assert set(executor.plan(spec()).details) == {"address", "release"}


def test_budgets_without_a_release_or_with_a_wrong_limit_are_no_plan(tmp_path, site):
    executor = VerifyExecutor(Workplace(tmp_path, environment_ports={"staging": site.port}))
    with pytest.raises(PlanError, match="no stage before it rolled out"):
        executor.plan(asked(release=None))
    with pytest.raises(PlanError, match="expected a time such as 2500ms"):
        executor.plan(asked(budgets={"lcp": "fast"}))
    with pytest.raises(PlanError, match="has to be one of ask, probes, found 'nobody'"):
        executor.plan(asked(too_few="nobody"))
