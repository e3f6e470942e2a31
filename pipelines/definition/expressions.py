"""The expressions of the pipeline file, ready to ask: `depends` over stage results, `when` over facts of the
run."""

from pipelines.definition.depends import Expression, compile_depends, evaluate, parse_depends
from pipelines.definition.grammar import ExpressionError
from pipelines.definition.when import Condition, evaluate_when, parse_when

__all__ = [
    "Condition",
    "Expression",
    "ExpressionError",
    "compile_depends",
    "evaluate",
    "evaluate_when",
    "parse_depends",
    "parse_when",
]
