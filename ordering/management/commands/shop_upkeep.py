import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ordering import upkeep


class Command(BaseCommand):
    help = "Find out payments without an answer, do refunds, send mails: until stopped, or once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="one round, then end")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["once"]:
            self.stdout.write(f"{upkeep.once()} done.")
            return
        stopped = threading.Event()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: stopped.set())
        upkeep.keep_up(stopped)
