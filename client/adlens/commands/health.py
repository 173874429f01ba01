"""``adlens health``: whether a server answers, and on which weights."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from adlens.commands import SERVER_FAILED, options
from adlens.errors import AdlensError, InvalidConfiguration
from adlens.recommender import Recommender


@click.command()
@click.option("--json", "as_json", envvar="ADLENS_JSON", is_flag=True, help="One JSON object.")
@options.connecting
def health(as_json: bool, connection: dict[str, Any]) -> None:
    """Have the server answer a real request, and show which weights answered."""
    try:
        with Recommender(**connection) as front:
            found = front.health()
    except InvalidConfiguration as error:
        raise click.UsageError(str(error)) from error
    except AdlensError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(SERVER_FAILED)
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    click.echo(f"{found.url}: {found.server} answers, {found.model} in {found.latency_ms:.0f} ms")
    for model, weights in found.model_versions.items():
        click.echo(f"  {model:24} weights {weights}{'  (starter)' if model in found.starter else ''}")
