"""``python -m server.lint REPO...``: find what breaks or slows model repositories before they are served.

Exit status: 0 nothing found, or hints only; 1 faults found; 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from server.errors import MissingModelError
from server.lint import RULES, Fault, Severity, Survey, lint

FAULTY = 1
INDENT = "    "


@click.command(context_settings={"auto_envvar_prefix": "ADLENS_LINT", "max_content_width": 110})
@click.argument(
    "repositories", metavar="REPO...", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--profile", help="Take configs/PROFILE.pbtxt of each model that has it.")
@click.option("--allow", multiple=True, type=click.Choice(list(RULES)), metavar="RULE", help="Leave it out.")
@click.option(
    "--deny",
    multiple=True,
    type=click.Choice(list(RULES)),
    metavar="RULE",
    help="What it finds is an error, such as --deny not-built before serving.",
)
@click.option("--json", "json", is_flag=True, help="For machines: an array of findings, or of rules.")
@click.option("--list-rules", is_flag=True, help="Show each rule, its severity and why it is there.")
def main(
    repositories: tuple[Path, ...],
    profile: str | None,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    json: bool,
    list_rules: bool,
) -> None:
    """Find what breaks or slows the model repositories REPO... before they are served.

    Give all repositories that are served together: an ensemble may name steps in another. Each option
    may be given as an environment variable too, such as ADLENS_LINT_PROFILE.
    """
    if list_rules:
        _show_rules(json)
        return
    if not repositories:
        raise click.UsageError("no repository given, such as: model_repository ensembles")
    try:
        survey = Survey.read(repositories, profile)
    except MissingModelError as error:
        raise click.UsageError(str(error)) from error
    found = lint(survey, allow, deny)
    _show(found, survey, json)
    if any(fault.severity != Severity.HINT for fault in found):
        sys.exit(FAULTY)


def _show(found: list[Fault], survey: Survey, as_json: bool) -> None:
    if as_json:
        click.echo(_text([asdict(fault) for fault in found]))
        return
    for fault in found:
        click.echo(fault)
    faults = sum(fault.severity != Severity.HINT for fault in found)
    click.echo(f"{len(survey.models)} models: {faults or 'no'} fault{'s' * (faults != 1)}", err=True)


def _show_rules(as_json: bool) -> None:
    rules = [{"name": rule.name, "severity": rule.severity, "why": rule.why} for rule in RULES.values()]
    if as_json:
        click.echo(_text(rules))
        return
    for rule in rules:
        click.echo(f"{rule['name']} ({rule['severity']})")
        click.echo(click.wrap_text(rule["why"], 100, INDENT, INDENT))


def _text(value: object) -> str:
    return json.dumps(value, indent=2, default=str)


if __name__ == "__main__":
    main(prog_name="python -m server.lint")
