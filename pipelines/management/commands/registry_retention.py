from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pipelines import runs
from pipelines.engines import registry_cleaning
from teams.models import User


class Command(BaseCommand):
    help = (
        "Shows what may be deleted of the images that a publish stage pushed, and what releases still need. With "
        "--apply and the digest that was shown, deletes exactly that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pipeline")
        parser.add_argument("--stage", default="publish", help="the stage that publishes (default: publish)")
        parser.add_argument("--as", dest="user", required=True, metavar="USER", help="who does it; the audit says so")
        parser.add_argument(
            "--keep", type=int, default=registry_cleaning.KEEP, help="releases of each environment that stay"
        )
        parser.add_argument(
            "--days", type=int, default=registry_cleaning.DAYS, help="what was published since then stays"
        )
        parser.add_argument("--apply", default="", metavar="DIGEST", help="delete what the plan with this digest says")
        parser.add_argument("--reason", default="", help="why it is deleted; needed with --apply")
        parser.add_argument("--json", action="store_true", help="print the plan as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            user = User.objects.get(username=options["user"])
        except User.DoesNotExist:
            raise CommandError(f"There is no user {options['user']!r}.") from None
        which = {name: options[name] for name in ("pipeline", "stage", "keep", "days")} | {"user": user}
        try:
            if options["apply"]:
                self._apply(which, options["apply"], options["reason"])
            else:
                plan = registry_cleaning.show(**which)
                self.stdout.write(json.dumps(plan.as_dict(), indent=2) if options["json"] else "\n".join(lines(plan)))
        except (runs.NotAllowed, runs.Conflict) as error:
            raise CommandError(str(error)) from None

    def _apply(self, which: dict[str, Any], digest: str, reason: str) -> None:
        gone = 0
        for image in registry_cleaning.carry_out(**which, plan=digest, reason=reason):
            gone += 1
            self.stdout.write(f"deleted {image.name}")
        self.stdout.write(f"{gone} images are deleted. The registry's garbage collection frees their space.")


def lines(plan: registry_cleaning.RetentionPlan) -> list[str]:
    """The plan as people read it."""
    found = [f"At {plan.registry}:"]
    found += [f"  keep    {kept.image.name}: {'; '.join(kept.reasons)}" for kept in plan.keep]
    found += [f"  missing {need.name}: {need.reason}, but the registry does not have it" for need in plan.missing]
    found += [f"  delete  {image.name} ({', '.join(image.tags) or 'no tag'})" for image in plan.delete]
    if not plan.delete:
        return [*found, "Nothing may be deleted."]
    return [
        *found,
        f"{len(plan.delete)} images may go, {plan.frees / 1e6:.1f} MB at most. To delete exactly these: "
        f"--apply {plan.digest} --reason WHY",
    ]
