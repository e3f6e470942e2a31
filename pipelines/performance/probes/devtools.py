"""A headless Chromium of one's own, spoken to by its DevTools protocol. It ends with whoever started it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
START_WITHIN = 20.0  # seconds
ANSWER_WITHIN = 20.0
LARGEST_MESSAGE = 2**23
_FLAGS = (
    "--headless",
    "--enable-automation",  # agents in pages are told that this is no visitor
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--mute-audio",
    # A screen put on later, by emulation, would excuse every shift of a page's first half second.
    "--window-size=1280,900",
)


class BrowserError(Exception):
    """The browser cannot be started, or does not do what it was told; the message says which."""


def find(configured: str = "") -> str:
    """The browser of this machine, "" where there is none. `configured` is the only one that counts, if given."""
    names = (configured,) if configured else NAMES
    return next((found for name in names if (found := shutil.which(name))), "")


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Started, and ended with the block. Raises BrowserError."""
    with tempfile.TemporaryDirectory(prefix="burger-probe-", ignore_cleanup_errors=True) as profile:
        # Without a user of its own to run as, a browser refuses its sandbox.
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        argv = [program, *_FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        process = _start(argv, profile)
        try:
            with connect(_address(Path(profile), process), max_size=LARGEST_MESSAGE, proxy=None) as connection:
                yield Browser(connection)
        except (OSError, WebSocketException) as error:
            raise BrowserError(f"{program} does not answer: {error}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Browser:
    """One thread speaks to it at a time."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0

    def ask(
        self, method: str, parameters: dict[str, Any] | None = None, *, session: str = "", seen: Seen | None = None
    ) -> dict[str, Any]:
        """The result; events that come before it are shown to `seen`. Raises BrowserError."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": parameters or {}}
        self._connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        for found in self._messages(ANSWER_WITHIN, f"{method} was not answered"):
            if found.get("id") == number:
                if "error" in found:
                    raise BrowserError(f"{method} was refused: {found['error'].get('message', '')}")
                return found["result"]
            _show(found, seen)
        raise AssertionError("messages end with an answer or an error")

    def follow(self, seen: Seen, until: Callable[[], bool], seconds: float) -> bool:
        """Show events to `seen` until something is true; False if it does not become so in time."""
        try:
            for found in self._messages(seconds, ""):
                _show(found, seen)
                if until():
                    return True
        except BrowserError:
            pass
        return until()

    def _messages(self, seconds: float, otherwise: str) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                yield json.loads(self._connection.recv(max(0.001, deadline - time.monotonic())))
            except TimeoutError:
                raise BrowserError(f"{otherwise} within {seconds:g} s") from None
            except WebSocketException as error:
                raise BrowserError(f"The browser ended: {error}") from error


Seen = Callable[[str, dict[str, Any]], None]


def _show(message: dict[str, Any], seen: Seen | None) -> None:
    if seen is not None and "method" in message:
        seen(message["method"], message.get("params", {}))


def _start(argv: list[str], home: str) -> subprocess.Popen[bytes]:
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def end_with_parent() -> None:
        pr_set_pdeathsig = 1
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": home},
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    except OSError as error:
        raise BrowserError(f"{argv[0]} cannot be started: {error.strerror}") from error


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError, ValueError):
            port, path = (profile / "DevToolsActivePort").read_text().splitlines()
            return f"ws://127.0.0.1:{int(port)}{path}"
        if process.poll() is not None:
            raise BrowserError(f"The browser ended at once, with status {process.returncode}.")
        time.sleep(0.05)
    raise BrowserError(f"The browser was not ready within {START_WITHIN:g} s.")
