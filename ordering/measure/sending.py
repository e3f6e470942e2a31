"""A thread that takes the tally to the collector. Nobody waits for it, and the shop needs no collector to sell."""

from __future__ import annotations

import atexit
import http.client
import logging
import os
import threading
from urllib.parse import urlsplit

from ordering.measure.tally import Tally

logger = logging.getLogger(__name__)

EVERY = 5.0  # seconds
PATIENCE = 3.0  # seconds for an answer
LAST_PATIENCE = 1.0  # the same when the process ends
SLOWEST = 60.0  # seconds between two tries while the collector is away
PATH = "/measure/report"
# What is to blame for these is the report itself: it would get the same answer for ever.
REFUSED = (400, 413, 415, 422)


class Sender:
    def __init__(self, tally: Tally, url: str, token: str, every: float = EVERY) -> None:
        self.tally, self.every = tally, every
        self._token, self._address = token, urlsplit(url)
        self._start = threading.Lock()
        self._pid = 0
        self._failures = 0
        self._ending = threading.Event()

    def ensure_running(self) -> None:
        """Cheap. A process that was forked needs a thread of its own."""
        if self._pid == os.getpid():
            return
        with self._start:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="measure", daemon=True).start()
                atexit.register(self.close)

    def close(self) -> None:
        """Send what is left; once."""
        if not self._ending.is_set():
            self._ending.set()
            self.send(LAST_PATIENCE)

    def send(self, patience: float = PATIENCE) -> bool:
        """Send what there is, in as many reports as it takes. One that is refused is counted; what else does not
        arrive is kept. False if the collector takes none."""
        taken = self.tally.take()
        try:
            while taken:
                report = taken.next_report()
                status = self._post(report.body, patience)
                if not status or (status >= 300 and status not in REFUSED):
                    return False
                if status in REFUSED:
                    self.tally.drop("refused")
                    logger.warning("The collector refused a report of %s bytes (%s).", len(report.body), status)
                taken.forget(report)
            return True
        finally:
            self.tally.put_back(taken)

    def _run(self) -> None:
        while not self._ending.wait(min(SLOWEST, self.every * 2 ** min(self._failures, 6))):
            try:
                worked = self.send()
            except Exception:
                worked = False
                logger.exception("What is counted could not be sent; it is tried again.")
            if not worked and not self._failures:
                logger.warning("The collector at %s does not answer; what is counted waits.", self._address.netloc)
            self._failures = 0 if worked else self._failures + 1

    def _post(self, body: bytes, patience: float) -> int:
        """The answer's status, 0 without an answer."""
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._address.hostname or "", self._address.port, timeout=patience)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", self._address.path.rstrip("/") + PATH, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
