"""`make demo`, `make up` and `make down`."""

from __future__ import annotations

import os
import subprocess
import sys

import django


def main() -> int:
    """Returns the exit status: 0 only if what was asked for has happened."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()
    from portal.cli.errors import CommandError
    from portal.supervisor import StartError

    from . import journey

    verbs = {"demo": journey.demo, "up": journey.up, "down": journey.down}
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in verbs:
        print(f"usage: python -m portal.demo {'|'.join(verbs)}", file=sys.stderr)
        return 2
    try:
        return verbs[verb]()
    except (StartError, CommandError) as error:
        print(f"\n{error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"\n{error.cmd[0]} failed with exit code {error.returncode}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
