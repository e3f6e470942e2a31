"""Gates of older runs whose environment has something newer that is good: what approving them would take back.

It is a warning and no part of the plan: to take a newer release back may be just what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import OuterRef, Subquery

from .models import Environment, Release, Stage
from .sentences import takes_back
from .states import Reason, State


def taken_back(stages: Sequence[Stage]) -> dict[int, str]:
    """By the key of each stage that asks and would take a newer, verified release back, the sentence that says so. A
    fixed number of queries; none where nothing asks. Each stage must have its run."""
    asking = [
        stage
        for stage in stages
        if stage.environment and stage.state == State.WAITING and stage.reason_code == Reason.APPROVAL
    ]
    good = _verified({(stage.run.pipeline_id, stage.environment) for stage in asking})
    found = {}
    for stage in asking:
        release = good.get((stage.run.pipeline_id, stage.environment))
        if release is not None and release.run is not None and release.run.number > stage.run.number:
            found[stage.pk] = takes_back(release.run.number, release.commit, stage.environment)
    return found


def _verified(places: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Release]:
    """What was rolled out last and verified, by pipeline and environment, where nobody has rolled back since."""
    places = set(places)
    if not places:
        return {}
    rows = Release.objects.filter(environment=OuterRef("pk")).order_by("-id")
    environments = Environment.objects.filter(
        pipeline__in={pipeline for pipeline, _ in places}, name__in={name for _, name in places}
    ).annotate(
        last=Subquery(rows.values("name")[:1]),
        trigger=Subquery(rows.values("run__trigger")[:1]),
        good=Subquery(rows.filter(verified_at__isnull=False).exclude(run=None).values("pk")[:1]),
    )
    keys = {e.good: e for e in environments if e.good and (e.pipeline_id, e.name) in places}
    releases = Release.objects.filter(pk__in=keys).select_related("run")
    return {
        (keys[release.pk].pipeline_id, keys[release.pk].name): release
        for release in releases
        if keys[release.pk].trigger != "rollback" or keys[release.pk].last == release.name
    }
