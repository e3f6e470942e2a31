"""`python -m tests.cluster up | down | facts | clean`."""

from __future__ import annotations

import sys

from tests.cluster import lifecycle
from tests.cluster.layout import ClusterError


def main(arguments: list[str]) -> int:
    """Do what is asked; 1 with a message where it cannot be."""
    wanted = arguments[0] if len(arguments) == 1 else ""
    try:
        if wanted == "up":
            layout = lifecycle.up()
            print(f"Cluster {layout.name} is up. Facts: {layout.facts}")
            print(f"KUBECONFIG={layout.kubeconfig}")
        elif wanted == "down":
            print("The cluster is down." if lifecycle.down() else "No cluster of this checkout was running.")
        elif wanted == "clean":
            lifecycle.forget_build()
            print("The cluster is down, and what was built is gone.")
        else:
            print("Expected one of: up, down, clean.", file=sys.stderr)
            return 2
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
