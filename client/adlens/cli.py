"""The command line. What each command does stands in ``adlens.commands``, with the exit codes."""

from __future__ import annotations

import warnings
from typing import Any

import click
from PIL import Image

from adlens.commands import INTERRUPTED
from adlens.commands.ads import ads
from adlens.commands.alternates import alternates
from adlens.commands.creative import creative
from adlens.commands.engagement import engagement
from adlens.commands.gallery import gallery
from adlens.commands.health import health
from adlens.commands.influencers import influencers
from adlens.commands.products import products


class _Interruptible(click.Group):
    """Exits with INTERRUPTED on Ctrl-C; click itself would exit with 1, which is SOME_FAILED here."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="adlens")
def main() -> None:
    """From a picture to a marketing decision. Every option can also be set as ADLENS_<OPTION>."""
    # Pillow's warning of a huge picture is an answer of ours (TooLarge), not a line on the screen.
    warnings.simplefilter("error", Image.DecompressionBombWarning)


main.add_command(products)
main.add_command(ads)
main.add_command(creative)
main.add_command(engagement)
main.add_command(gallery)
main.add_command(alternates)
main.add_command(influencers)
main.add_command(health)

if __name__ == "__main__":
    main()
