from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat

from pipelines.engines.local import trim
from pipelines.retention import Item, Plan

KINDS = {
    "run": "logs of runs", "folder": "folders of attempts", "content": "contents of the store",
    "tree": "unpacked trees", "mirror": "git mirrors", "commit": "commits in mirrors", "branch": "branches in mirrors",
}  # fmt: skip


class Command(BaseCommand):
    help = "Deletes what no kept run, no release and no environment needs any more, as BURGER_KEEP_RUNS says."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be deleted; with -v 2 each.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = trim.preview() if options["dry_run"] else trim.trim()
        except trim.Busy as busy:
            raise CommandError(str(busy)) from None
        self._tell(plan, "would be deleted" if options["dry_run"] else "deleted", each=options["verbosity"] > 1)

    def _tell(self, plan: Plan, verb: str, *, each: bool) -> None:
        for kind, words in KINDS.items():
            removed = plan.of(kind)
            kept = [item for item in plan.keep if item.kind == kind]
            self.stdout.write(f"{words}: {_sum(removed)} {verb}, {_sum(kept)} kept")
            for item in (*removed, *kept) if each else ():
                self.stdout.write(f"  {'-' if item in removed else ' '} {item.name} {_bytes(item.size)}: {item.reason}")
            for reason, count in Counter(item.reason for item in kept if not each).most_common(5):
                self.stdout.write(f"    {count} because {reason}")
        self.stdout.write(f"{_bytes(sum(item.size for item in plan.remove))} {verb}")


def _sum(items: list[Item]) -> str:
    return f"{len(items)} ({_bytes(sum(item.size for item in items))})"


def _bytes(size: int) -> str:
    return filesizeformat(size).replace("\xa0", " ")
