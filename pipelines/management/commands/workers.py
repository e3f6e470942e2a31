from typing import Any

from django.core.management.base import BaseCommand

from pipelines.engines.local import cluster, loop


class Command(BaseCommand):
    help = "Runs the background workers until it is told to stop (SIGTERM lets them finish what they do)."

    def handle(self, *args: Any, **options: Any) -> None:
        alive = loop.announce_workers()
        cluster.serve()
        del alive
