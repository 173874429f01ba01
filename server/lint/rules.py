"""The registry of rules, and what they find."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from server.lint.survey import Survey

Findings = Iterator[tuple[Path, str]]
"""For each fault the file or folder that has it, and what is wrong there and what to do about it."""


class Severity(StrEnum):
    """How bad a finding is; hints are no faults."""

    ERROR = "error"
    """It will not load, or will fail while serving."""
    WARNING = "warning"
    """It loads, and slows the service or puts it at risk."""
    HINT = "hint"
    """It is to be done before serving."""


@dataclass(frozen=True)
class Rule:
    """What to look for; ``why`` is the docstring of ``check``."""

    name: str
    severity: Severity
    why: str
    check: Callable[[Survey], Findings]


@dataclass(frozen=True)
class Fault:
    """What a rule found."""

    path: Path
    severity: Severity
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.severity} {self.rule}: {self.message}"


RULES: dict[str, Rule] = {}
"""All rules by name, filled by ``@rule`` in the modules that the package imports."""


def rule(severity: Severity) -> Callable[[Callable[[Survey], Findings]], Callable[[Survey], Findings]]:
    """Makes a rule of a function: its name in kebab case, its docstring as the reason."""

    def register(check: Callable[[Survey], Findings]) -> Callable[[Survey], Findings]:
        name, why = check.__name__.replace("_", "-"), inspect.getdoc(check)
        if name in RULES or why is None:
            raise ValueError(f"rule {name} is there twice, or has no docstring")
        RULES[name] = Rule(name, severity, " ".join(why.split()), check)
        return check

    return register


def lint(survey: Survey, allow: Collection[str] = (), deny: Collection[str] = ()) -> list[Fault]:
    """What the rules find, by path.

    Args:
        survey: the repositories.
        allow: names of rules to leave out.
        deny: names of rules whose findings are errors.
    """
    return [
        Fault(path, Severity.ERROR if rule.name in deny else rule.severity, rule.name, message)
        for path, rule, message in sorted(
            ((path, rule, message) for rule in RULES.values() for path, message in rule.check(survey)),
            key=lambda found: found[0],
        )
        if rule.name not in allow
    ]
