from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal import supervisor


class Command(BaseCommand):
    help = "Starts web, workers and sweeper, and what was rolled out, and restarts what dies, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            supervisor.Supervisor(ready=lambda: self.stdout.write("It answers.")).run()
        except supervisor.StartError as error:
            raise CommandError(str(error)) from error
