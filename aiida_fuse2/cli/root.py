"""The root command."""

from __future__ import annotations

from typing import Any

import click
from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.params.options import VERBOSITY

from aiida_fuse2 import __version__
from aiida_fuse2.cli.params.options import PROFILE, PROFILE_KEY, reported_errors

EXAMPLES = """\b
Examples:
  aiida-fuse2 setup             once: profile, computer, code, daemon
  aiida-fuse2 run SrTiO3        search, with live progress
  aiida-fuse2 show PK           what was found, ranked
  aiida-fuse2 structures PK     the best as CIF files
  aiida-fuse2 status            all searches, and what holds them up

PK stands for a primary key, a UUID or its beginning, or a label. A number is a primary key if one exists, then
the beginning of a UUID if it has eight digits or more, then a label; 2024! is a label in any case.
"""


class RootGroup(VerdiCommandGroup):
    """The root of all commands; it reports the errors of all of them."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the options before the command, for which AiiDA reads its configuration."""
        with reported_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with reported_errors():
            return super().invoke(ctx)


@click.group(
    "aiida-fuse2",
    cls=RootGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@PROFILE
@VERBOSITY()
@click.version_option(__version__, package_name="aiida-fuse2", message="aiida-fuse2 %(version)s")
@click.pass_context
def cmd_root(context: click.Context, profile: str | None) -> None:
    """Predict the crystal structure of a composition with FUSE2."""
    context.meta[PROFILE_KEY] = profile
