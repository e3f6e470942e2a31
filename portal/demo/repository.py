"""The demo's repository: a bare one made from this tree, whose hook tells the portal about each push."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from pipelines.webhooks.install import install_hook
from portal.supervisor import StartError

from .organisation import PUSHER

BRANCH = "main"
AUTHOR = f"{PUSHER.title()} <{PUSHER}@burger.example>"
_NOT_SOURCE = {"var", ".venv", ".git", "build", "node_modules", "test-results"}


class Repository:
    """`bare` is what the pipeline fetches from, `checkout` where the demo's developer works."""

    def __init__(self, home: Path) -> None:
        self.bare = home / "demo" / "repository.git"
        self.checkout = home / "demo" / "checkout"

    def ensure(self) -> None:
        """Make the bare repository and a checkout of it, unless they are there."""
        if (self.bare / "HEAD").exists() and (self.checkout / ".git").exists():
            return
        for folder in (self.bare, self.checkout):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", ".", cwd=self.bare)
        self._git("init", "--quiet", f"--initial-branch={BRANCH}", ".", cwd=self.checkout)
        self._git("remote", "add", "origin", str(self.bare), cwd=self.checkout)
        # For the commits that people make there by hand.
        name, _, address = AUTHOR.partition(" <")
        self._git("config", "user.name", name, cwd=self.checkout)
        self._git("config", "user.email", address.rstrip(">"), cwd=self.checkout)

    def commit(self, subject: str, edit: Callable[[Path], None] | None = None) -> str:
        """Take what others have pushed meanwhile, bring the checkout up to this tree, let `edit` change it, and commit
        it, even if nothing changed. Returns the commit. Raises StartError where somebody's changes would be lost."""
        if changed := self._git("status", "--porcelain", cwd=self.checkout).strip():
            raise StartError(
                f"{self.checkout} holds changes that are not committed ({changed.splitlines()[0]}); commit or remove "
                "them, then start again: the demo would overwrite them."
            )
        if self._git("ls-remote", "origin", BRANCH, cwd=self.checkout):
            self._git("fetch", "--quiet", "origin", BRANCH, cwd=self.checkout)
            self._git("reset", "--quiet", "--soft", "FETCH_HEAD", cwd=self.checkout)
        for path in self.checkout.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in source_files(settings.BASE_DIR):
            target = self.checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(settings.BASE_DIR / name, target, follow_symlinks=False)
        if edit:
            edit(self.checkout)
        self._git("add", "--all", "--force", ".", cwd=self.checkout)
        self._git("commit", "--quiet", "--allow-empty", "--message", subject, cwd=self.checkout)
        return self._git("rev-parse", "HEAD", cwd=self.checkout).strip()

    def push(self, hook: str, secret: str) -> None:
        """Push; the repository's hook announces it to the portal, signed."""
        install_hook(self.bare, url=hook, secret=secret)
        self._git("push", "--quiet", "--set-upstream", "origin", BRANCH, cwd=self.checkout)

    def _git(self, *arguments: str, cwd: Path) -> str:
        name, _, address = AUTHOR.partition(" <")
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "BURGER_PUSHER": PUSHER,
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": address.rstrip(">"),
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": address.rstrip(">"),
        }
        done = subprocess.run(["git", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartError(f"git {arguments[0]} failed in {cwd}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def source_files(tree: Path) -> list[str]:
    """The files of this project: what git knows of it, else (an unpacked archive) all that is not made by using it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0 and listed.stdout:
        return [name for name in listed.stdout.split("\0") if name and (tree / name).is_file()]
    found = []
    for folder, folders, files in os.walk(tree):
        folders[:] = [f for f in folders if f not in _NOT_SOURCE and f != "__pycache__" and not f.endswith(".egg-info")]
        found += [str((Path(folder) / f).relative_to(tree)) for f in files if not f.endswith(".pyc")]
    return sorted(found)
