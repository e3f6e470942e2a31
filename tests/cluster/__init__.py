"""A real engine, registry and two-node cluster on this machine: `python -m tests.cluster up`, `down`, `clean`."""

from tests.cluster.facts import Facts as Facts
from tests.cluster.facts import facts as facts
