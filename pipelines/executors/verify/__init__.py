"""`verify`: probes an environment's pages over a soak, and says whether they are good enough.

`measure` is the same for whoever needs a verdict in the middle of other work: a canary between two steps.
"""

from pipelines.executors.verify.executor import VerifyExecutor
from pipelines.executors.verify.measure import measure
from pipelines.executors.verify.rule import Bounds, Rule, Verdict

__all__ = ["Bounds", "Rule", "Verdict", "VerifyExecutor", "measure"]
