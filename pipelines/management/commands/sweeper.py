from typing import Any

from django.core.management.base import BaseCommand

from pipelines.engines.local.loop import Loop


class Command(BaseCommand):
    help = "Finds what is due, lost or forgotten, and restarts stalled workers, until it is told to stop."

    def handle(self, *args: Any, **options: Any) -> None:
        Loop().run()
