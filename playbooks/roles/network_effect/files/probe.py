"""Connects until the answer is the expected one, or the time is up, and leaves the last answer."""

import os
import socket
import time
from pathlib import Path

expected = os.environ["EXPECTED"]
deadline = time.monotonic() + float(os.environ["PATIENCE"])
same = 0
while True:
    try:
        socket.create_connection((os.environ["HOST"], int(os.environ["PORT"])), 2).close()
        found = "reached"
    except OSError:
        found = "blocked"
    same = same + 1 if found == expected else 0
    # One lost packet is no wall.
    if same >= (1 if expected == "reached" else 3) or time.monotonic() > deadline:
        break
    time.sleep(0.5)
Path("/dev/termination-log").write_text(found)
