#!/usr/bin/env python3
"""A git hook that announces every push to Burger Stack. Needs git and Python 3 alone.

It reads where to call from the repository's configuration (`burger.hook`) and the secret from the file
`burger-secret` in the repository's folder; `burger hook` sets both up. BURGER_HOOK_URL and BURGER_HOOK_SECRET come
before them. A portal that does not answer never holds up a push: the hook says so and ends.

Who pushed is what the git server says in the first of PUSHERS that is set. Where its names are not the portal's, `git
config burger.NAME.username PORTALNAME` translates one.
"""

import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

TRIES = 3
BUSY = (429, 502, 503, 504)  # what a portal, or the proxy before it, says that will soon be able again
# Of a server of your own, GitLab, gitolite, Gitea, git over http; and the account that a push over ssh runs as.
PUSHERS = ("BURGER_PUSHER", "GL_USERNAME", "GL_USER", "GITEA_PUSHER_NAME", "REMOTE_USER", "LOGNAME", "USER")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    return done.stdout.decode(errors="replace").strip()


def pusher() -> str:
    name = next((os.environ[variable] for variable in PUSHERS if os.environ.get(variable)), "")
    return (git("config", f"burger.{name}.username") or name) if name else ""


def announce(url: str, secret: bytes, delivery: str, old: str, new: str, ref: str) -> str:
    """Returns what the portal said, in one line."""
    facts = git("log", "-1", "--format=%s%x00%an <%ae>", new) if new.strip("0") else ""
    subject, _, author = facts.partition("\0")
    push = {"ref": ref, "before": old, "after": new, "subject": subject, "author": author, "pusher": pusher()}
    body = json.dumps(push).encode()
    stamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "X-Burger-Timestamp": stamp,
        "X-Burger-Signature": "sha256=" + hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest(),
        "X-Burger-Delivery": delivery,
    }
    if not url.startswith(("http://", "https://")):
        return f"burger.hook is {url!r}; expected an http address"
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 checked above
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(json.load(answer)["detail"])


def announce_patiently(*push: str, url: str, secret: bytes) -> str:
    """Under one id, so that a message which arrived although its answer did not is not taken twice."""
    why, delivery = "", str(uuid.uuid4())
    for attempt in range(TRIES):
        try:
            return announce(url, secret, delivery, *push)
        except urllib.error.HTTPError as error:
            why = f"the portal refused it with status {error.code}: {error.read(500).decode(errors='replace')}"
            if error.code not in BUSY:
                return why
            time.sleep(0.5 * 2**attempt)
        except (OSError, ValueError, KeyError) as error:
            why = f"the portal at {url} did not answer: {error}"
            time.sleep(0.2 * 2**attempt)
    return f"{why} (tried {TRIES} times; start it with `burger run`)"


def main() -> None:
    url = os.environ.get("BURGER_HOOK_URL") or git("config", "burger.hook")
    kept = pathlib.Path(git("rev-parse", "--absolute-git-dir")) / "burger-secret"
    secret = (os.environ.get("BURGER_HOOK_SECRET") or kept.read_text()).strip().encode()
    for line in sys.stdin:
        old, new, ref = line.split()
        print(f"burger: {ref}: {announce_patiently(old, new, ref, url=url, secret=secret)}")


if __name__ == "__main__":
    main()
