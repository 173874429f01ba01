"""Finds what breaks or slows a model repository before it is served: ``python -m server.lint REPO...``.

A rule is a function in one of the modules below, under ``@rule(severity)``; its name is the function's,
and its docstring is what ``--list-rules`` shows: why it is a fault, and where that is known from. "24.10"
is the Triton release that the pip server is.
"""

from server.lint import configurations, ensembles, folders, graphs, tensors  # noqa: F401 - they register rules
from server.lint.rules import RULES, Fault, Rule, Severity, lint
from server.lint.survey import Survey

__all__ = ["RULES", "Fault", "Rule", "Severity", "Survey", "lint"]
